"""The one status vocabulary; each REST family translates it at its edge (design, section 2)."""

from __future__ import annotations

from enum import StrEnum


class TaskStatus(StrEnum):
    NOT_STARTED = "NOT_STARTED"
    READY = "READY"
    RUNNING = "RUNNING"
    STASHED = "STASHED"
    KEY_SUCCEED = "KEY_SUCCEED"
    SUCCEED = "SUCCEED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"

    # Set once per member: they are asked for some thirty times per flow.
    is_ok: bool
    """Successors may run."""
    is_completed: bool

    def __init__(self, word: str) -> None:
        self.is_ok = word in ("SUCCEED", "SKIPPED")
        self.is_completed = word in ("SUCCEED", "SKIPPED", "FAILED")


class FlowStatus(StrEnum):
    NOT_STARTED = "NOT_STARTED"
    RUNNING = "RUNNING"
    KEY_SUCCEED = "KEY_SUCCEED"
    SUCCEED = "SUCCEED"
    FAILED = "FAILED"
    TERMINATED = "TERMINATED"

    is_completed: bool

    def __init__(self, word: str) -> None:
        self.is_completed = word in ("SUCCEED", "FAILED", "TERMINATED")


class Category(StrEnum):
    FUNCTION = "function"
    PASS = "pass"
    RETURN = "return"
    SWITCH = "switch"
    CHOICE = "choice"
    FOREACH = "foreach"
    SUSPENSE = "suspense"


class Pattern(StrEnum):
    TASK_SYNC = "task_sync"
    TASK_ASYNC = "task_async"
    TASK_SCHEDULER = "task_scheduler"
    FLOW_SYNC = "flow_sync"
    FLOW_ASYNC = "flow_async"

    @property
    def is_async(self) -> bool:
        """The task is completed from outside."""
        return self is Pattern.TASK_ASYNC or self is Pattern.TASK_SCHEDULER
