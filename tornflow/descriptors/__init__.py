"""Descriptors: YAML or JSON text to the model, all problems at once, and back to text."""

from tornflow.descriptors.limits import DescriptorLimits
from tornflow.descriptors.parse import Examined, check_size, examine, find_problems, parse_descriptor
from tornflow.descriptors.stored import dump_stored, load_stored
from tornflow.descriptors.sugar import unconvert
from tornflow.descriptors.yaml_text import to_yaml

__all__ = [
    "DescriptorLimits",
    "Examined",
    "check_size",
    "dump_stored",
    "examine",
    "find_problems",
    "load_stored",
    "parse_descriptor",
    "to_yaml",
    "unconvert",
]
