"""How a scope lies in a store: one head, and parts once it has grown.

A small scope is written whole with each step: one blob is cheaper than a row per task. When the head passes
``engine.head_inline_limit_bytes`` the scope is *split*: from then on tasks and context entries are parts of their own
and a step writes only those that it changed. A scope never goes back.

Parts: ``t:<task>`` and ``c:<context key>``; for a foreach or choice also ``g:<task>:<chunk>`` (marks of its groups),
``i:<task>`` (its elements, until it ends) and ``d:<task>`` (identities); of a root also ``e:<number>`` (an event that
waits to be taken) and ``w:<chunk>`` (who waits for events). All are JSON. The head is a JSON object; its ``v`` is the
form's version. Form 1 (before lives) is read as well, and becomes the present one with the next write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tornflow.engine.scope import Scope
from tornflow.model.execution import (
    MARKS_PER_CHUNK,
    Batch,
    GroupsState,
    KeptEvent,
    ParentLink,
    ScopeKey,
    ScopeState,
    TaskState,
)
from tornflow.model.jsontext import dumps, loads
from tornflow.model.status import FlowStatus, TaskStatus
from tornflow.model.waiters import CHUNK, Waiter, Waiters
from tornflow.runtime.codec_form1 import head_of_form_1, parts_of_form_1
from tornflow.runtime.codec_messages import decode_outbox, decode_outbox_1, encode_outbox
from tornflow.spi.storage import ScopeWrite, StoredScope, Summary, Version

VERSION = 2
_SPLIT = "split"


def encode(
    scope: Scope, inline_limit_bytes: int, *, replaces: Version | None = None, is_fresh: bool = False
) -> ScopeWrite:
    """Return the write that stores what the last step changed. ``replaces``: the version in whose place it is created;
    ``is_fresh``: with it goes everything that was stored under the execution id."""
    state = scope.state
    if scope.storage_form is None:
        head = dumps(_head(state, is_inline=True))
        parts: dict[str, bytes | None] = {}
        if len(head) > inline_limit_bytes:
            scope.storage_form = _SPLIT
            head = dumps(_head(state, is_inline=False))
            parts = _parts(state, set(state.tasks), set(state.context), set(state.events), state.waiters.chunks)
    else:
        head = dumps(_head(state, is_inline=False))
        parts = _parts(state, scope.dirty_tasks, scope.dirty_context, scope.dirty_events, state.waiters.dirty)
    # A later write of a split scope holds what changed only, so the largest so far stands for the whole.
    scope.saved_bytes = max(scope.saved_bytes, len(head) + sum(len(body or b"") for body in parts.values()))
    return ScopeWrite(
        key=state.key,
        expected_revision=state.revision,
        head=head,
        parts=parts,
        life=state.life,
        replaces=None if replaces is None else replaces.life,
        owners=scope.owners,
        due_at=scope.next_due,
        summary=summary_of(state) if scope.has_news else None,
        idempotency_key=state.idempotency_key if scope.is_new else None,
        is_fresh=is_fresh,
    )


def summary_of(state: ScopeState) -> Summary:
    return Summary(
        execution_id=state.key.execution_id,
        business=state.workspace,
        feature=state.dag_name,
        status=state.status.value.lower(),
        submitted_at=state.created_at,
        finished_at=state.finished_at,
        expires_at=state.expires_at,
        code=state.code,
        family=state.family,
        workflow_name=state.workflow_name,
        parent_id=state.parent.execution_id if state.parent else None,
        descriptor_md5=state.descriptor_md5,
    )


def _head(state: ScopeState, *, is_inline: bool) -> dict[str, Any]:
    head: dict[str, Any] = {
        "v": VERSION,
        "md5": state.descriptor_md5,
        "status": state.status,
        "created": state.created_at,
        "updated": state.updated_at,
        "workspace": state.workspace,
        "dag": state.dag_name,
        "family": state.family,
        "invocations": state.invocations,
        "generation": state.generation,
        "w": state.last_write,
    }
    for name, value in (
        ("finished", state.finished_at),
        ("paused", state.is_paused),
        ("code", state.code),
        ("msg", state.msg),
        ("ext", state.ext),
        ("due", state.due_at),
        ("workflow", state.workflow_name),
        ("raw", state.raw_input),
        ("error_type", state.error_type),
        ("custom_status", state.custom_status),
        ("idem", state.idempotency_key),
        ("callback", state.callback),
        ("routes", state.routes),
        ("expires", state.expires_at),
        ("reported", state.reported),
        ("degrade", state.degrade),
        ("control", state.control),
        ("event_number", state.event_number),
    ):
        if value or value == "":  # what is left out reads as its default
            head[name] = value
    if state.outbox:
        head["outbox"] = encode_outbox(state.outbox)
    if state.parent is not None:
        parent = state.parent
        head["parent"] = [parent.execution_id, parent.path, parent.task, parent.attempt, parent.generation]
    if is_inline:
        head["context"] = state.context
        head["tasks"] = [_task_row(task, is_inline=True) for task in state.tasks.values()]
        if state.events:
            head["events"] = [[number, *kept] for number, kept in state.events.items()]
        if state.waiters:
            head["waiters"] = list(map(list, state.waiters))
    return head


def _parts(
    state: ScopeState, tasks: set[str], keys: set[str], events: set[int], waiters: set[int]
) -> dict[str, bytes | None]:
    parts: dict[str, bytes | None] = {}
    for name in tasks:
        task = state.tasks[name]
        parts["t:" + name] = dumps(_task_row(task, is_inline=False))
        if task.groups is not None:
            _add_group_parts(parts, name, task.groups)
    for key in keys:
        parts["c:" + key] = dumps(state.context[key]) if key in state.context else None
    for number in events:
        parts[f"e:{number}"] = dumps(list(state.events[number])) if number in state.events else None
    for chunk in waiters:
        entries = state.waiters.chunk(chunk)
        parts[f"w:{chunk}"] = dumps(list(map(list, entries))) if entries else None
    return parts


def _add_group_parts(parts: dict[str, bytes | None], name: str, groups: GroupsState) -> None:
    for chunk in range(_chunks(groups.total)) if groups.is_news else groups.dirty:
        marks = groups.marks[chunk * MARKS_PER_CHUNK : (chunk + 1) * MARKS_PER_CHUNK]
        parts[f"g:{name}:{chunk}"] = dumps(marks.decode())
    if groups.is_news:
        parts["i:" + name] = dumps(groups.items) if groups.items is not None else None
        parts["d:" + name] = dumps(groups.identities) if groups.identities is not None else None


def _chunks(total: int) -> int:
    return -(-total // MARKS_PER_CHUNK)


def _task_row(task: TaskState, *, is_inline: bool) -> list[Any]:
    return [
        task.name,
        task.status,
        task.attempt,
        task.owner,
        task.invocations,
        task.input,
        # A pass hands its input through; writing it twice would double the row.
        None if task.output is task.input else task.output,
        task.output is task.input and task.input is not None,
        task.code,
        task.msg,
        task.ext,
        task.invoke_id,
        task.child_id,
        task.timer,
        task.due_at,
        task.is_marked,
        task.skip_next,
        task.progress_args,
        _groups_row(task.groups, is_inline) if task.groups is not None else None,
        task.attempt_base,
        task.last_event,
        task.waits_since,
    ]


def _groups_row(groups: GroupsState, is_inline: bool) -> list[Any]:
    row: list[Any] = [
        groups.total, groups.next, groups.open, groups.limit,
        list(map(list, groups.batches)), groups.gatherer, groups.holder,
    ]  # fmt: skip
    return [*row, groups.marks.decode(), groups.items, groups.identities] if is_inline else row


def _groups(row: list[Any] | None) -> GroupsState | None:
    """Return the groups; marks, items and identities of a split scope follow with their parts."""
    if row is None:
        return None
    total, started, running, limit, batches, gatherer, holder, *rest = row
    marks, items, identities = rest or ("N" * total, None, None)
    return GroupsState(
        total, bytearray(marks.encode()), started, running, limit, items, identities,
        [Batch(*batch) for batch in batches], gatherer, holder, is_news=False,
    )  # fmt: skip


def _task(row: list[Any]) -> TaskState:
    (
        name, status, attempt, owner, invocations, task_input, output, is_same, code, msg, ext, invoke_id,
        child_id, timer, due_at, is_marked, skip_next, progress_args, groups, attempt_base, last_event, waits_since,
    ) = row  # fmt: skip
    return TaskState(
        name, TaskStatus(status), attempt, owner, invocations, task_input, task_input if is_same else output,
        code, msg, ext, invoke_id, child_id, timer, due_at, is_marked, skip_next, progress_args, _groups(groups),
        attempt_base, last_event, waits_since,
    )  # fmt: skip


class Decoded(NamedTuple):
    """``is_old``: it lies in form 1, of which nothing may be left behind when it is written."""

    state: ScopeState
    is_split: bool
    is_old: bool


def decode(stored: StoredScope) -> Decoded:
    """Return the state and how it lies in the store."""
    head: dict[str, Any] = loads(stored.head)
    parts = stored.parts
    outbox = head.get("outbox")
    if head["v"] == 1:
        owner = stored.owners[0] if stored.owners else ""
        head, parts = head_of_form_1(head, owner), parts_of_form_1(parts, owner)
    is_split = "tasks" not in head
    state = _state(stored.key, head)
    state.revision = stored.revision
    if is_split:
        _read_parts(state, parts)
    else:
        state.context = head["context"]
        state.tasks = {row[0]: _task(row) for row in head["tasks"]}
    if not is_split or head["v"] == 1:
        state.events = {number: KeptEvent(name, payload) for number, name, payload in head.get("events", ())}
        state.waiters = Waiters(_chunked([_waiter(row) for row in head.get("waiters", ())]))
    if outbox:
        is_old = head["v"] == 1
        state.outbox = decode_outbox_1(outbox, owner, state.life) if is_old else decode_outbox(outbox)
    return Decoded(state, is_split, head["v"] == 1)


def _chunked(waiters: list[Waiter]) -> Iterator[tuple[int, list[Waiter]]]:
    for start in range(0, len(waiters), CHUNK):
        yield start // CHUNK, waiters[start : start + CHUNK]


def _waiter(row: list[Any]) -> Waiter:
    path, task, names, since, generation = row
    return Waiter(path, task, tuple(names), since, tuple(generation))


def written_by(written: StoredScope | ScopeWrite) -> str:
    """Return the name of the write that stored a head."""
    return str(loads(written.head).get("w", ""))


def decode_context(stored: StoredScope) -> dict[str, Any]:
    """Return the context alone: a third of the work of ``decode``, for whoever reads many."""
    head: Mapping[str, Any] = loads(stored.head)
    if "tasks" in head:
        context: dict[str, Any] = head["context"]
        return context
    return {name[2:]: loads(body) for name, body in stored.parts.items() if name.startswith("c:")}


def _read_parts(state: ScopeState, parts: Mapping[str, bytes]) -> None:
    for name, body in sorted(parts.items()):  # the order of tasks must not depend on that of a store
        if name.startswith("t:"):
            state.tasks[name[2:]] = _task(loads(body))
        elif name.startswith("c:"):
            state.context[name[2:]] = loads(body)
        elif name.startswith("e:"):
            state.events[int(name[2:])] = KeptEvent(*loads(body))
    state.waiters = Waiters(
        (int(name[2:]), [_waiter(row) for row in loads(body)]) for name, body in parts.items() if name.startswith("w:")
    )
    for name, body in parts.items():
        kind, task, chunk = _group_part(name)
        if not kind or state.tasks[task].groups is None:
            continue
        groups = state.tasks[task].groups
        assert groups is not None
        if kind == "g":
            first = chunk * MARKS_PER_CHUNK
            # Chunks behind the end, or longer than it, were left by a run over more elements before a redo.
            marks = loads(body).encode()[: max(0, groups.total - first)]
            groups.marks[first : first + len(marks)] = marks
        elif kind == "i":
            groups.items = loads(body)
        else:
            groups.identities = loads(body)


def _group_part(name: str) -> tuple[str, str, int]:
    """Return (kind, task, chunk) of a part of groups; kind "" for any other part. Task names hold no colon."""
    kind, _, rest = name.partition(":")
    if kind not in ("g", "i", "d"):
        return "", "", 0
    task, _, chunk = rest.partition(":")
    return kind, task, int(chunk or 0)


def _state(key: ScopeKey, head: Mapping[str, Any]) -> ScopeState:
    parent = head.get("parent")
    return ScopeState(
        key=key,
        descriptor_md5=head["md5"],
        status=FlowStatus(head["status"]),
        is_paused=head.get("paused", False),
        created_at=head["created"],
        updated_at=head["updated"],
        finished_at=head.get("finished"),
        invocations=head["invocations"],
        code=head.get("code"),
        msg=head.get("msg"),
        ext=head.get("ext"),
        due_at=head.get("due"),
        family=head["family"],
        workflow_name=head.get("workflow"),
        raw_input=head.get("raw"),
        error_type=head.get("error_type"),
        custom_status=head.get("custom_status"),
        workspace=head["workspace"],
        dag_name=head["dag"],
        idempotency_key=head.get("idem"),
        callback=head.get("callback"),
        parent=_parent(parent) if parent else None,
        routes=head.get("routes", []),
        expires_at=head.get("expires"),
        generation=tuple(head["generation"]),
        reported=head.get("reported"),
        degrade=head.get("degrade", {}),
        control=head.get("control", 0),
        event_number=head.get("event_number", 0),
        last_write=head["w"],
    )


def _parent(row: list[Any]) -> ParentLink:
    execution_id, path, task, attempt, generation = row
    return ParentLink(execution_id, path, task, attempt, tuple(generation))


def note_form(scope: Scope, stored: StoredScope, decoded: Decoded) -> None:
    """Tell a loaded scope how it lies in the store."""
    scope.saved_bytes = len(stored.head) + sum(map(len, stored.parts.values()))
    if not decoded.is_split:
        return
    scope.storage_form = _SPLIT
    if decoded.is_old:
        state = decoded.state
        scope.dirty_tasks.update(state.tasks)
        scope.dirty_context.update(state.context)
        scope.dirty_events.update(state.events)
        state.waiters.dirty.update(state.waiters.chunks)


def in_present_form(stored: StoredScope) -> ScopeWrite | None:
    """Return the write that puts a scope of form 1 into the present form; None where it has it. Nothing else changes.

    Raises:
        Exception: the scope cannot be read; whatever decoding it raises.
    """
    state, is_split, is_old = decode(stored)
    if not is_old:
        return None
    everything = (set(state.tasks), set(state.context), set(state.events), state.waiters.chunks)
    return ScopeWrite(
        key=state.key,
        expected_revision=stored.revision,
        head=dumps(_head(state, is_inline=not is_split)),
        parts=_parts(state, *everything) if is_split else {},
        life=state.life,
        replaces=stored.life,
        owners=stored.owners,
        due_at=stored.due_at,
        summary=None if state.key.path else summary_of(state),
    )
