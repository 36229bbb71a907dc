"""Progress of one execution on standard error: a table that lives on a terminal, a line per change elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tornflow.model.descriptor import Descriptor
from tornflow.model.execution import GroupsState, Mark, ScopeState, TaskState
from tornflow.model.status import FlowStatus, TaskStatus
from tornflow.spi.hookspecs import TaskNotice

COLOURS = {
    TaskStatus.SUCCEED: "green",
    TaskStatus.KEY_SUCCEED: "green",
    TaskStatus.SKIPPED: "dim",
    TaskStatus.NOT_STARTED: "dim",
    TaskStatus.FAILED: "red",
    TaskStatus.RUNNING: "cyan",
}
_MAX_KEPT = 500
_MAX_REASON = 300
_MAX_TOLD = 50  # failed attempts, each a line; a loop may have a hundred thousand
_URGENT = {TaskStatus.FAILED: 0, TaskStatus.RUNNING: 1, TaskStatus.READY: 2}


class Progress:
    """Show the states of one root scope, as often as ``show`` is called; a context manager.

    ``now_ms`` is the clock that running tasks are measured with.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        console: Console | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._names = [task.name for task in descriptor.tasks]
        self._title = descriptor.service_id
        self._now_ms = now_ms
        self._told = 0
        self._seen: dict[str, tuple[TaskStatus, int]] = {}
        self._live: Live | None = None
        if self._console.is_terminal:
            self._console.soft_wrap = False
            self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, state: ScopeState) -> None:
        """Show what is the case now, and the outcome once it is there."""
        if self._live is None:
            self._show_changes(state)
        elif state.status.is_completed:
            self._live.stop()
            self._console.print(self._table(state, _MAX_KEPT))
        else:
            self._live.update(self._table(state, max(3, self._console.height - 3)), refresh=True)
        if state.status.is_completed:
            self._console.print(_outcome_line(state))

    def note(self, notice: TaskNotice) -> None:
        """Say why an attempt failed that is made again, and why a task of a group failed or was passed over: the states
        of the root, looked at now and then, do not tell."""
        is_retried = notice.status == TaskStatus.READY
        is_over = notice.status in (TaskStatus.FAILED, TaskStatus.SKIPPED) and notice.task_name not in self._names
        if not notice.msg or not notice.attempt or not (is_retried or is_over):
            return
        self._told += 1
        if self._told <= _MAX_TOLD:
            status = "RETRY" if is_retried else notice.status
            code = f", {notice.code}" if notice.code else ""
            text = f"{notice.task_name} (attempt {notice.attempt} failed{code}): {_cut(notice.msg)}"
            self._console.print(f"{status:<12} {escape(text)}")
        elif self._told == _MAX_TOLD + 1:
            self._console.print("further failed attempts are not shown")

    def _show_changes(self, state: ScopeState) -> None:
        for task in state.tasks.values():
            if self._seen.get(task.name) != (task.status, task.attempt):
                self._seen[task.name] = (task.status, task.attempt)
                self._console.print(self._line(task))

    def _line(self, task: TaskState) -> str:
        colour = COLOURS.get(task.status, "default")
        spent = self._spent(task) if task.status.is_completed else ""
        notes = [one for one in (spent, _attempts(task), _groups(task.groups)) if one]
        facts = f" ({', '.join(notes)})" if notes else ""
        return f"[{colour}]{task.status:<12}[/] {escape(task.name + facts + _reason(task))}"

    def _table(self, state: ScopeState, room: int) -> Group:
        tasks = [state.tasks.get(name) or TaskState(name) for name in self._names]
        shown = _most_urgent(tasks, room)
        table = Table.grid(padding=(0, 2))
        for task in shown:
            note = Text(", ".join(one for one in (_attempts(task), _groups(task.groups)) if one) + _reason(task))
            status = Text(task.status, style=COLOURS.get(task.status, ""))
            table.add_row(status, Text(task.name), Text(self._spent(task), justify="right"), note)
        head = Text(f"{self._title} {_counted(tasks)}", style="bold")
        return Group(head, table)

    def _spent(self, task: TaskState) -> str:
        """Return the time of all its attempts, "" for none."""
        now = self._now_ms()
        spent_ms = sum((now if pair[1] is None else pair[1]) - (pair[0] or now) for pair in task.invocations if pair)
        return f"{spent_ms / 1000:.3f} s" if spent_ms > 0 else ""


def _most_urgent(tasks: Sequence[TaskState], room: int) -> list[TaskState]:
    """Return as many as there is room for, in their order: failed and running ones before all others."""
    if len(tasks) <= room:
        return list(tasks)
    order = sorted(range(len(tasks)), key=lambda place: _URGENT.get(tasks[place].status, 3))
    return [tasks[place] for place in sorted(order[:room])]


def _counted(tasks: Sequence[TaskState]) -> str:
    counts = Counter(task.status for task in tasks)
    return ", ".join(f"{counts[status]} {status.lower()}" for status in TaskStatus if counts[status])


def _attempts(task: TaskState) -> str:
    return f"attempt {task.attempt}" if task.attempt > 1 else ""


def _groups(groups: GroupsState | None) -> str:
    """Return counters of a foreach or choice: ``3 of 10 groups, 1 failed``."""
    if groups is None:
        return ""
    failed, skipped = groups.marks.count(Mark.FAILED), groups.marks.count(Mark.SKIPPED)
    ended = groups.marks.count(Mark.SUCCEED) + failed
    more = "".join(f", {number} {word}" for number, word in ((failed, "failed"), (skipped, "skipped")) if number)
    return f"{ended} of {groups.total - skipped} groups{more}"


def _reason(task: TaskState) -> str:
    """Why it failed, or was skipped although it should have run (``tolerance``)."""
    was_tolerated = task.status is TaskStatus.SKIPPED and task.attempt > 0  # others were passed over: nothing is wrong
    if not task.msg or not (was_tolerated or task.status is TaskStatus.FAILED):
        return ""
    return f": {_cut(task.msg)}"


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_REASON else text[:_MAX_REASON] + "..."


def _outcome_line(state: ScopeState) -> str:
    colour = "green" if state.status is FlowStatus.SUCCEED else "red"
    reason = f": {state.msg}" if state.msg else ""
    seconds = ((state.finished_at or state.updated_at) - state.created_at) / 1000
    return f"[bold {colour}]{state.status}[/] in {seconds:.3f} s{escape(reason)}"
