"""How a scope lies in a store: everything that is saved is read again, and a step writes what it changed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, get_args

import pytest

from tests.unit.by_hand import ByHand, function, loop, started
from tornflow.engine.events import EventRaised, Paused, Redone, WaiterArrived
from tornflow.engine.program import Rules
from tornflow.engine.scope import Scope
from tornflow.model.execution import (
    Batch,
    GroupsState,
    KeptEvent,
    Mark,
    ParentLink,
    ScopeKey,
    ScopeState,
    TaskState,
)
from tornflow.model.messages import (
    AwaitEvent,
    ConfirmParent,
    ControlGroups,
    GroupReport,
    HandOver,
    Message,
    Posted,
    SendCallback,
    StopChild,
    StopGroups,
    TellParent,
)
from tornflow.model.status import FlowStatus, TaskStatus
from tornflow.model.waiters import Waiter, Waiters
from tornflow.runtime.codec import decode, decode_context, encode, note_form, written_by
from tornflow.spi.storage import StoredScope

RUN = ("life", 2, 1)
MESSAGES: list[Any] = [
    TellParent(FlowStatus.FAILED, "17", "no film", {"a": [1]}),
    TellParent(FlowStatus.KEY_SUCCEED),
    ConfirmParent(),
    StopChild("sub", 3, "child-1"),
    StopChild("sub", 3, None),
    SendCallback(2),
    GroupReport(FlowStatus.SUCCEED),
    GroupReport(FlowStatus.FAILED, "17", "no film", {"a": None}),
    StopGroups("each", RUN),
    StopGroups("each", RUN, (1, 5)),
    StopGroups("each", RUN, ()),
    ControlGroups(7),
    AwaitEvent("gate", ("go", "stop"), 1_700_000_000_000),
    HandOver("each_1", RUN, "gate", 9, 4, "go", {"deep": [None, 1.5, "ä"]}),
    HandOver("", ("life",), "gate", 9, 4, "go", None),
]


def scope_of(state: ScopeState) -> Scope:
    program = ByHand(loop(function("inner")), function("work")).flow
    return Scope(state, program, Rules(), node="here", is_new=True)


def new_state(**fields: Any) -> ScopeState:
    return ScopeState(ScopeKey("one"), "md5", FlowStatus.RUNNING, generation=("life",), **fields)


def stored_as(scope: Scope, limit: int, before: StoredScope | None = None) -> StoredScope:
    write = encode(scope, limit)
    parts = dict(before.parts) if before else {}
    parts.update({name: body for name, body in write.parts.items() if body is not None})
    for name in [name for name, body in write.parts.items() if body is None]:
        parts.pop(name, None)
    return StoredScope(
        write.key, write.expected_revision + 1, write.head, parts, write.life, write.owners, write.due_at
    )


def test_every_kind_of_message_is_among_those_below() -> None:
    assert {type(message) for message in MESSAGES} == set(get_args(Message))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda one: type(one).__name__)
def test_a_message_is_read_as_it_was_posted(message: Message) -> None:
    state = new_state(outbox={"m@life": Posted("here", message), "n@life": Posted("there", SendCallback(1))})
    found = decode(stored_as(scope_of(state), 16_384))
    assert found.state.outbox == state.outbox
    assert type(found.state.outbox["m@life"].message) is type(message)


FULL = new_state(
    is_paused=True,
    created_at=1,
    updated_at=2,
    finished_at=3,
    context={"a": {"b": [1, None]}, "n": 2**65},
    invocations=[[1, 2], [3, None]],
    code="c",
    msg="m",
    ext={"x": 1},
    due_at=99,
    family="dapr",
    workflow_name="demo:one",
    raw_input='{"a" : 1}',
    error_type="T",
    custom_status="packed",
    workspace="demo",
    dag_name="one",
    idempotency_key="client:submit:k",
    callback={"resourceName": "http://told"},
    parent=ParentLink("p", "each_0", "sub", 2, RUN),
    routes=[{"index": 1}],
    expires_at=4,
    reported="FAILED",
    degrade={"work": [True, False]},
    control=5,
    events={3: KeptEvent("go", {"v": 1}), 8: KeptEvent("go", None)},
    waiters=Waiters([(0, [Waiter("each_0", "gate", ("go",), 5, RUN)])]),
    event_number=8,
    last_write="tag.1f",
    tasks={
        "work": TaskState(
            "work", TaskStatus.RUNNING, 3, "there", [[1, 2], [3, None]], {"i": 1}, {"o": 2}, "c", "m", {"e": 1},
            "inv", "child", "until", 77, True, ["x"], {"p": 1}, None, 2, 9, 12,
        ),
        "loop": TaskState(
            "loop", TaskStatus.RUNNING, 1,
            groups=GroupsState(
                3, bytearray([Mark.SUCCEED, Mark.RUNNING, Mark.WAITING]), 2, 1, 2, ["x", "y", "z"], ["a", None, "b"],
                [Batch("there", 1, 1)], "here", "gone",
            ),
        ),
    },
)  # fmt: skip


@pytest.mark.parametrize("limit", [16_384, 0])
def test_a_scope_is_read_as_it_was_written(limit: int) -> None:
    found = decode(stored_as(scope_of(FULL), limit))
    assert replace(found.state, revision=0) == FULL
    assert found.is_split is (limit == 0)
    assert not found.is_old


@pytest.mark.parametrize("limit", [16_384, 0])
def test_its_owners_are_all_who_have_work_in_hand(limit: int) -> None:
    assert stored_as(scope_of(FULL), limit).owners == ("gone", "here", "there")


@pytest.mark.parametrize("limit", [16_384, 0])
def test_the_context_alone_is_read_as_with_everything_else(limit: int) -> None:
    assert decode_context(stored_as(scope_of(FULL), limit)) == FULL.context


def test_a_write_can_be_told_from_every_other() -> None:
    scope = scope_of(FULL)
    assert written_by(encode(scope, 0)) == written_by(stored_as(scope, 0)) == "tag.1f"


def test_an_event_and_a_waiter_of_a_split_scope_write_their_own_parts_only() -> None:
    play = started(function("work"))
    root = play.at()
    big = "x" * 500
    for number in range(3):
        play.tell(EventRaised(play.now, f"kept {number}", big))
    before = dict(play.saved[play.root].parts)
    play.tell(WaiterArrived(play.now, "loop_0", "gate", ("go",), play.now, (*root.state.generation, 1)))
    after = play.saved[play.root]
    changed = {name for name, body in after.parts.items() if before.get(name) != body}
    assert changed == {"w:0"}
    assert big.encode() not in after.head
    assert {name for name in after.parts if name.startswith("e:")} == {"e:1", "e:2", "e:3"}


def test_an_event_that_was_taken_leaves_the_store() -> None:
    play = started(function("work"))
    run = (*play.at().state.generation, 1)
    play.tell(Paused(play.now))
    play.tell(EventRaised(play.now, "go", 1))
    assert "e:1" in play.saved[play.root].parts
    play.tell(WaiterArrived(play.now, "loop_0", "gate", ("go",), play.now, run))
    scope = play.read(play.root, play.flow)
    assert (list(scope.state.events), len(scope.state.waiters)) == ([1], 1)


def test_a_redo_over_fewer_elements_is_not_judged_by_marks_of_the_longer_run() -> None:
    source = [{"source": "$.context.items", "target": "$.input.l"}]
    rules = Rules()
    play = ByHand(loop(function("in", "task_sync"), inputMappings=source), rules=rules).begin()
    play.tell(Redone(play.now, ("loop",), {"items": [7] * 1100}))
    assert {"g:loop:0", "g:loop:1"} <= set(play.saved[play.root].parts)
    play.tell(Redone(play.now, ("loop",), {"items": [7] * 2}))
    play.crash()
    groups = decode(play.saved[play.root]).state.tasks["loop"].groups
    assert groups is not None and (groups.total, len(groups.marks)) == (2, 2)
    play.bring_to_the_end()
    assert play.at().state.status == "SUCCEED"


def test_a_wait_without_end_fits_the_columns_of_a_store() -> None:
    play = started(function("far", timeline={"suspenseIntervalSeconds": 10**30}, next=""))
    due_at = play.saved[play.root].due_at
    assert due_at is not None and due_at < 2**63
    assert json.loads(play.saved[play.root].head)["status"] == "RUNNING"


def test_a_scope_that_was_read_writes_no_more_than_one_that_was_not() -> None:
    play = started(function("work"), function("other"))
    found = decode(play.saved[play.root])
    scope = Scope(found.state, play.flow, play.rules, node="here")
    note_form(scope, play.saved[play.root], found)
    scope.task("work").msg = "changed"
    assert set(encode(scope, 0).parts) == {"t:work"}
