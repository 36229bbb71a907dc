"""The two documents drawn from the table: ``python -m tornflow.config.documents file|manual``.

conf/tornflow.yaml is the whole first, the table in docs/configuration.md the whole second; a test compares them.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from tornflow.config.schema import TABLE, Section, Setting

HEADER = """\
# Every setting of tornflow with its default. Copy what you change; everything left out keeps its default.
# Order of precedence: flags, then TORNFLOW_<SECTION>_<KEY>, then this file (--config FILE), then the default.
# Drawn from the sections in tornflow/config/sections.py; tests keep the two the same.
"""


def settings_file() -> str:
    """Return the text of conf/tornflow.yaml."""
    lines = [HEADER]
    for row in TABLE:
        indent = "  " * row.path.count(".")
        name = row.path.rpartition(".")[2]
        if isinstance(row, Section):
            gap = "" if "." in row.path else "\n"
            lines.append(f"{gap}{indent}# {row.doc}.\n{indent}{name}:\n")
        else:
            lines.append(f"{indent}# {_remark(row)}\n{indent}{name}: {_yaml(row.default)}\n")
    return "".join(lines)


def manual_table() -> str:
    """Return the tables of docs/configuration.md: one per section."""
    lines: list[str] = []
    for row in TABLE:
        if isinstance(row, Section):
            lines.append(f"\n### `{row.path}`\n\n{row.doc}.\n")
            lines.append("\n| setting | default | meaning |\n|---|---|---|\n")
        else:
            names = "".join(f"; also `{name}`" for name in row.about.environ)
            remark = _remark(row).replace("<", "&lt;")
            lines.append(f"| `{row.path}` | `{_yaml(row.default)}` | {remark}{names} |\n")
    return "".join(lines).replace("\n| setting | default | meaning |\n|---|---|---|\n\n###", "\n###")


def _remark(setting: Setting) -> str:
    about = setting.about
    extra = [f"one of {', '.join(about.one_of)}" if about.one_of else about.unit]
    if about.minimum is not None:
        extra.append(f"{about.minimum:g} to {about.maximum:g}" if about.maximum else f"at least {about.minimum:g}")
    notes = ", ".join(text for text in extra if text)
    return f"{about.doc} ({notes})" if notes else about.doc


def _yaml(value: Any) -> str:
    """JSON is YAML, and reads well for every default; whole floats lose their ``.0``."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str) and value and value.isalnum():
        return value
    return json.dumps(list(value) if isinstance(value, tuple) else value)


if __name__ == "__main__":
    sys.stdout.write({"file": settings_file, "manual": manual_table}[sys.argv[1]]())
