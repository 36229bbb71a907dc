"""Progress of one execution on standard error: a line per task that moved, and a bar on a terminal."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from tornflow.model.descriptor import Descriptor
from tornflow.model.execution import ScopeState, TaskState
from tornflow.model.status import FlowStatus, TaskStatus

COLOURS = {
    TaskStatus.SUCCEED: "green",
    TaskStatus.KEY_SUCCEED: "green",
    TaskStatus.SKIPPED: "dim",
    TaskStatus.FAILED: "red",
    TaskStatus.RUNNING: "cyan",
}


class Progress:
    """Show the states of one root scope, as often as ``show`` is called; a context manager."""

    def __init__(self, descriptor: Descriptor, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._seen: dict[str, tuple[TaskStatus, int]] = {}
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._row = self._bar.add_task(escape(descriptor.service_id), total=len(descriptor.tasks))

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def show(self, state: ScopeState) -> None:
        """Print what changed since the last call, and the outcome once it is there."""
        done = sum(task.status.is_completed for task in state.tasks.values())
        self._bar.update(self._row, completed=done)
        for task in state.tasks.values():
            if self._seen.get(task.name) != (task.status, task.attempt):
                self._seen[task.name] = (task.status, task.attempt)
                self._console.print(_task_line(task))
        if state.status.is_completed:
            self._console.print(_outcome_line(state))


def _task_line(task: TaskState) -> str:
    colour = COLOURS.get(task.status, "default")
    attempt = f" (attempt {task.attempt})" if task.attempt > 1 else ""
    reason = f": {task.msg}" if task.msg and task.status is TaskStatus.FAILED else ""
    return f"[{colour}]{task.status:<12}[/] {escape(task.name + attempt + reason)}"


def _outcome_line(state: ScopeState) -> str:
    colour = "green" if state.status is FlowStatus.SUCCEED else "red"
    reason = f": {state.msg}" if state.msg else ""
    seconds = ((state.finished_at or state.updated_at) - state.created_at) / 1000
    return f"[bold {colour}]{state.status}[/] in {seconds:.3f} s{escape(reason)}"
