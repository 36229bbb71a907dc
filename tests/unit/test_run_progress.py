"""What ``tornflow run`` shows: a table on a terminal, one line per change elsewhere."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from tornflow.cli.progress import Progress
from tornflow.descriptors import parse_descriptor
from tornflow.model.execution import GroupsState, Mark, ScopeKey, ScopeState, TaskState
from tornflow.model.status import FlowStatus, TaskStatus
from tornflow.spi.hookspecs import TaskNotice

NAMES = [f"t{number}" for number in range(40)]
FLOW = parse_descriptor(
    "workspace: demo\ndagName: main\ntype: flow\ntasks:\n"
    + "\n".join(f"- {{category: pass, name: {name}}}" for name in NAMES)
)


def console(*, is_terminal: bool) -> Console:
    return Console(
        file=StringIO(), force_terminal=is_terminal, width=100, height=12, color_system=None, legacy_windows=False
    )


def written(place: Console) -> str:
    assert isinstance(place.file, StringIO)
    return place.file.getvalue()


def state(*tasks: TaskState, status: FlowStatus = FlowStatus.RUNNING) -> ScopeState:
    found = ScopeState(ScopeKey("demo:main_c_1"), FLOW.md5, status=status, created_at=1000, updated_at=3500)
    found.tasks = {task.name: task for task in tasks}
    return found


def test_elsewhere_each_change_is_one_line_with_time_attempts_and_groups() -> None:
    place = console(is_terminal=False)
    marks = bytearray([Mark.SUCCEED, Mark.FAILED, Mark.RUNNING, Mark.WAITING, Mark.SKIPPED])
    loop = TaskState("t1", TaskStatus.RUNNING, 1, groups=GroupsState(5, marks, next=3, open=1))
    failed = TaskState("t0", TaskStatus.FAILED, 2, invocations=[[1000, 1500], [2000, 2250]], msg="no [disk]")
    with Progress(FLOW, place, now_ms=lambda: 9000) as progress:
        progress.show(state(failed, loop))
        progress.show(state(failed, loop))
        progress.show(state(failed, loop, status=FlowStatus.FAILED))
    assert written(place).splitlines() == [
        "FAILED       t0 (0.750 s, attempt 2): no [disk]",
        "RUNNING      t1 (2 of 4 groups, 1 failed, 1 skipped)",
        "FAILED in 2.500 s",
    ]


def test_a_terminal_without_room_shows_failed_and_running_tasks_first_and_all_of_them_at_the_end() -> None:
    place = console(is_terminal=True)
    done = [TaskState(name, TaskStatus.SUCCEED, 1) for name in NAMES[:30]]
    running = TaskState("t38", TaskStatus.RUNNING, 1, invocations=[[1000, None]])
    with Progress(FLOW, place, now_ms=lambda: 4000) as progress:
        progress.show(state(*done, running, TaskState("t39", TaskStatus.FAILED, 1, msg="broken")))
        live = written(place)
        progress.show(state(*done, running, status=FlowStatus.SUCCEED))
    assert "demo:main 8 not_started, 1 running, 30 succeed, 1 failed" in live
    assert "t38" in live and "3.000 s" in live and "broken" in live and "t29" not in live
    rest = written(place)[len(live) :]
    assert all(name in rest for name in NAMES)
    assert rest.rstrip().endswith("SUCCEED in 2.500 s")


def notice(task: str, status: str, msg: str | None = "down", attempt: int = 1) -> TaskNotice:
    return TaskNotice("demo:main_c_1", "demo:main", task, status, attempt, 0, "http_500", msg)


def test_a_tolerated_task_says_why_it_was_skipped() -> None:
    place = console(is_terminal=False)
    with Progress(FLOW, place) as progress:
        skipped = TaskState("t0", TaskStatus.SKIPPED, 1, msg="no paper")
        progress.show(state(skipped, TaskState("t1", TaskStatus.SKIPPED)))
        progress.show(state(TaskState("t2", TaskStatus.SKIPPED, msg="a switch chose another branch")))
    assert written(place).splitlines() == ["SKIPPED      t0: no paper", "SKIPPED      t1", "SKIPPED      t2"]


def test_each_failed_attempt_says_why_and_ends_of_root_tasks_are_left_to_the_states() -> None:
    place = console(is_terminal=False)
    with Progress(FLOW, place) as progress:
        for one in (
            notice("t0", "READY", "no [route]"),
            notice("t0", "FAILED", attempt=2),
            notice("t1_3-inner", "FAILED"),
            notice("t1_4-inner", "SKIPPED", None),
            notice("t1_4-inner", "RUNNING"),
        ):
            progress.note(one)
    assert written(place).splitlines() == [
        "RETRY        t0 (attempt 1 failed, http_500): no [route]",
        "FAILED       t1_3-inner (attempt 1 failed, http_500): down",
    ]


def test_of_very_many_failed_attempts_the_first_ones_are_told() -> None:
    place = console(is_terminal=False)
    with Progress(FLOW, place) as progress:
        for number in range(200):
            progress.note(notice(f"loop_{number}-inner", "FAILED"))
    lines = written(place).splitlines()
    assert len(lines) == 51 and lines[-1] == "further failed attempts are not shown"
