"""The golden file of paths: what they read, whether they match, what does not parse."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tornflow.engine.jsonpath import MatchError, PathSyntaxError, compile_match, compile_read

GOLDEN = yaml.safe_load((Path(__file__).parents[1] / "golden" / "jsonpath.yaml").read_text(encoding="utf-8"))
COMPILERS = {"read": compile_read, "match": compile_match}


def _cases(mode: str) -> list[tuple[str, str, Any]]:
    return [(document, path, expected) for document, cases in GOLDEN[mode].items() for path, expected in cases]


@pytest.mark.parametrize("mode", COMPILERS)
def test_golden_paths_give_what_the_file_says(mode: str) -> None:
    compiler, wrong = COMPILERS[mode], []
    for document, path, expected in _cases(mode):
        given = GOLDEN["documents"][document]
        before = copy.deepcopy(given)
        try:
            got: Any = compiler(path)(given)
        except PathSyntaxError:
            got = "error"
        except MatchError:
            got = "raises"
        if repr(got) != repr(expected):
            wrong.append(f"{path}: expected {expected!r}, got {got!r}")
        assert given == before, f"{path} changed the document"
    assert not wrong, "\n".join(wrong)


def test_a_syntax_error_names_its_column() -> None:
    with pytest.raises(PathSyntaxError, match=r"there is no function 'nope'.*\(column 9\)") as caught:
        compile_read("$.input.nope()")
    assert caught.value.column == 9
