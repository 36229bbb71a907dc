"""``tornflow storage check``: the invariants of ``tornflow.runtime.invariants`` over a whole store."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field

from tornflow.descriptors.stored import load_stored
from tornflow.model.execution import ScopeKey, ScopeState
from tornflow.model.names import split_route
from tornflow.runtime.codec import decode
from tornflow.runtime.invariants import (
    Problem,
    child_problems,
    group_problems,
    missing_groups,
    run_of,
    scope_problems,
    stored_problems,
    summary_problems,
)
from tornflow.spi.storage import ExecutionQuery, Storage, StoredRecord, StoredScope
from tornflow.storage_tools.exporting import Progress, scope_pages

_AGAIN_S = 1.0
_STORE = ScopeKey("(store)")

Report = Callable[[Problem], None]


@dataclass(slots=True)
class Checked:
    """``notes`` are lines about the whole store that are no problems."""

    counts: dict[str, int] = field(default_factory=lambda: {"executions": 0, "scopes": 0})
    notes: list[str] = field(default_factory=list)


async def check(
    storage: Storage, report: Report, progress: Progress, *, living: Collection[str], overdue_s: float
) -> Checked:
    """Look at everything once, and report what is wrong.

    Where servers run (``living``), scopes change between two looks at them: what seems wrong is looked at again, and
    only what stays is reported.
    """
    checker = _Checker(storage, report, frozenset(living), overdue_s)
    async for page in scope_pages(storage):
        for record in page:
            await checker.take(record)
        progress(checker.done.counts)
    await checker.finish()
    return checker.done


class ExecutionCheck:
    """Checks the scopes of one execution, given in order of their paths; keeps only those that have groups."""

    def __init__(self, execution_id: str) -> None:
        self.execution_id = execution_id
        self.problems: list[Problem] = []
        self.has_root = False
        self.root: ScopeState | None = None
        self.owners: Counter[str] = Counter()
        self.descriptors: set[str] = set()
        self.due: list[StoredScope] = []
        self._parents: dict[str, ScopeState] = {}
        self._present: dict[tuple[str, str], set[int]] = {}

    def add(self, record: StoredRecord) -> None:
        stored = record.scope
        self.has_root |= not stored.key.path
        self.owners.update(stored.owners)
        try:
            state = decode(stored).state
        except Exception as error:  # nothing that is stored may end the check
            self.problems.append(Problem(stored.key, "unreadable", f"{type(error).__name__}: {error}"))
            return
        self.problems += [*scope_problems(state), *stored_problems(stored, state)]
        if state.key.path:
            self._add_group(state)
        else:
            self.root = state
            self.problems += summary_problems(record.summary, state)
        if not state.key.path or any(task.groups is not None for task in state.tasks.values()):
            self._parents[state.key.path] = state
        self.descriptors.add(state.descriptor_md5)
        if stored.due_at is not None and not stored.owners:
            self.due.append(stored)

    def finish(self) -> None:
        """Look for what is not there."""
        for path, parent in self._parents.items():
            for task in parent.tasks.values():
                self.problems += missing_groups(parent, task, self._present.get((path, task.name), set()))

    def _add_group(self, group: ScopeState) -> None:
        path, name, index = split_route(group.key.path)
        parent = self._parents.get(path)
        self.problems += group_problems(group, parent)
        task = None if parent is None else parent.tasks.get(name)
        if parent is not None and task is not None and run_of(parent, task) == group.generation:
            self._present.setdefault((path, name), set()).add(index)


class _Checker:
    """Execution after execution, then the store as a whole."""

    def __init__(self, storage: Storage, report: Report, living: frozenset[str], overdue_s: float) -> None:
        self.done = Checked()
        self._storage = storage
        self._report = report
        self._living = living
        self._late_ms = time.time_ns() // 1_000_000 - int(overdue_s * 1000)
        self._present: ExecutionCheck | None = None
        self._owners: Counter[str] = Counter()
        self._descriptors: dict[str, str] = {}
        self._roots = 0
        self._late = 0

    async def take(self, record: StoredRecord) -> None:
        execution_id = record.scope.key.execution_id
        if self._present is None or self._present.execution_id != execution_id:
            await self._close_execution()
            self._present = ExecutionCheck(execution_id)
        self._present.add(record)
        self.done.counts["scopes"] += 1

    async def finish(self) -> None:
        await self._close_execution()
        self._note_owners()
        if self._late and not self._living:
            self.done.notes.append(f"{self._late} timers are due; they fire when a server starts")
        if not self._living:
            await self._check_columns()

    async def _close_execution(self) -> None:
        found = self._present
        if found is None:
            return
        self.done.counts["executions"] += 1
        self._roots += found.has_root
        self._owners += found.owners
        problems = await self._problems(found)
        if self._living and problems:
            problems = await self._those_that_stay(found.execution_id, problems)
        for problem in problems:
            self._report(problem)

    async def _problems(self, found: ExecutionCheck) -> list[Problem]:
        found.finish()
        problems = list(found.problems)
        root = ScopeKey(found.execution_id)
        for md5 in sorted(found.descriptors):
            if text := await self._descriptor(md5):
                problems.append(Problem(root, "descriptor", text))
        if found.root is not None and found.root.parent is not None:
            link = found.root.parent
            problems += child_problems(found.root, await self._state(ScopeKey(link.execution_id, link.path)))
        return problems + self._overdue(found.due)

    def _overdue(self, due: list[StoredScope]) -> list[Problem]:
        late = [stored for stored in due if stored.due_at is not None and stored.due_at < self._late_ms]
        self._late += len(late)
        if not self._living:
            return []
        return [Problem(stored.key, "overdue", "its timer has not fired", is_warning=True) for stored in late]

    async def _those_that_stay(self, execution_id: str, problems: list[Problem]) -> list[Problem]:
        await asyncio.sleep(_AGAIN_S)
        again = ExecutionCheck(execution_id)
        async for record in self._scopes_of(execution_id):
            again.add(record)
        now = await self._problems(again)
        return [problem for problem in problems if problem in now]

    async def _scopes_of(self, execution_id: str) -> AsyncIterator[StoredRecord]:
        root = ScopeKey(execution_id)
        stored = await self._storage.load(root)
        if stored is not None:
            yield StoredRecord(stored, await self._storage.summary(execution_id))
        async for page in scope_pages(self._storage, after=root):
            for record in page:
                if record.scope.key.execution_id != execution_id:
                    return
                yield record

    async def _state(self, key: ScopeKey) -> ScopeState | None:
        stored = await self._storage.load(key)
        try:
            return None if stored is None else decode(stored).state
        except Exception:  # reported where that execution is checked
            return None

    async def _descriptor(self, md5: str) -> str:
        """Return what is wrong with a descriptor, "" for nothing."""
        if md5 not in self._descriptors:
            body = await self._storage.get_record("descriptor", md5)
            text = "" if body is not None else f"the descriptor {md5} is missing"
            try:
                if body is not None:
                    load_stored(body)
            except ValueError as error:
                text = f"the descriptor {md5} is damaged: {error}"
            self._descriptors[md5] = text
        return self._descriptors[md5]

    def _note_owners(self) -> None:
        for owner, count in sorted(self._owners.items()):
            if owner not in self._living:
                text = f"{count} scopes are in the hands of {owner}, which does not run; the next start takes them over"
                self.done.notes.append(text)

    async def _check_columns(self) -> None:
        """The queries that servers rely on must find what the scan has found."""
        listed = sum((await self._storage.count_executions(ExecutionQuery())).values())
        if listed != self._roots:
            self._report(Problem(_STORE, "lists", f"{listed} executions are listed, {self._roots} are there"))
        owners = set(await self._storage.owners())
        if owners != set(self._owners):
            text = f"{sorted(owners)} are found as owners, {sorted(self._owners)} are stored"
            self._report(Problem(_STORE, "owners", text))
