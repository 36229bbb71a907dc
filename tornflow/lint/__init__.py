"""A closer look at descriptors than the server takes: what would fail, do nothing or never run.

``lint(text, protocols) -> list[Remark]`` never raises. Nothing here runs a flow, opens a file or knows a plugin: the
protocols that are served are handed in.
"""

from tornflow.lint.inspection import lint
from tornflow.lint.remarks import RULES, Remark, Rule, Severity
from tornflow.lint.schema import descriptor_schema

__all__ = ["RULES", "Remark", "Rule", "Severity", "descriptor_schema", "lint"]
