"""Times compiled mappings against closures written by hand. A script of its own, on the server's core.

``python -P closures.py TASK.json`` with ``{"evaluations": int, "rounds": int}`` prints JSON: per kind of mapping the
microseconds of one pass, mapped and by hand, in turn, round by round.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tornflow.engine.mapping import PassEnv, compile_input, compile_output
from tornflow.model.descriptor import MappingRule

Json = dict[str, Any]
Pairs = tuple[tuple[str, str], ...]
Work = Callable[[], object]

KINDS: dict[str, tuple[str, Pairs]] = {
    "input, flat": ("input", (
        ("$.context.user", "$.input.user"), ("$.context.total", "$.input.total"), ("$.context.items", "$.input.items"),
    )),
    "input, nested": ("input", (
        ("$.context.order.customer.name", "$.input.customer.name"),
        ("$.context.order.customer.city", "$.input.customer.city"),
        ("$.context.order.price.gross", "$.input.price"),
    )),
    "output, flat": ("output", (
        ("$.output.user", "$.context.who"), ("$.output.total", "$.context.sum"), ("$.output.items", "$.context.items"),
    )),
    "output, nested": ("output", (
        ("$.output.result.score", "$.context.order.score"),
        ("$.output.result.rank", "$.context.order.rank"),
        ("$.output.by.name", "$.context.judge"),
    )),
}  # fmt: skip
"""Three reads and three writes each."""

_ENV = PassEnv("bench:mapping_c_1", "http://127.0.0.1/flow/trigger.json")
_MISSING = object()


def main(task: dict[str, Any]) -> dict[str, Any]:
    chunk = max(1, task["evaluations"] // task["rounds"])
    found = {}
    for name, (side, pairs) in KINDS.items():
        mapped, by_hand = (_input if side == "input" else _output)(pairs)
        rounds = [(_timed(mapped, chunk), _timed(by_hand, chunk)) for _ in range(task["rounds"])]
        found[name] = {"mapped": [a for a, _ in rounds], "by hand": [b for _, b in rounds]}
    return found


def _timed(work: Work, count: int) -> float:
    """Return the microseconds of one call."""
    started = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - started) / count * 1e6


def _input(pairs: Pairs) -> tuple[Work, Work]:
    context = _document()
    compiled = compile_input(_rules(pairs), _no_transform)
    plain = hand_input(pairs)
    _same(compiled(context, _ENV), plain(context))
    return lambda: compiled(context, _ENV), lambda: plain(context)


def _output(pairs: Pairs) -> tuple[Work, Work]:
    """Both write into one context again and again, as the tasks of one flow do."""
    ours, theirs, output = _document(), _document(), _answer()
    compiled = compile_output(_rules(pairs), _no_transform)
    plain = hand_output(pairs)
    _same(compiled(ours, output, _ENV), plain(theirs, output))
    _same(ours, theirs)
    return lambda: compiled(ours, output, _ENV), lambda: plain(theirs, output)


# --- the yardstick: what a programmer would write for exactly this, still safe when something is missing


def hand_input(pairs: Pairs) -> Callable[[Json], Json]:
    moves = [(_getter(source), _setter(target)) for source, target in pairs]

    def run(context: Json) -> Json:
        result: Json = {}
        for get, put in moves:
            value = get(context)
            if value is not None:
                put(result, value)
        return result

    return run


def hand_output(pairs: Pairs) -> Callable[[Json, Json], set[str]]:
    """Says which keys it changed. Containers on the way are changed in place, not copied as the product must."""
    moves = [(_getter(source), _setter(target), target.split(".")[2]) for source, target in pairs]

    def run(context: Json, output: Json) -> set[str]:
        changed = set()
        for get, put, key in moves:
            value = get(output)
            if value is not None:
                put(context, value)
                changed.add(key)
        return changed

    return run


def _getter(path: str) -> Callable[[Mapping[str, Any]], Any]:
    names = path.split(".")[2:]
    if len(names) == 1:
        name = names[0]
        return lambda node: node.get(name)

    def get(node: Any) -> Any:
        for name in names:
            if type(node) is not dict:
                return None
            node = node.get(name)
        return node

    return get


def _setter(path: str) -> Callable[[Json, Any], None]:
    *way, last = path.split(".")[2:]
    if not way:
        return lambda node, value: node.__setitem__(last, value)

    def put(node: Json, value: Any) -> None:
        for name in way:
            child = node.get(name, _MISSING)
            if child is _MISSING:
                child = node[name] = {}
            node = child
        node[last] = value

    return put


# --- what is mapped


def _document() -> Json:
    order = {"customer": {"name": "Ann", "city": "Ulm"}, "price": {"gross": 119, "net": 100}, "lines": [1, 2, 3]}
    others = {f"key{number}": "v" * 12 for number in range(12)}
    return {"user": "ann", "total": 119, "items": [{"id": 1}, {"id": 2}], "order": order, **others}


def _answer() -> Json:
    judge = {"name": "Bob", "since": 2019}
    return {"user": "ann", "total": 120, "items": [1, 2], "result": {"score": 42, "rank": 7}, "by": judge, "ok": True}


def _rules(pairs: Pairs) -> tuple[MappingRule, ...]:
    return tuple(MappingRule(source=source, target=target) for source, target in pairs)


def _same(ours: object, theirs: object) -> None:
    if ours != theirs:
        raise RuntimeError(f"the mapping gave {ours!r}, the closures {theirs!r}")


def _no_transform(text: str) -> Any:
    raise ValueError(f"no transform is measured: {text}")


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text("utf-8")))))
