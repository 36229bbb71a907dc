"""What a pattern is compiled to: the instructions of ``regex_machine``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, auto
from typing import Any

from tornflow.engine.expressions.errors import ExpressionError

Test = Callable[[str], bool]
"""Says whether one character fits."""

_MAX_CODE = 2000
_MAX_VISITS = 3 * _MAX_CODE
_TOO_LARGE = f"a pattern of more than {_MAX_CODE} parts, repetitions written out"
UNBOUNDED = 1 << 60
Node = tuple[Any, ...]


class Op(IntEnum):
    """``ONE test extra`` (what the test costs beyond a move) · ``SPLIT first second`` · ``JUMP to`` · ``SAVE slot`` ·
    ``MARK slot`` (position at loop entry) · ``MOVED slot exit`` (leave a loop that went nowhere) ·
    ``RUN (test, least, most, greedy, weight)`` · ``BACK group`` · ``LOOK program negative``."""

    ONE = auto()
    RUN = auto()
    SPLIT = auto()
    JUMP = auto()
    SAVE = auto()
    MARK = auto()
    MOVED = auto()
    START = auto()
    END = auto()
    WORD = auto()
    NOT_WORD = auto()
    BACK = auto()
    LOOK = auto()
    MATCH = auto()


Instruction = tuple[Op, Any, Any]


@dataclass(frozen=True, slots=True)
class Program:
    """``groups`` counts group 0; slots 2n and 2n+1 are start and end of group n, loop marks follow."""

    code: tuple[Instruction, ...]
    groups: int
    slots: int
    source: str
    literal: str | None
    """The text itself if the pattern has no special characters."""


class Writer:
    def __init__(self, groups: int) -> None:
        self.code: list[Instruction] = []
        self.slots = groups * 2
        self.visits = 0

    def emit(self, op: Op, a: Any = None, b: Any = None) -> int:
        if len(self.code) >= _MAX_CODE:
            raise ExpressionError(_TOO_LARGE)
        self.code.append((op, a, b))
        return len(self.code) - 1

    def write(self, node: Node) -> None:
        self.visits += 1
        if self.visits > _MAX_VISITS:
            # Groups without anything in them write no code, however often they are repeated.
            raise ExpressionError(_TOO_LARGE)
        match node[0]:
            case "sequence":
                for item in node[1]:
                    self.write(item)
            case "one":
                self.emit(Op.ONE, node[1], node[2] >> 2)
            case "group":
                self.emit(Op.SAVE, node[1] * 2)
                self.write(node[2])
                self.emit(Op.SAVE, node[1] * 2 + 1)
            case "either":
                self._either(node[1])
            case "repeat":
                self._repeat(*node[1:])
            case "assert":
                self.emit(node[1], node[2])
            case "back":
                self.emit(Op.BACK, node[1])
            case "look":
                self._look(node[1], node[2])
            case _:
                raise AssertionError(node[0])

    def _either(self, branches: list[Node]) -> None:
        exits = []
        for branch in branches[:-1]:
            split = self.emit(Op.SPLIT)
            self.write(branch)
            exits.append(self.emit(Op.JUMP))
            self.code[split] = (Op.SPLIT, split + 1, len(self.code))
        self.write(branches[-1])
        for place in exits:
            self.code[place] = (Op.JUMP, len(self.code), None)

    def _repeat(self, node: Node, least: int, most: int, greedy: bool) -> None:
        if node[0] == "one":
            self.emit(Op.RUN, (node[1], least, most, greedy, node[2]))
            return
        for _ in range(least):
            self.write(node)
        if most == UNBOUNDED:
            self._loop(node, greedy)
            return
        splits = []
        for _ in range(most - least):
            splits.append(self.emit(Op.SPLIT))
            self.write(node)
        for place in splits:
            self._split(place, place + 1, len(self.code), greedy)

    def _loop(self, node: Node, greedy: bool) -> None:
        slot = self.slots
        self.slots += 1
        split = self.emit(Op.SPLIT)
        self.emit(Op.MARK, slot)
        self.write(node)
        moved = self.emit(Op.MOVED)
        self.emit(Op.JUMP, split)
        self.code[moved] = (Op.MOVED, slot, len(self.code))
        self._split(split, split + 1, len(self.code), greedy)

    def _split(self, place: int, inside: int, outside: int, greedy: bool) -> None:
        self.code[place] = (Op.SPLIT, inside, outside) if greedy else (Op.SPLIT, outside, inside)

    def _look(self, node: Node, negative: bool) -> None:
        place = self.emit(Op.LOOK)
        self.write(node)
        self.emit(Op.MATCH)
        self.code[place] = (Op.LOOK, len(self.code), negative)
