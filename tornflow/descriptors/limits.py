"""How large a descriptor may be. Each limit has a clear error; none is there to be met in daily work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DescriptorLimits:
    """Bounds on one descriptor; the settings section ``descriptor`` fills them.

    ``size_bytes`` is the UTF-8 length of the text (``rill-dsl`` 3; code 30508). ``depth`` and ``nodes`` bound the YAML
    tree before anything looks at it (30402). ``tasks`` counts tasks of every nesting level, ``mappings`` the mapping
    rules of all tasks after references are replaced by their common mappings, because a few lines of references could
    otherwise become millions of rules (both 30508). ``problems`` bounds how many problems one answer lists.
    """

    size_bytes: int = 645_120
    depth: int = 64
    nodes: int = 200_000
    tasks: int = 10_000
    mappings: int = 100_000
    problems: int = 200
