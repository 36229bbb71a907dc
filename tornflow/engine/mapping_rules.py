"""One mapping rule, compiled: its value, its target, and how it fails (rill-dsl 5.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tornflow.engine.jsonpath import PathSyntaxError, Target, compile_target, copy_json
from tornflow.engine.sources import PassEnv, Place, Read, Source, analyse_source
from tornflow.model.descriptor import MappingRule

Transform = Callable[..., Any]
TransformCompiler = Callable[[str], Transform]
"""Text to a function of ``{"source", "context", "input", "output"}``, which takes ``meter=`` too where passes share
one. It must not change what it gets, unless it has
the attribute ``needs_copies`` with the value True: then it gets deep copies."""

MAX_PASS_CHARACTERS = 16 * 1024 * 1024
"""JSON text, roughly, that the rules of one pass may write: two rules double a value, forty exhaust a machine."""

_ROOTS = ("context", "input", "output")


class MappingError(Exception):
    """A rule with ``tolerance: false`` failed, or the pass wrote too much. Names the rule and the reason."""


class TooMuch(Exception):
    """Beyond MAX_PASS_CHARACTERS; fails the pass whatever the tolerance."""


@dataclass(frozen=True, slots=True)
class Rule:
    """``write_error`` says why the target cannot be written. ``mentions`` are roots that the transform may hand on."""

    label: str
    source: Source
    transform: Transform | None
    target: Target
    is_strict: bool
    write_error: str | None = None
    mentions: frozenset[str] = frozenset()

    @property
    def shared(self) -> tuple[Place, ...]:
        """What of the document the value may share."""
        own = (self.source.shares,) if self.source.shares else ()
        return (*own, *(Place(root) for root in sorted(self.mentions)))

    @property
    def may_hold_nulls(self) -> bool:
        """An object in the value may have null members although no context has any."""
        return self.transform is not None or self.source.may_hold_nulls


class Step:
    """A rule ready to run. Plain slots: this is the hot path."""

    __slots__ = ("is_strict", "is_transformed", "is_weighed", "key", "rule", "steps", "value")

    def __init__(self, rule: Rule, *, is_weighed: bool, is_entangled: bool) -> None:
        self.rule = rule
        self.value = _value(rule, is_entangled)
        self.steps = rule.target.steps
        self.key = str(self.steps[0]) if self.steps else ""
        self.is_strict = rule.is_strict
        self.is_transformed = rule.transform is not None
        self.is_weighed = is_weighed or self.is_transformed


def compile_rules(rules: Sequence[MappingRule], transforms: TransformCompiler) -> tuple[Rule, ...]:
    return tuple(found for rule in rules if (found := _rule(rule, transforms)) is not None)


def _rule(rule: MappingRule, transforms: TransformCompiler) -> Rule | None:
    """Return None for a rule that can have no effect (rill-dsl 5.1, 5.5)."""
    has_source, has_transform = _is_given(rule.source), _is_given(rule.transform)
    if rule.target is None or not _is_given(rule.target) or not (has_source or has_transform):
        return None
    target, write_error = Target("", ()), None
    try:
        target = compile_target(rule.target)
        if not target.steps:
            return None
    except PathSyntaxError as error:
        write_error = str(error)
    text = rule.transform if rule.transform is not None and has_transform else None
    return Rule(
        label=f"mapping to {_shown(rule.target)} from {_shown(rule.source or rule.transform or '')}",
        source=analyse_source(rule.source),
        transform=_transform(text, transforms) if text else None,
        target=target,
        is_strict=rule.tolerance is False,
        write_error=write_error,
        mentions=frozenset(root for root in _ROOTS if text and root in text),
    )


def _is_given(text: str | None) -> bool:
    return text is not None and bool(text.strip())


def _transform(text: str, transforms: TransformCompiler) -> Transform:
    try:
        return transforms(text)
    except Exception as error:  # a text that does not compile is an error of its rule, when it runs
        message = f"transform {_shown(text)}: {error}"

    def fail(_variables: Mapping[str, Any]) -> Any:
        raise ValueError(message)

    return fail


def judge(step: Step, error: Exception, undo: Callable[[], None] | None = None) -> None:
    """Let a tolerant rule pass; raise MappingError for a strict one, after ``undo``."""
    if step.is_strict or isinstance(error, TooMuch):
        if undo is not None:
            undo()
        raise MappingError(f"{step.rule.label}: {str(error) or type(error).__name__}") from error


def weighed(value: Any, left: int) -> int:
    """Return what is left of the pass's allowance. Raises TooMuch."""
    left -= _weight(value, {}) if isinstance(value, (dict, list)) else len(value) if isinstance(value, str) else 8
    if left < 0:
        raise TooMuch(f"the rules write more than {MAX_PASS_CHARACTERS} characters in one pass")
    return left


def _weight(value: Any, known: dict[int, int]) -> int:
    """Estimate the length as JSON; shared containers are weighed once and count every time."""
    if isinstance(value, str):
        return len(value) + 3
    if not isinstance(value, (dict, list)):
        return 6
    weight = known.get(id(value))
    if weight is None:
        weight = 2
        if isinstance(value, dict):
            weight += sum(len(key) + 4 for key in value)
        for child in value.values() if isinstance(value, dict) else value:
            weight += _weight(child, known)
        known[id(value)] = weight
    return weight


def _value(rule: Rule, is_entangled: bool) -> Read:
    read = rule.source.read
    shares = rule.source.shares
    if rule.source.is_guarded and shares is not None:
        read = _guarded(read, (shares.root,) if shares.root else _ROOTS)
    elif rule.source.is_constant and is_entangled:
        read = _copied(read)
    if rule.transform is not None:
        read = _transformed(read, rule.transform, rule.mentions)
    if rule.write_error is not None:
        read = _unwritable(read, rule.write_error)
    return read


def _guarded(read: Read, names: Sequence[str]) -> Read:
    """Hand out shallow copies of root objects: those themselves go on changing."""
    return lambda root, env: read({**root, **{name: _snapshot(root.get(name)) for name in names}}, env)


def _copied(read: Read) -> Read:
    return lambda root, env: copy_json(read(root, env))


def _transformed(read: Read, transform: Transform, mentions: frozenset[str]) -> Read:
    take = copy_json if getattr(transform, "needs_copies", False) else _snapshot
    copied = tuple(_ROOTS) if take is copy_json else tuple(sorted(mentions))

    def value(root: Mapping[str, Any], env: PassEnv) -> Any:
        source = read(root, env)
        variables = {"source": copy_json(source) if take is copy_json else source, **root}
        for name in copied:
            variables[name] = take(variables[name])
        return transform(variables) if env.meter is None else transform(variables, meter=env.meter)

    return value


def _unwritable(read: Read, reason: str) -> Read:
    def value(root: Mapping[str, Any], env: PassEnv) -> Any:
        if read(root, env) is not None:
            raise ValueError(reason)
        return None

    return value


def _snapshot(value: Any) -> Any:
    return value.copy() if isinstance(value, (dict, list)) else value


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "...")
