"""Runs patterns with a backtracking machine whose every move is paid for.

Python's own ``re`` cannot be interrupted: ``(a|a)*b`` over forty characters would stall the server. Here such a pattern
ends with BudgetExceeded like any other long script, and no harmless pattern has to be refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tornflow.engine.expressions.budget import Run
from tornflow.engine.expressions.regex_classes import ASCII_CLASSES
from tornflow.engine.expressions.regex_program import Op, Program, Test

_MOVES_PER_CHARGE = 64
_STEPS_PER_CHARGE = 32
_WORD = ASCII_CLASSES["w"]
_LINE_ENDS = frozenset("\n\r\x85\u2028\u2029")


@dataclass(frozen=True, slots=True)
class Found:
    """``slots``: start and end of every group, -1 where it took no part."""

    text: str
    slots: tuple[int, ...]

    @property
    def start(self) -> int:
        return self.slots[0]

    @property
    def end(self) -> int:
        return self.slots[1]

    def group(self, number: int) -> str | None:
        start, end = self.slots[number * 2 : number * 2 + 2]
        return None if start < 0 or end < 0 else self.text[start:end]


def full_match(run: Run, program: Program, text: str) -> Found | None:
    """The whole of ``text``, as ``=~`` wants it. Raises BudgetExceeded."""
    return _match(run, program, text, 0, full=True)


def find_all(run: Run, program: Program, text: str) -> Iterator[Found]:
    """Every match from left to right, not overlapping; an empty match moves on by one. Raises BudgetExceeded."""
    at = 0
    while at <= len(text):
        found = _match(run, program, text, at)
        if found is None:
            at += 1
            continue
        yield found
        at = found.end if found.end > found.start else found.end + 1


def _match(run: Run, program: Program, text: str, at: int, full: bool = False) -> Found | None:
    run.charge(2 + (program.slots >> 6))
    slots = [-1] * program.slots
    end = _walk(run, program, text, 0, at, slots, full)
    return None if end < 0 else Found(text, tuple(slots[: program.groups * 2]))


def _walk(run: Run, program: Program, text: str, pc: int, at: int, slots: list[int], full: bool) -> int:
    """Run from ``pc`` until MATCH; the end position, or -1.

    The stack holds choices: (pc, at) to go on there, (~slot, old) to undo a slot, and (pc, low, high, greedy) for a run
    of one class whose length may still change.
    """
    code, size = program.code, len(text)
    stack: list[tuple[int, ...]] = []
    moves = 0
    while True:
        moves += 1
        if moves == _MOVES_PER_CHARGE:
            run.charge(_STEPS_PER_CHARGE)
            moves = 0
        op, a, b = code[pc]
        fits = True
        if op is Op.ONE:
            fits = at < size and a(text[at])
            at += 1
            if b:
                run.charge(b)
        elif op is Op.RUN:
            at, fits = _take_run(run, a, text, at, pc + 1, stack)
        elif op is Op.SPLIT:
            stack.append((b, at))
            pc = a
            continue
        elif op is Op.JUMP:
            pc = a
            continue
        elif op is Op.SAVE or op is Op.MARK:
            stack.append((~a, slots[a]))
            slots[a] = at
        elif op is Op.MOVED:
            if slots[a] == at:
                pc = b
                continue
        elif op is Op.MATCH:
            if not full or at == size:
                run.charge(moves >> 1)
                return at
            fits = False
        elif op is Op.BACK:
            start, end = slots[2 * a], slots[2 * a + 1]
            fits = start >= 0 and end >= 0 and text.startswith(text[start:end], at)
            run.charge(1 + ((end - start) >> 8))
            at += end - start
        elif op is Op.LOOK:
            # Depth is bounded: lookaheads nest as deep as the groups of the pattern.
            run.charge(2 + (len(slots) >> 6))
            trial = list(slots)
            fits = (_walk(run, program, text, pc + 1, at, trial, False) >= 0) is not b
            pc = a - 1
        else:
            run.charge(1)
            fits = _holds(op, bool(a), text, at)
        pc += 1
        if fits:
            continue
        back = _retreat(stack, slots)
        if back is None:
            run.charge(moves >> 1)
            return -1
        pc, at = back


def _take_run(
    run: Run, spec: tuple[Test, int, int, bool, int], text: str, at: int, pc: int, stack: list[tuple[int, ...]]
) -> tuple[int, bool]:
    """A repeated single class: where it ends, and whether there was enough of it."""
    test, least, most, greedy, weight = spec
    high = at
    stop = min(len(text), at + most)
    while high < stop and test(text[high]):
        high += 1
    run.charge(1 + ((high - at) * weight >> 3))
    low = at + least
    if high < low:
        return at, False
    if high > low:
        stack.append((pc, low, high - 1, 1) if greedy else (pc, low + 1, high, 0))
    return (high if greedy else low), True


def _retreat(stack: list[tuple[int, ...]], slots: list[int]) -> tuple[int, int] | None:
    """Back to the latest choice: (pc, at), or None when nothing is left to try."""
    while stack:
        entry = stack.pop()
        if len(entry) == 2:
            pc, at = entry
            if pc >= 0:
                return pc, at
            slots[~pc] = at
            continue
        pc, low, high, greedy = entry
        if low < high:
            stack.append((pc, low, high - 1, 1) if greedy else (pc, low + 1, high, 0))
        return pc, high if greedy else low
    return None


def _holds(op: Op, multiline: bool, text: str, at: int) -> bool:
    size = len(text)
    if op is Op.START:
        return at == 0 or (multiline and text[at - 1] in _LINE_ENDS)
    if op is Op.END:
        # As in Java, $ also fits before a line end that closes the text.
        return at == size or (at == size - 1 and text[at] in _LINE_ENDS) or (multiline and text[at] in _LINE_ENDS)
    before = at > 0 and text[at - 1] in _WORD
    after = at < size and text[at] in _WORD
    return (before != after) is (op is Op.WORD)
