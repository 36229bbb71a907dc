"""What is stopped with its flow does not run on and does not block a redo: bugs that random worlds found."""

from __future__ import annotations

from tests.unit.by_hand import ByHand, function, loop, started
from tornflow.engine.events import AttemptEnded, Redone, Submitted, Terminated
from tornflow.model.status import FlowStatus


def test_redo_of_one_task_runs_again_what_the_termination_had_stopped() -> None:
    play = started(loop(function("inner")), function("other", "task_sync"), function("third", "task_sync"))
    play.tell(Terminated(play.now))
    assert play.at("loop_0").state.status == "TERMINATED"
    play.tell(Redone(play.now, ("third",), {}))
    play.bring_to_the_end()
    assert play.at().state.status == "SUCCEED"


def test_groups_are_stopped_when_their_timeout_ends_the_flow_as_well() -> None:
    play = started(loop(function("inner"), timeline={"timeoutInSeconds": 5}))
    play.wait(6)
    assert play.at().state.status == "FAILED"
    assert [play.at(f"loop_{index}").state.status for index in (0, 1)] == ["TERMINATED"] * 2
    assert play.attempts == []


def test_members_of_a_failed_group_stop_with_the_flow() -> None:
    play = started(loop(function("bad", "task_sync"), function("slow", next="after"), function("after")))
    play.answer(error="refused", task="bad")
    assert play.at().state.status == "FAILED"
    for path in ("loop_0", "loop_1"):
        group = play.at(path).state
        assert (group.reported, group.status) == ("FAILED", FlowStatus.TERMINATED)
        assert "after" not in group.tasks


def test_a_crash_between_two_groups_being_stored_starts_the_other() -> None:
    play = ByHand(loop(function("inner")))
    play.groups_at_most = 1
    play.begin()
    assert {key.path for key in play.saved} == {"", "loop_0"}
    play.groups_at_most = 10
    play.crash()
    assert {key.path for key in play.saved} == {"", "loop_0", "loop_1"}
    play.bring_to_the_end()
    assert play.at().state.status == "SUCCEED"


def test_nested_groups_run_again_after_a_redo() -> None:
    play = started(loop(loop(function("leaf", "task_sync"), name="inner")))
    play.bring_to_the_end()
    first = play.at("loop_0-inner_1").state
    assert first.status == "SUCCEED"
    play.tell(Redone(play.now, ("loop",), {}))
    play.bring_to_the_end()
    second = play.at("loop_0-inner_1").state
    assert second.status == "SUCCEED" and second.generation > first.generation
    assert play.at().state.status == "SUCCEED"


def test_a_stream_reader_that_is_redone_starts_with_one_finished_predecessor() -> None:
    play = started(
        function("quick", "task_sync", next="reader"),
        function("slow", next="reader"),
        function("reader", "task_sync", inputType="stream"),
    )
    for name in ("quick", "reader"):
        play.answer({"v": 1}, task=name)
    assert play.at().status_of("reader") == "SUCCEED"
    play.tell(Redone(play.now, ("reader",), {}))
    assert play.at().status_of("reader") == "RUNNING"


def test_a_second_submission_changes_nothing() -> None:
    play = started(function("only"))
    before = play.saved[play.root]
    play.tell(Submitted(play.now))
    assert play.saved[play.root] == before


def test_an_answer_to_an_attempt_of_an_earlier_life_changes_nothing() -> None:
    play = started(function("only", "task_sync"))
    before = play.saved[play.root]
    play.tell(AttemptEnded(play.now, "only", 1, ("another life",), {"v": 1}))
    assert play.saved[play.root] == before
    play.answer({"v": 1})
    assert play.at().state.status == "SUCCEED"
