"""One application of events to a scope: the moment, and the commands that pile up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tornflow.engine.commands import AbandonAttempt, AnnounceTask, Command, Deliver
from tornflow.engine.custom_status import StatusPass
from tornflow.engine.mapping import MappingError
from tornflow.engine.program import CompiledTask
from tornflow.engine.scope import Scope
from tornflow.model.execution import TaskState
from tornflow.model.messages import Message, Posted
from tornflow.model.status import TaskStatus

MISSING: Any = object()


class Turn:
    """Changes one scope by the rules of ``rill-dsl`` 4; every module of the engine works through it."""

    __slots__ = ("at", "commands", "now", "scope")

    def __init__(self, scope: Scope, at: int, commands: list[Command]) -> None:
        self.scope = scope
        self.at = at
        # An event may have waited, and the wall clock may have been set since: durations begin with the step.
        self.now = at if scope.now is None else scope.now
        self.commands = commands

    # --- readiness (rill-dsl 4.3)

    def make_ready(self, name: str) -> None:
        task = self.scope.task(name)
        self.scope.set_status(task, TaskStatus.READY)
        self.scope.ready.append(name)

    def may_start(self, compiled: CompiledTask) -> bool:
        """Judge a task that has not started by the state of its predecessors alone (rill-dsl 4.3)."""
        scope = self.scope
        left = scope.open_predecessors(compiled)
        if left == 0 or not compiled.definition.is_stream_input:
            return left == 0
        return left < len(compiled.predecessors) or any(
            scope.graph.tasks[name].definition.is_stream_output
            and scope.status_of(name) is not TaskStatus.NOT_STARTED
            for name in compiled.predecessors
        )

    def wake_successors(self, compiled: CompiledTask) -> None:
        """Called exactly once for a task, when it becomes SUCCEED or SKIPPED."""
        scope = self.scope
        for name in compiled.successors:
            follower = scope.graph.tasks[name]
            left = scope.close_predecessor(name)
            if (left == 0 or follower.definition.is_stream_input) and _is_untouched(scope, name):
                self.make_ready(name)
        if scope.keyed:
            self.wake_key_callbacks(compiled)

    def wake_stream_readers(self, compiled: CompiledTask) -> None:
        """Called when a task with stream output leaves NOT_STARTED."""
        for name in compiled.successors:
            if self.scope.graph.tasks[name].definition.is_stream_input and _is_untouched(self.scope, name):
                self.make_ready(name)

    def wake_key_callbacks(self, compiled: CompiledTask) -> None:
        """Called when a task becomes KEY_SUCCEED: followers with ``keyCallback`` need no more (rill-dsl 4.8)."""
        scope = self.scope
        for name in compiled.successors:
            follower = scope.graph.tasks[name]
            if follower.definition.key_callback and _is_untouched(scope, name):
                before = (scope.status_of(one) for one in follower.predecessors)
                if all(status.is_ok or status is TaskStatus.KEY_SUCCEED for status in before):
                    self.make_ready(name)

    # --- completion

    def complete(self, task: TaskState, status: TaskStatus, msg: str | None = None) -> None:
        """Give a task its final status and let its successors know."""
        scope = self.scope
        if msg is not None:
            task.msg = msg
        self.end_attempt(task)
        scope.set_status(task, status)
        self.commands.append(AnnounceTask(task.name, status, task.attempt, task.code, task.msg))
        if status.is_ok:
            self.wake_successors(scope.graph.tasks[task.name])

    def set_status(self, task: TaskState, status: TaskStatus) -> None:
        """Give a task a status that is not its last one; observers hear of it where there are any."""
        if self.scope.rules.is_observed and task.status is not status:
            self.commands.append(AnnounceTask(task.name, status, task.attempt, task.code, task.msg))
        self.scope.set_status(task, status)

    def end_attempt(self, task: TaskState) -> None:
        """Close the books of the running attempt: timer, times, what is in flight."""
        scope = self.scope
        if task.due_at is not None:
            scope.clear_timer(task)
        if task.is_in_flight:
            scope.set_owner(task, None)
            self.commands.append(AbandonAttempt(task.name, task.attempt))
        if task.invocations and task.invocations[-1][1] is None:
            task.invocations[-1][1] = self.at

    def forget_answer(self, task: TaskState) -> None:
        """Before a new attempt: nothing of the old answer may show."""
        task.output = task.code = task.msg = task.ext = task.invoke_id = task.child_id = None

    def arm_timeout(self, compiled: CompiledTask, task: TaskState) -> None:
        """Start the task's own clock, if its timeout is a positive integer (rill-dsl 11.2)."""
        if compiled.timeout is None:
            return
        root = {"input": task.input, "context": {}, "output": {}}
        seconds = positive_integer(compiled.timeout(root, self.scope.env))
        if seconds is not None:
            self.scope.set_timer(task, "timeout", self.elapsed(seconds))

    def elapsed(self, seconds: int) -> int:
        """Return the moment, on the steady clock, when so many seconds have passed from now."""
        return self.now + seconds * 1000

    def post_message(self, name: str, message: Message) -> None:
        """Put a message into the outbox; it stays there until it is delivered.

        Its id carries the generation: what is said of a message of an earlier life, or of a group before a redo, must
        not be taken for one of the present, which has the same path.
        """
        scope = self.scope
        message_id = f"{name}@{'.'.join(map(str, scope.state.generation))}"
        self.drop_message(message_id)
        scope.state.outbox[message_id] = Posted(scope.node, message)
        scope.take(scope.node)
        scope.is_dirty = True
        self.commands.append(Deliver(message_id))

    def drop_message(self, message_id: str) -> Message | None:
        """Take a message out of the outbox; None: it is not there."""
        posted = self.scope.state.outbox.pop(message_id, None)
        if posted is None:
            return None
        self.scope.release(posted.owner)
        self.scope.is_dirty = True
        return posted.message

    def fail_or_skip(self, task: TaskState, msg: str | None = None) -> None:
        """End a failed task: SKIPPED where it is tolerated (rill-dsl 2.1), else FAILED."""
        tolerated = self.scope.graph.tasks[task.name].definition.tolerance
        self.complete(task, TaskStatus.SKIPPED if tolerated else TaskStatus.FAILED, msg)

    # --- context

    def map_output(self, compiled: CompiledTask, output: Any) -> None:
        """Run the outputMappings: on the context, and for the custom status.

        Raises:
            MappingError: a strict rule failed, or the context would pass its limit; the context is as before.
        """
        scope = self.scope
        context = scope.state.context
        before = {key: context.get(key, MISSING) for key in compiled.map_output.keys}
        changed = compiled.map_output(context, output, scope.env)
        status = None if compiled.map_status is None else self._custom_status(compiled.map_status, output, before)
        if changed:
            self._settle_context(changed, before)
        if status is not None:
            scope.state.custom_status = status
            scope.is_dirty = True

    def _settle_context(self, changed: set[str], before: Mapping[str, Any]) -> None:
        scope = self.scope
        size = scope.settle_context(changed)
        limit = scope.rules.context_limit_bytes
        if size > limit:
            restore(scope.state.context, before)
            scope.settle_context(changed)
            raise MappingError(f"context too long: {size} bytes, the limit engine.context_limit_bytes is {limit}")
        scope.touch_context(changed)

    def _custom_status(self, rules: StatusPass, output: Any, before: Mapping[str, Any]) -> str | None:
        if self.scope.state.key.path:
            return None
        try:
            return rules(self.scope.state.context, output, self.scope.env)
        except MappingError:
            restore(self.scope.state.context, before)
            raise


LONGEST_WAIT_S = 100 * 365 * 86_400
"""Timeouts and timed starts beyond it are cut to it, so that a moment always fits a store's 64 bits."""


def positive_integer(value: Any) -> int | None:
    """Read a timeout in seconds: only a positive integer, as number or text, counts (rill-dsl 11.2)."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    text = str(value).strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) == 0:
        return None
    return min(int(text), LONGEST_WAIT_S)


def _is_untouched(scope: Scope, name: str) -> bool:
    return scope.status_of(name) is TaskStatus.NOT_STARTED


def restore(context: dict[str, Any], before: Mapping[str, Any]) -> None:
    """Put back what ``before`` says; MISSING takes the key away."""
    for key, value in before.items():
        if value is MISSING:
            context.pop(key, None)
        else:
            context[key] = value
