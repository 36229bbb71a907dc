"""A task type of one's own: ``shout://<ending>`` greets ``name`` loudly. Read docs/plugins.md beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tornflow.errors import ConfigError
from tornflow.spi.hookspecs import hookimpl
from tornflow.spi.task_type import Answered, Attempt, Failed, Host, Outcome, TaskType


class ShoutTaskType:
    """Setting ``plugins.shout.word`` (default ``hello``): what stands before the name."""

    protocols: tuple[str, ...] = ("shout",)
    title = "Greet somebody loudly"

    def __init__(self) -> None:
        self._word = "hello"

    async def start(self, host: Host) -> None:
        word: Any = host.settings.get("word", "hello")
        if not isinstance(word, str):
            raise ConfigError(f"plugins.shout.word: must be a text, not {word!r}")
        self._word = word

    async def execute(self, attempt: Attempt) -> Outcome:
        name = attempt.input.get("name")
        if not isinstance(name, str) or not name:
            return Failed("shout: the input needs a text 'name'")
        return Answered({"greeting": f"{self._word} {name}{attempt.rest or '!'}".upper()})

    async def stop(self) -> None:
        """Nothing to let go of."""


@hookimpl
def tornflow_task_types() -> Sequence[TaskType]:
    return [ShoutTaskType()]
