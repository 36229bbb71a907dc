"""The custom status of an execution: a text for people, set by outputMappings whose target is ``$.custom_status``.

Those rules are taken out of their pass and run behind it, on the context as it is then; so nothing else knows of this
target. Only tasks of the top level set it: a group has no execution of its own to tell about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tornflow.engine.jsonpath import PathSyntaxError, parse
from tornflow.engine.jsonpath.steps import Name
from tornflow.engine.mapping import MappingError, PassEnv, TransformCompiler, compile_output
from tornflow.model.descriptor import MappingRule
from tornflow.model.jsontext import dumps

LIMIT_CHARS = 65_536
_NAME = "custom_status"
_KEY = "$.custom_status"  # in the scratch context; no entry of a real one is read under it


def is_custom_status(target: str | None) -> bool:
    """Whether a rule with this target sets the custom status."""
    if target is None or _NAME not in target:
        return False
    try:
        return parse(target).steps == (Name(_NAME),)
    except PathSyntaxError:
        return False


class StatusPass:
    """``(context, output, env) -> status``, None where no rule gave a value. Calling it raises MappingError."""

    __slots__ = ("_pass",)

    def __init__(self, rules: Sequence[MappingRule], transforms: TransformCompiler) -> None:
        here = [replace(rule, target=f"$.context['{_KEY}']") for rule in rules]
        self._pass = compile_output(here, transforms)

    def __call__(self, context: dict[str, Any], output: Any, env: PassEnv) -> str | None:
        scratch = dict(context)
        self._pass(scratch, output, env)
        value = scratch.get(_KEY)
        if value is None:
            return None
        text = value if isinstance(value, str) else dumps(value).decode()
        if len(text) > LIMIT_CHARS:
            raise MappingError(f"custom status too long: {len(text)} characters, the limit is {LIMIT_CHARS}")
        return text


def split_rules(rules: Sequence[MappingRule]) -> tuple[tuple[MappingRule, ...], tuple[MappingRule, ...]]:
    """Return (rules that write elsewhere, rules that set the custom status)."""
    own = tuple(rule for rule in rules if is_custom_status(rule.target))
    return (tuple(rule for rule in rules if rule not in own), own) if own else (tuple(rules), ())
