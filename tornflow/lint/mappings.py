"""Mapping rules one by one: sources and targets that do not parse, lead nowhere or are lost (``rill-dsl`` 5)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tornflow.engine.custom_status import is_custom_status
from tornflow.engine.jsonpath import PathSyntaxError, compile_target
from tornflow.lint.page import Page, nearest, shown
from tornflow.lint.paths import keys_read, read_path, root_of, sound_path, target_key
from tornflow.lint.tree import MapRule, Tree, View
from tornflow.model.names import base_name

ROOTS = ("context", "input", "output")
_TASKS = "$.tasks."
_LOOKS_LIKE_PATH = re.compile(r"\s*(?:(?:context|input|output)(?:\.[\w'-]+|\[[^\]]+\])+|\s\$\..+)\s*", re.DOTALL)
_MAPPED = {"inputMappings": "input", "outputMappings": "context"}


def check(page: Page, tree: Tree) -> None:
    names = {view.name for view in tree.views() if view.name}
    top = {view.name for view in tree.top.tasks if view.name}
    for body in tree.bodies():
        for view in body.tasks:
            # Sources like $.task.path are rewritten at the top level only (rill-dsl 1.4).
            tasks = top if body.owner is None and tree.is_short else set()
            _pass(page, view.inputs, "inputMappings", names, tasks)
            _pass(page, view.outputs, "outputMappings", names, set())
            _useless_pass(page, view)
    callback = tree.document.get("callback") or {}
    _pass(page, tree.rules(callback.get("inputMappings"), "callback.inputMappings"), "inputMappings", names, set())
    for number, resource in enumerate(tree.document.get("resources", ())):
        rules = tree.rules(resource.get("input_mappings"), f"resources[{number}].input_mappings")
        _pass(page, rules, "inputMappings", names, set())
    _unused(page, tree)


def _pass(page: Page, rules: Sequence[MapRule], field: str, names: set[str], tasks: set[str]) -> None:
    written: set[str] = set()
    for rule in rules:
        if not _does_something(page, rule):
            continue
        if rule.source.startswith(_TASKS) and rule.source.count(".") >= 3:
            _trigger(page, rule, names)
        elif rule.source.startswith("$"):
            _source(page, rule, field, tasks, written)
        elif _LOOKS_LIKE_PATH.fullmatch(rule.source):
            message = f"{shown(rule.source)!r} is a constant text, not a path"
            advice = f"did you mean $.{rule.source.strip().lstrip('$.')}?"
            page.note("looks-like-path", rule.source_path, message, advice)
        _target(page, rule, field, rules)
        if (key := target_key(rule.target)) is not None:
            written.add(".".join(key))


def _does_something(page: Page, rule: MapRule) -> bool:
    if not rule.target.strip():
        page.note("no-effect", rule.path, "a rule without a target does nothing", "add target, or take the rule out")
    elif not rule.source.strip() and not rule.transform.strip():
        if page.was_refused(rule.source_path) or page.was_refused(f"{rule.path}.transform"):
            return False
        page.note("no-effect", rule.path, "a rule with neither source nor transform does nothing", "add a source")
    else:
        return True
    return False


def _source(page: Page, rule: MapRule, field: str, tasks: set[str], written: set[str]) -> None:
    path = read_path(page, rule.source_path, rule.source, "source")
    if path is None or not (root := root_of(path)):
        return
    if root not in (*ROOTS, "tasks") and root not in tasks:
        guess = nearest(root, [*ROOTS, *tasks])
        advice = f"did you mean $.{guess}?" if guess else "start with $.context"
        page.note("unknown-root", rule.source_path, f"$.{root} is nothing that a mapping can read", advice)
    elif root == "input" and field == "inputMappings":
        for key in keys_read(path):
            if f"input.{key}" not in written:
                message = f"no rule before this one writes $.input.{key}: this maps nothing"
                page.note("unmapped-input", rule.source_path, message, "read $.context, where the flow keeps its data")
    elif rule.is_short and root == "output" and field == "inputMappings":
        page.note("empty-source", rule.source_path, "$.output is empty here: this maps nothing", "write $.task.path")


def _trigger(page: Page, rule: MapRule, names: set[str]) -> None:
    pieces = rule.source.partition("?")[0].split(".")
    if len(pieces) < 4 or pieces[3] != "trigger_url":
        message = f"{shown(rule.source)} is always empty: only trigger_url can be read of a task"
        page.note("trigger-url", rule.source_path, message, f"write $.tasks.{pieces[2]}.trigger_url")
    elif base_name(pieces[2]) not in names:
        guess = nearest(pieces[2], names)
        message = f"there is no task {shown(pieces[2])}: nobody could call this URL"
        page.note("trigger-url", rule.source_path, message, f"did you mean {guess}?" if guess else "")


def _target(page: Page, rule: MapRule, field: str, rules: Sequence[MapRule]) -> None:
    place = f"{rule.path}.target" if not rule.is_short else rule.path
    if rule.is_short and sound_path(rule.target) is None:
        page.note("target-root", place, f"the key cannot be written: {shown(rule.target)}", "use a plain name")
        return
    path = sound_path(rule.target) or read_path(page, place, rule.target, "target")
    if path is None:
        return
    if field == "outputMappings" and is_custom_status(rule.target):
        return
    wanted = _MAPPED[field]
    try:
        target = compile_target(rule.target)
    except PathSyntaxError as error:
        guess = nearest(root_of(path), ROOTS)
        page.note("target-root", place, error.reason, f"write below $.{guess or wanted}")
        return
    if not target.steps:
        page.note("no-effect", place, f"$.{target.root} as a whole cannot be written", f"write $.{target.root}.name")
    elif target.root != wanted and not any(_reads(other, target.root, str(target.steps[0])) for other in rules):
        message = f"{field} keep what is written below $.{wanted}; $.{target.root} is lost"
        page.note("lost-target", place, message, f"did you mean $.{wanted}.{target.steps[0]}?")


def _reads(rule: MapRule, root: str, key: str) -> bool:
    """Say whether a rule takes its value from what another one of the same pass may have put there for it."""
    path = sound_path(rule.source) if rule.source.startswith("$") else None
    return path is not None and root_of(path) == root and key in keys_read(path)


def _useless_pass(page: Page, view: View) -> None:
    if view.category in ("switch", "return") and view.outputs:
        message = f"outputMappings of a {view.category} are never carried out"
        page.note("no-effect", f"{view.path}.outputMappings", message, "put them into the task behind it")
    for index, rule in enumerate(view.task.get("progress", {}).get("args", ())):
        path, source = f"{view.path}.progress.args[{index}]", rule.get("source") or ""
        if not rule.get("variable") or not source:
            page.note("no-effect", path, "an argument needs source and variable", "add both")
        elif source.startswith("$"):
            only_from(page, f"{path}.source", source, "input", "progress.args")


def only_from(page: Page, place: str, text: str, root: str, what: str) -> None:
    """Note a path that does not parse, or reads from where ``what`` sees nothing."""
    path = read_path(page, place, text, what)
    if path is not None and root_of(path) not in ("", root):
        message = f"{what} reads only $.{root}: {shown(text)} is empty"
        advice = f"map it to $.{root} first" if root == "input" else f"start with $.{root}"
        page.note("empty-source", place, message, advice)


def _unused(page: Page, tree: Tree) -> None:
    used: set[str] = set()
    for view in tree.views():
        for field in ("inputMappings", "outputMappings"):
            used.update((rule.get("reference") or "").strip() for rule in view.task.get(field, ()))
    callback = tree.document.get("callback") or {}
    used.update((rule.get("reference") or "").strip() for rule in callback.get("inputMappings", ()))
    for name in tree.common:
        if name not in used:
            page.note("unused-mapping", f"commonMapping.{name}", f"nothing refers to the common mapping {shown(name)}")
