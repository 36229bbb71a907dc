"""Tasks that never run, and switches whose ``next`` leaves their targets out (``rill-dsl`` 4.5, 8.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tornflow.descriptors.grammar import split_next
from tornflow.lint.page import Page
from tornflow.lint.paths import root_of, sound_path
from tornflow.lint.tree import Body, Tree, View, as_text


@dataclass(slots=True)
class _Links:
    """One list: ``before`` are the predecessors by name; ``dead`` says why a task never runs."""

    tasks: Mapping[str, View]
    before: dict[str, list[str]] = field(default_factory=dict)
    dead: dict[str, str] = field(default_factory=dict)
    is_skipped: set[str] = field(default_factory=set)


def check(page: Page, tree: Tree) -> None:
    for body in tree.bodies():
        for view in body.tasks:
            if view.category == "switch":
                _switch(page, view)
        _unreachable(page, body)


def _switch(page: Page, view: View) -> None:
    place = f"{view.path}.next"
    if not page.was_written(place):
        return
    cases = {name.strip() for case in view.task.get("switches", ()) for name in split_next(case.get("next"))}
    for name in sorted(cases - set(view.next) - {""}):
        message = f"next leaves out {name}, the target of a case: it starts at once and does not wait for {view.name}"
        page.note("switch-next", place, message, "leave next out: it follows from the cases")
    for name in view.next:
        if name not in cases:
            page.note("switch-next", place, f"{name} is in no case: it always runs", "leave next out")


def _unreachable(page: Page, body: Body) -> None:
    links = _linked(body)
    waiting = list(links.tasks)
    while waiting:  # each task is looked at again when one before it turned out dead: at most twice per link
        name = waiting.pop()
        if name in links.dead or not links.before[name]:
            continue
        reason = _reason(page, links, name)
        if reason:
            links.dead[name] = reason
            waiting += [after for after in links.tasks[name].next if after in links.tasks]
    for name, reason in links.dead.items():
        view = links.tasks[name]
        page.note("unreachable-task", view.path, f"{name} never runs: {reason}", _advice(reason))


def _linked(body: Body) -> _Links:
    links = _Links(body.by_name)
    links.before = {name: [] for name in links.tasks}
    for name, view in links.tasks.items():
        for after in view.next:
            if after in links.tasks and after != name:
                links.before[after].append(name)
    return links


def _reason(page: Page, links: _Links, name: str) -> str:
    """Say why a task never runs, or "". One that fails before it is enough; skips must come from all sides."""
    skips = []
    for before in links.before[name]:
        view = links.tasks[before]
        if view.path in page.failing:
            return f"{before} before it always fails"
        if before in links.dead and before not in links.is_skipped:
            return f"{before} before it never runs"
        skips.append(_skip(links, view, name))
    if not all(skips):
        return ""
    links.is_skipped.add(name)
    return skips[0]


def _skip(links: _Links, view: View, name: str) -> str:
    """Say why ``view`` always lets ``name`` be skipped, or ""."""
    if view.name in links.is_skipped:
        return f"{view.name} before it is always skipped"
    if view.task.get("degrade", {}).get("followings"):
        return f"{view.name} has degrade.followings"
    if view.category == "return" and view.task.get("conditions") == []:
        return f"{view.name} always returns: its conditions are empty"
    if view.category == "switch":
        cases = [one for one in view.task.get("switches", ()) if name in _targets(one)]
        if cases and not any(_may_hold(as_text(one.get("condition"))) for one in cases):
            return f"no case of {view.name} can choose it"
    return ""


def _targets(case: Mapping[str, object]) -> list[str]:
    return [piece.strip() for piece in split_next(as_text(case.get("next")))]


def _may_hold(condition: str) -> bool:
    if condition == "default":
        return True
    path = sound_path(condition) if condition else None
    return path is not None and root_of(path) in ("", "input") and path.call is None


def _advice(reason: str) -> str:
    if reason.endswith("fails"):
        return "mend that task, or give it tolerance: true"
    return ""
