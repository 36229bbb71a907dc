"""Mapping passes: rules that copy values between context, input and output (rill-dsl 5).

Values are immutable once a pass has ended, so tasks share structure freely and a pass costs what its rules touch, not
what the context holds. A write below a container that existed before copies the containers on its way (path copying).
Where the reference's sharing inside a pass could be seen, ``entangled`` does the work in place on deep copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tornflow.engine.entangled import Entangled, is_entangled, reads_back
from tornflow.engine.jsonpath import copy_json, graft, plant
from tornflow.engine.mapping_rules import (
    MAX_PASS_CHARACTERS,
    MappingError,
    Rule,
    Step,
    TransformCompiler,
    compile_rules,
    judge,
    weighed,
)
from tornflow.engine.sources import PassEnv, compile_source
from tornflow.model.descriptor import MappingRule

__all__ = [
    "InputPass",
    "MappingError",
    "OutputPass",
    "PassEnv",
    "TransformCompiler",
    "compile_input",
    "compile_output",
    "compile_source",
]

Json = dict[str, Any]

_WEIGHED_FROM_RULES = 64  # shorter passes that never read back what they wrote cannot grow far
_ABSENT = object()


class InputPass:
    """``(context, env) -> input``. The context is read, never changed; the input is a new dict.

    ``may_hold_nulls``: objects in the input may have null members, because a constant has some or a script may make
    some. What becomes a context must then be freed of them (rill-dsl 5.8). Calling it raises MappingError.
    """

    __slots__ = ("_entangled", "_steps", "may_hold_nulls")

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.may_hold_nulls = any(rule.may_hold_nulls for rule in rules)
        self._entangled = Entangled(rules) if is_entangled(rules, "input") else None
        self._steps = _steps(rules)

    def __call__(self, context: Json, env: PassEnv) -> Json:
        if self._entangled is not None:
            work, _written = self._entangled(context, {}, env)
            result: Json = work["input"]
            return result
        result = {}
        root = {"context": context, "input": result, "output": {}}
        left = MAX_PASS_CHARACTERS
        for step in self._steps:
            try:
                value = step.value(root, env)
                if value is None:
                    continue
                if step.is_weighed:
                    left = weighed(value, left)
                if step.is_transformed:
                    value = copy_json(value)  # a script may return parts of the document as they are
                steps = step.steps
                if len(steps) == 1:
                    result[step.key] = value
                else:
                    # Everything on the way was made by this pass, else it were entangled.
                    plant(result, steps, value)
            except Exception as error:  # whatever a transform raises is an error of its rule
                judge(step, error)
        return result


class OutputPass:
    """``(context, output, env) -> changed top-level keys``. The context is changed in place, its values never are.

    ``keys`` are those that may change. Calling it raises MappingError and leaves the context as it was.
    """

    __slots__ = ("_entangled", "_steps", "keys")

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._entangled = Entangled(rules) if is_entangled(rules, "context") else None
        self._steps = _steps(rules)
        self.keys = self._entangled.keys if self._entangled else frozenset(step.key for step in self._steps if step.key)

    def __call__(self, context: Json, output: Any, env: PassEnv) -> set[str]:
        if self._entangled is not None:
            work, written = self._entangled(context, output, env)
            context.update((key, work["context"][key]) for key in sorted(written))
            return written
        root = {"context": context, "input": {}, "output": output}
        left = MAX_PASS_CHARACTERS
        before: Json = {}
        owned: dict[int, Any] = {}
        for step in self._steps:
            try:
                value = step.value(root, env)
                if value is None:
                    continue
                if step.is_weighed:
                    left = weighed(value, left)
                if step.is_transformed:
                    value = copy_json(value)  # a script may return parts of the document as they are
                key = step.key
                old = context.get(key, _ABSENT)
                if len(step.steps) > 1:
                    value = graft(None if old is _ABSENT else old, step.steps, 1, value, owned)
                context[key] = value
                before.setdefault(key, old)
            except Exception as error:  # as above
                judge(step, error, lambda: _restore(context, before))
        return set(before)


def compile_input(rules: Sequence[MappingRule], transforms: TransformCompiler) -> InputPass:
    """Compile inputMappings. Never raises: what is wrong with a rule is an error of that rule when it runs."""
    return InputPass(compile_rules(rules, transforms))


def compile_output(rules: Sequence[MappingRule], transforms: TransformCompiler) -> OutputPass:
    """Compile outputMappings. Never raises."""
    return OutputPass(compile_rules(rules, transforms))


def _steps(rules: Sequence[Rule]) -> tuple[Step, ...]:
    is_weighed = len(rules) > _WEIGHED_FROM_RULES or reads_back(rules)
    return tuple(Step(rule, is_weighed=is_weighed, is_entangled=False) for rule in rules)


def _restore(context: Json, before: Json) -> None:
    for key, value in before.items():
        if value is _ABSENT:
            context.pop(key, None)
        else:
            context[key] = value
