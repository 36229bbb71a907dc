"""What the runtime makes up: ids of executions, of their lives, of nodes. One place, so that a test can decide."""

from __future__ import annotations

import itertools
import random
import secrets
from typing import Protocol
from uuid import uuid4

from tornflow.runtime.time_uuid import TimeUuids


class Identities(Protocol):
    def time_uuid(self) -> str:
        """Return a time-based UUID, later ones sort later; it becomes part of the ids of executions."""

    def instance_id(self) -> str:
        """Return a random UUID, for a workflow instance that its starter gave no id."""

    def life(self) -> str:
        """Return what tells this life of an execution id from all others: letters and digits, never used twice."""

    def node_id(self) -> str:
        """Return the name of a node: hexadecimal, never used twice."""

    def chance(self) -> float:
        """Return a random number in [0, 1)."""


class SystemIdentities:
    """Make it after a fork, not before: what tells processes apart is drawn once."""

    def __init__(self) -> None:
        self.time_uuid = TimeUuids()
        self._prefix = secrets.token_hex(6)
        self._lives = itertools.count()

    def instance_id(self) -> str:
        return str(uuid4())

    def life(self) -> str:
        # Random per process, counted within it: asking the system for each would cost a call of the kernel.
        return f"{self._prefix}{next(self._lives):x}"

    def node_id(self) -> str:
        return secrets.token_hex(16)

    def chance(self) -> float:
        return random.random()
