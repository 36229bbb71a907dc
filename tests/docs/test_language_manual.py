"""The manual of the language and of its tools is complete."""

from __future__ import annotations

from pathlib import Path

from tornflow.lint import RULES
from tornflow.lint.schema_words import COMMON, FIELDS, RESOURCE, TASK_FIELDS, TOP

ROOT = Path(__file__).parents[2]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def rules_table() -> str:
    rows = [f"| `{name}` | {rule.severity} | {rule.meaning} |" for name, rule in RULES.items()]
    return "\n".join(["| rule | severity | finds |", "|---|---|---|", *rows])


def test_the_manual_of_the_linter_has_every_rule() -> None:
    assert rules_table() in page("lint.md"), f"put this table into docs/lint.md:\n{rules_table()}"


def test_the_manual_of_the_language_names_every_category_and_field() -> None:
    groups = [TOP, COMMON, RESOURCE, *FIELDS.values(), *(one.fields for one in TASK_FIELDS.values())]
    wanted = {name for fields in groups for name in fields} | set(TASK_FIELDS)
    text = page("language.md")
    assert [name for name in sorted(wanted) if f"`{name}`" not in text and f"`{name}: " not in text] == []
