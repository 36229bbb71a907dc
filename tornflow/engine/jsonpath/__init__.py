"""JSONPath in the dialect of ``rill-dsl`` 6: parsed once, then plain closures.

Three uses, three compilers: ``compile_read`` gives values (missing is None), ``compile_match`` says whether anything
is there, ``compile_target`` names a place to write. Bounds on what a text may ask for stand in ``limits``.
"""

from __future__ import annotations

from tornflow.engine.jsonpath.errors import MatchError, PathSyntaxError
from tornflow.engine.jsonpath.limits import copy_json
from tornflow.engine.jsonpath.parsing import parse
from tornflow.engine.jsonpath.reading import compile_match, compile_read, is_definite_path
from tornflow.engine.jsonpath.steps import Path
from tornflow.engine.jsonpath.targets import Target, compile_target, graft, plant

__all__ = [
    "MatchError",
    "Path",
    "PathSyntaxError",
    "Target",
    "compile_match",
    "compile_read",
    "compile_target",
    "copy_json",
    "graft",
    "is_definite_path",
    "parse",
    "plant",
]
