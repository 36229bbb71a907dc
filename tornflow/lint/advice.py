"""What to do about problems that the parser reports."""

from __future__ import annotations

import re
from collections.abc import Callable

from tornflow.errors import Problem
from tornflow.lint.page import nearest
from tornflow.lint.tree import Tree, View, as_text
from tornflow.model.status import Category, Pattern

_NEXT = re.compile(r"next task (.*) not exist\.", re.DOTALL)
_REFERENCE = re.compile(r"mappingReference: (.*) invalid", re.DOTALL)
_NAME = re.compile(r"name invalid:(.*)", re.DOTALL)
_QUOTED = re.compile(r'"([^"]*)"')


def on(problem: Problem, tree: Tree) -> str:
    """Return a suggestion for one problem, or ""."""
    advise = _BY_CODE.get(problem.code)
    return advise(problem, tree) if advise is not None else ""


def _shape(problem: Problem, tree: Tree) -> str:
    message, found = problem.message, _QUOTED.search(problem.message)
    if problem.path.endswith(".category"):
        return _meant(nearest(found[1], list(Category)) if found else "")
    if "alias *" in message:
        return "write the value out, or use commonMapping for mapping rules"
    if "a list is required" in message:
        return "write [ ... ], or one item per line with a dash"
    if "text is required" in message:
        return "quote it: a JSON value is written as text, '{\"a\": 1}'"
    if "found character '\\t'" in message:
        return "indent with blanks, not tabs"
    return ""


def _name(problem: Problem, tree: Tree) -> str:
    match = _NAME.search(problem.message)
    given = match[1] if match else ""
    if given in ("", "null"):
        return f"give it a {problem.path.rpartition('.')[2] or 'name'} of letters and digits"
    words = re.findall(r"[a-zA-Z0-9]+", given)
    joined = "".join([*words[:1], *(word[:1].upper() + word[1:] for word in words[1:])])
    return _meant(joined[:100]) or "use letters and digits only"


def _next(problem: Problem, tree: Tree) -> str:
    match = _NEXT.search(problem.message)
    place = problem.path.removesuffix(".next")
    body = next((body for body in tree.bodies() if any(view.path == place for view in body.tasks)), None)
    if match is None or body is None:
        return ""
    target = match[1]
    if target != target.strip() and target.strip() in body.by_name:
        return "write no blanks around the commas"
    if target == "null":
        return "every case needs a next"
    elsewhere = next((view for view in tree.views() if view.name == target.strip() and target.strip()), None)
    if elsewhere is not None and elsewhere.is_generated:
        return "leave it out: endTask is linked by itself"
    if elsewhere is not None:
        return f"next stays in one list, and {elsewhere.name} is at {elsewhere.path}"
    return _meant(nearest(target.strip(), [name for name in body.by_name if name != _own(body.tasks, place)]))


def _own(views: list[View], path: str) -> str:
    return next((view.name for view in views if view.path == path), "")


def _graph(problem: Problem, tree: Tree) -> str:
    if (match := _REFERENCE.search(problem.message)) is not None:
        return _meant(nearest(match[1], tree.common)) or "add it to commonMapping"
    if problem.message.startswith("circle found"):
        return "take one of these links out; to repeat tasks, use foreach, or retry on the task"
    if problem.message.startswith("exceed max depth"):
        return "move the inner tasks into a flow of their own and call it with rillflow://"
    return ""


def _function(problem: Problem, tree: Tree) -> str:
    if not problem.path.endswith(".pattern"):
        return "give it a resourceName such as http://host/path"
    path = problem.path.removesuffix(".pattern")
    given = next((view.text("pattern") for view in tree.views() if view.path == path), "")
    return _meant(nearest(given, list(Pattern))) or f"one of {', '.join(Pattern)}"


def _type(problem: Problem, tree: Tree) -> str:
    return _meant(nearest(as_text(tree.document.get("type")), ("flow", "resource"), 0.5)) or "type: flow"


def _meant(word: str) -> str:
    return f"did you mean {word}?" if word else ""


_BY_CODE: dict[int, Callable[[Problem, Tree], str]] = {
    30402: _shape,
    30403: _type,
    30406: _graph,
    30407: lambda problem, tree: "names are unique in the whole flow, inner tasks, workspace and dagName included",
    30408: _name,
    30410: _function,
    30413: _next,
}
