"""What the linter can say: one remark per place, and the table of all rules (drawn into docs/lint.md)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    HINT = "hint"


@dataclass(frozen=True, slots=True)
class Remark:
    """``path`` is a place such as ``tasks[2].inputMappings[0].source``; ``line`` and ``column`` count from 1, 0 when
    unknown; ``code`` is the Rill number of what the server refuses, else 0. ``suggestion`` says what to do, or is "".
    """

    severity: Severity
    rule: str
    message: str
    path: str = ""
    line: int = 0
    column: int = 0
    suggestion: str = ""
    code: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    severity: Severity
    meaning: str


REFUSED = "refused"

_ERRORS = {
    REFUSED: "the server does not accept the descriptor; the number is its code",
    "path-syntax": "a path (source, target, condition, collection) does not parse",
    "script-syntax": "a `transform` or `progress.calculation` does not parse",
    "unknown-function": "a script calls a function that does not exist",
    "no-conditions": "a `return` without `conditions`, a `suspense` without `conditions` and `event`, a `choice` of "
    "several branches one of which has no condition: the task fails when it runs",
    "collection-root": "the `collection` of a foreach does not start with `$.input`: it finds nothing",
    "no-item": "a foreach without `iterationMapping.item` fails when it runs",
    "target-root": "a target that does not start with `$.input`, `$.context` or `$.output`, or cannot be written",
    "flow-id": "a `rillflow://` resource that names no flow",
}
_WARNINGS = {
    "unknown-key": "a key that no field has; it is ignored",
    "repeated-key": "a key that stands twice in one mapping; the last one counts",
    "unreachable-task": "a task that never runs",
    "dead-link": "`next` to another branch of a choice",
    "empty-source": "a source that is always empty in this pass: `$.output` in inputMappings, `$.input` in "
    "outputMappings, `$.context` in timelines",
    "unmapped-input": "a condition, a collection or a source reads a part of `$.input` that no inputMapping writes",
    "unmapped-context": "a task inside a foreach or choice reads a part of `$.context` that neither the input of the "
    "parent nor a task of the same group writes",
    "unlinked-reference": "`$.task.path` reads the output of a task that is not upstream, so it may not be there yet",
    "unknown-root": "a source that is rooted neither in context, input and output nor in a task",
    "looks-like-path": "a constant text that looks like a path whose `$` is missing",
    "no-effect": "something that is accepted and does nothing",
    "lost-target": "a mapping that writes where nothing is kept: `$.context` in inputMappings, `$.input` in "
    "outputMappings",
    "wrong-root": "a condition over a document that it does not see: `$.input` for tasks, `$.output` for results",
    "never-true": "a condition that can never hold",
    "switch-next": "an explicit `next` of a switch that leaves out a target of its cases",
    "trigger-url": "`$.tasks.NAME.trigger_url` with an unknown task or another ending",
    "unknown-variable": "a script reads a variable that it does not have",
    "unserved-protocol": "a resource whose protocol no installed task type serves",
    "pattern-mismatch": "a pattern that does not fit its resource: the task would wait for ever, or not wait",
    "bad-url": "an http resource without a host",
    "bad-number": "a number that does not count: a timeout of 0, a wait that is no number",
    "bad-schema": "an `inputSchema` that is not JSON",
}
_HINTS = {
    "undeclared-context": "a part of `$.context` that no task writes and neither `defaultContext` nor `inputSchema` "
    "declares; it must come with the submission",
    "unordered-read": "a part of `$.context` that is only written by tasks which need not be done before",
    "unused-mapping": "a common mapping that nothing refers to",
}

RULES: dict[str, Rule] = {
    name: Rule(severity, meaning)
    for severity, rules in ((Severity.ERROR, _ERRORS), (Severity.WARNING, _WARNINGS), (Severity.HINT, _HINTS))
    for name, meaning in rules.items()
}
