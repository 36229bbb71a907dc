"""Conditions and what belongs to a category: missing ones, those that do not parse or can never hold (6.2, 7 to 10)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tornflow.lint.mappings import only_from
from tornflow.lint.page import Page, shown
from tornflow.lint.paths import keys_read, read_path, root_of, sound_path, target_key
from tornflow.lint.tree import Tree, View, as_text

_EXISTS = "a condition asks whether something is there; compare in a filter: $.input[?(@.name == 1)]"


def check(page: Page, tree: Tree) -> None:
    for view in tree.views():
        inputs = {key[1] for rule in view.inputs if (key := target_key(rule.target)) and key[0] == "input"}
        match view.category:
            case "function":
                _function(page, view)
            case "return":
                _return(page, view, inputs)
            case "suspense":
                _suspense(page, view, inputs)
            case "switch":
                _switch(page, view, inputs)
            case "choice":
                _choice(page, view, inputs)
            case "foreach":
                _foreach(page, view, inputs)
            case _:
                pass


def condition(page: Page, place: str, text: str, root: str, inputs: set[str] | None = None) -> bool:
    """Look at one condition; return whether it can hold. ``inputs``: what is below ``$.input``, None if unknown."""
    path = read_path(page, place, text, "condition")
    if path is None:
        return False
    found = root_of(path)
    if found and found != root:
        message = f"a condition here sees only $.{root}: {shown(text)} never holds"
        page.note("wrong-root", place, message, _root_advice(found, root))
        return False
    if path.call is not None:
        message = f"a condition that ends in .{path.call.name}() never holds"
        page.note("never-true", place, message, f"put it into a filter: $.{root}[?(@.name.{path.call.name}() > 0)]")
        return False
    for key in keys_read(path) if inputs is not None else ():
        if inputs is not None and key not in inputs:
            message = f"no inputMapping of this task writes $.input.{key}"
            page.note("unmapped-input", place, message, f"add {{source: $.context.{key}, target: $.input.{key}}}")
    return True


def _root_advice(found: str, root: str) -> str:
    if found == "default":
        return "only a switch knows default"
    return f"map it to $.{root} with inputMappings first" if root == "input" else f"start with $.{root}"


def _each(page: Page, view: View, field: str, root: str, inputs: set[str] | None = None) -> list[bool]:
    return [
        condition(page, f"{view.path}.{field}[{index}]", text, root, inputs)
        for index, text in enumerate(_texts(view.task.get(field)))
    ]


def _texts(values: Iterable[object] | None) -> Iterator[str]:
    return (as_text(value) for value in values or ())


def _function(page: Page, view: View) -> None:
    succeeds = _each(page, view, "successConditions", "output")
    fails = _each(page, view, "failConditions", "output")
    if succeeds and fails:
        message = "failConditions are ignored where there are successConditions"
        page.note("no-effect", f"{view.path}.failConditions", message, "turn them into successConditions with !(...)")
    _fails_if_broken(page, view, "successConditions" if succeeds else "failConditions")
    retry = view.task.get("retry", {})
    for index, text in enumerate(_texts(retry.get("conditions"))):
        condition(page, f"{view.path}.retry.conditions[{index}]", text, "output")
    if retry and retry.get("maxRetryTimes", 0) <= 0:
        place = f"{view.path}.retry"
        page.note("no-effect", place, "a retry without maxRetryTimes above 0 never retries", "maxRetryTimes: 3")


def _return(page: Page, view: View, inputs: set[str]) -> None:
    if "conditions" not in view.task:
        _missing(page, view, "conditions", "a return without conditions fails", "conditions: [...]; [] is always true")
    _each(page, view, "conditions", "input", inputs)
    _fails_if_broken(page, view, "conditions")


def _suspense(page: Page, view: View, inputs: set[str]) -> None:
    if "conditions" not in view.task and "event" not in view.task:
        advice = "add conditions, or event: NAME to wait for an event"
        _missing(page, view, "conditions", "a suspense without conditions and event fails", advice)
    _each(page, view, "conditions", "input", inputs)
    _each(page, view, "interruptions", "input", inputs)
    _fails_if_broken(page, view, "conditions")


def _missing(page: Page, view: View, field: str, message: str, advice: str) -> None:
    # Where the key is there with a wrong value, the parser has said so.
    if not page.was_refused(f"{view.path}.{field}"):
        page.note("no-conditions", view.path, f"{view.name or view.category}: {message}", advice)
        _fails(page, view)


def _fails_if_broken(page: Page, view: View, field: str) -> None:
    """A condition that never holds is no failure, one that does not parse is."""
    if any(sound_path(text) is None for text in _texts(view.task.get(field))):
        _fails(page, view)


def _fails(page: Page, view: View) -> None:
    """Remember a task that fails whenever it runs; with tolerance it is skipped, and what follows runs."""
    if not view.task.get("tolerance"):
        page.failing.add(view.path)


def _switch(page: Page, view: View, inputs: set[str]) -> None:
    for index, case in enumerate(view.task.get("switches", ())):
        place, text = f"{view.path}.switches[{index}]", as_text(case.get("condition"))
        if not text:
            message = "a case without a condition is never chosen"
            page.note("never-true", place, message, "condition: default holds when no other case does")
        elif text != "default":
            if text.strip().lower() == "default":
                page.note("never-true", f"{place}.condition", f"{text!r} is a path here", "write default, exactly so")
            else:
                condition(page, f"{place}.condition", text, "input", inputs)


def _choice(page: Page, view: View, inputs: set[str]) -> None:
    branches = view.task.get("choices", ())
    for index, branch in enumerate(branches):
        place, text = f"{view.path}.choices[{index}]", as_text(branch.get("condition"))
        if text:
            condition(page, f"{place}.condition", text, "input", inputs)
        elif len(branches) > 1:
            message = "a choice of several branches fails where one has no condition"
            page.note("no-conditions", place, message, "add a condition; $.input always holds")
            _fails(page, view)
        else:
            page.note("never-true", place, "a branch without a condition never runs", "condition: $.input always holds")
        if not branch.get("tasks", True):
            page.note("no-effect", place, "a branch without tasks", "take it out, or add a pass")


def _foreach(page: Page, view: View, inputs: set[str]) -> None:
    mapping = view.task.get("iterationMapping", {})
    place = f"{view.path}.iterationMapping"
    if mapping and not as_text(mapping.get("item")).strip() and not page.was_refused(f"{place}.item"):
        page.note("no-item", place, "iterationMapping has no item: the foreach fails", "item: NAME")
        _fails(page, view)
    collection = as_text(mapping.get("collection"))
    if collection.strip() and (path := read_path(page, f"{place}.collection", collection, "collection")) is not None:
        if root_of(path) not in ("input", ""):
            message = f"a foreach finds its collection only below $.input, not at {shown(collection)}"
            page.note("collection-root", f"{place}.collection", message, _collection_advice(collection))
        for key in keys_read(path) if root_of(path) == "input" else ():
            if key not in inputs:
                message = f"no inputMapping of this task writes $.input.{key}: there is nothing to loop over"
                advice = f"add {{source: $.context.{key}, target: $.input.{key}}}"
                page.note("unmapped-input", f"{place}.collection", message, advice)
    identity = as_text(mapping.get("identity"))
    if identity.startswith("$"):
        only_from(page, f"{place}.identity", identity, "iteration", "identity")
    _synchronization(page, view, inputs)


def _collection_advice(collection: str) -> str:
    last = collection.rpartition(".")[2]
    name = last if last.isidentifier() and "." in collection else "items"
    source = collection if collection.startswith("$") else f"$.context.{name}"
    return f"collection: $.input.{name}, with {{source: {source}, target: $.input.{name}}} in inputMappings"


def _synchronization(page: Page, view: View, inputs: set[str]) -> None:
    settings = view.task.get("synchronization", {})
    for index, text in enumerate(_texts(settings.get("conditions"))):
        condition(page, f"{view.path}.synchronization.conditions[{index}]", text, "input", inputs)
    limit, place = as_text(settings.get("maxConcurrency")), f"{view.path}.synchronization"
    if settings and not limit.strip():
        page.note("no-effect", place, "synchronization without maxConcurrency limits nothing", "maxConcurrency: 10")
    elif limit.startswith("$"):
        only_from(page, f"{place}.maxConcurrency", limit, "input", "maxConcurrency")
    elif limit and not (limit.strip().isdecimal() and int(limit.strip()[:9]) > 0):
        message = f"maxConcurrency {shown(limit)!r} is no number above 0: it limits nothing"
        page.note("bad-number", f"{place}.maxConcurrency", message, "maxConcurrency: 10")
