"""The page for newcomers names files and functions that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "where-is-what.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def _exists(name: str) -> bool:
    return any((folder / name).exists() for folder in (ROOT, ROOT / "tornflow"))


@pytest.mark.parametrize("text", [PAGE, GUIDE], ids=["where-is-what", "CONTRIBUTING"])
def test_every_file_that_is_named_exists(text: str) -> None:
    named = set(re.findall(r"(?<![\w./-])((?:[a-z_]+/)+[a-z_]*(?:\.py)?)(?![\w*.-])", text))
    named |= set(re.findall(r"`([a-z_]+\.py)`", text)) - {"routes.py", "model.py"}  # of the folder named before
    assert len(named) > 10
    assert sorted(name for name in named if not _exists(name)) == []


def test_every_function_on_the_way_of_a_submission_is_in_its_file() -> None:
    way = re.findall(r"^ +((?:api|runtime|engine)/[\w/]+\.py) +([A-Za-z_][A-Za-z_., ]*?)  ", PAGE, re.MULTILINE)
    assert len(way) > 10
    missing = [
        (file, name)
        for file, names in way
        for name in names.split(", ")
        if not re.search(rf"\b(def|class) {re.escape(name.rpartition('.')[2])}\b", _text(file))
    ]
    assert missing == []


def _text(file: str) -> str:
    return (ROOT / "tornflow" / file).read_text(encoding="utf-8")
