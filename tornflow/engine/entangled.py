"""Entangled mapping passes: those where one rule's write can be seen in what another rule has copied.

The reference shares values by reference inside one pass: after ``a -> b``, a write below ``a`` shows in ``b``. That
can only be seen when a target lies below an earlier target or below what a rule has read, which is known when the
rules are compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tornflow.engine.jsonpath import Target, copy_json, plant
from tornflow.engine.mapping_rules import MAX_PASS_CHARACTERS, Rule, Step, judge, weighed
from tornflow.engine.sources import PassEnv, Place

Json = dict[str, Any]


def is_entangled(rules: Sequence[Rule], result: str) -> bool:
    places: list[Place] = []
    for rule in rules:
        target = Place(rule.target.root, rule.target.steps)
        if rule.write_error is not None:
            continue
        if target.root != result:
            return True
        # What a transform returns is copied, so it shares nothing.
        shared = () if rule.transform else rule.shared
        if any(_lies_below(target, place) for place in (*places, *shared)):
            return True
        places += [target, *shared]
    return False


def _lies_below(target: Place, place: Place) -> bool:
    """Say whether a write to ``target`` changes a container at ``place``."""
    if place.root not in ("", target.root):
        return False
    # Roots are handed out as snapshots, so only containers below them can be seen to change.
    depth = max(len(place.steps), 1)
    return len(target.steps) > depth and target.steps[: len(place.steps)] == place.steps


def reads_back(rules: Sequence[Rule]) -> bool:
    """Say whether a rule reads what an earlier one has written: such rules can double a value again and again."""
    targets: list[Place] = []
    for rule in rules:
        for place in rule.shared:
            for target in targets:
                common = min(len(place.steps), len(target.steps))
                if place.root in ("", target.root) and place.steps[:common] == target.steps[:common]:
                    return True
        targets.append(Place(rule.target.root, rule.target.steps))
    return False


class Entangled:
    """``(context, output, env) -> (work document, changed context keys)``: in place on deep copies.

    ``keys`` are the context keys that may change: those of targets, and those whose containers a target may share.
    """

    __slots__ = ("_copied", "_is_output_copied", "_steps", "keys")

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._steps = tuple(Step(rule, is_weighed=True, is_entangled=True) for rule in rules)
        places = [place for rule in rules for place in rule.shared]
        places += [Place(rule.target.root, rule.target.steps) for rule in rules if rule.target.root]
        self.keys = frozenset(str(place.steps[0]) for place in places if place.root == "context" and place.steps)
        is_all = any(place.root == "" or (place.root == "context" and not place.steps) for place in places)
        self._copied = None if is_all else self.keys
        self._is_output_copied = any(place.root in ("", "output") for place in places)

    def __call__(self, context: Json, output: Any, env: PassEnv) -> tuple[Json, set[str]]:
        copied = self._copied
        work: Json = {
            "context": {
                key: copy_json(value) if copied is None or key in copied else value for key, value in context.items()
            },
            "input": {},
            "output": copy_json(output) if self._is_output_copied else output,
        }
        written = self.apply(work, env)
        return work, written & work["context"].keys()

    def apply(self, work: Json, env: PassEnv) -> set[str]:
        """Apply the rules to a document in place; return the context keys that were written. Raises MappingError."""
        left = MAX_PASS_CHARACTERS
        written: set[str] = set()
        for step in self._steps:
            try:
                value = step.value(work, env)
                if value is None:
                    continue
                left = weighed(value, left)
                _plant_in_place(work, step.rule.target, value)
                written.update(_changed_keys(step, value))
            except Exception as error:  # as above
                judge(step, error)
        return written


def _plant_in_place(work: Json, target: Target, value: Any) -> None:
    root = work[target.root]
    if not isinstance(root, dict):
        raise ValueError(f"$.{target.root} is no object")
    if isinstance(value, (dict, list)) and _holds_any(value, _containers(root, target.steps)):
        raise ValueError("the value would contain itself")
    plant(root, target.steps, value)


def _changed_keys(step: Step, value: Any) -> set[str]:
    """Return the key of the target, and that of the source: a later write below the one also changes the other."""
    keys = {step.key} if step.rule.target.root == "context" else set()
    shares = step.rule.source.shares
    if shares and shares.root == "context" and shares.steps and isinstance(value, (dict, list)):
        keys.add(str(shares.steps[0]))
    return keys


def _containers(root: Json, steps: tuple[str | int, ...]) -> set[int]:
    """Return the ids of the containers on the way to a place."""
    found = {id(root)}
    node: Any = root
    for step in steps[:-1]:
        try:
            node = node[step]
        except (KeyError, IndexError, TypeError):
            break
        found.add(id(node))
    return found


def _holds_any(value: Any, identities: set[int]) -> bool:
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if id(node) in identities:
            return True
        if id(node) not in seen:
            seen.add(id(node))
            children = node.values() if isinstance(node, dict) else node
            waiting.extend(child for child in children if isinstance(child, (dict, list)))
    return False
