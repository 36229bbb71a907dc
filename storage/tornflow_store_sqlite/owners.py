"""How the owners of a scope are kept in one column.

Nearly always there is none or one, and then the column is null or the name, as cheap as can be. The names of several
stand between separators: ``<a><b>`` is ``|a|b|``. So all scopes of several owners lie together in the index, and are
few, and one name among them is found by reading those.
"""

from __future__ import annotations

SEPARATOR = "\x1f"  # the control character made for this; in SQL char(31)


def joined(owners: tuple[str, ...]) -> str | None:
    if len(owners) < 2:
        return owners[0] if owners else None
    return f"{SEPARATOR}{SEPARATOR.join(owners)}{SEPARATOR}"


def split(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    return tuple(text[1:-1].split(SEPARATOR)) if text.startswith(SEPARATOR) else (text,)
