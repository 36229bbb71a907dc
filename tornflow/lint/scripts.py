"""Transforms and progress calculations: syntax, functions that do not exist, variables that nobody sets (5.7)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

from tornflow.engine.expressions import FUNCTIONS, Budget, ExpressionError, ExpressionSyntaxError, compile_expression
from tornflow.engine.expressions.compiler import rule_of
from tornflow.engine.expressions.grammar import parse
from tornflow.engine.expressions.literals import string_pieces
from tornflow.lint.page import Page, nearest, shown
from tornflow.lint.tree import Tree, as_text

if TYPE_CHECKING:
    from lark import Token
    from lark import Tree as SyntaxTree

_BUDGET = Budget()
_IN_TRANSFORM = frozenset(["source", "context", "input", "output"])
_IN_PROGRESS = frozenset(["params", "taskRunningTimeInMillis"])
_SPECIAL = frozenset(["seq.array", "is_def"])
_NAMESPACES = frozenset(name.partition(".")[0] for name in FUNCTIONS if "." in name)
_BINDERS = frozenset(["let", "fn", "for_", "catch", "params"])
_Say = Callable[[str, str, str, tuple[int, int]], None]


def check(page: Page, tree: Tree) -> None:
    for view in tree.views():
        for rule in (*view.inputs, *view.outputs):
            if rule.transform.strip():
                _script(page, f"{rule.path}.transform", rule.transform, _IN_TRANSFORM)
        calculation = as_text(view.task.get("progress", {}).get("calculation"))
        if calculation.strip():
            _script(page, f"{view.path}.progress.calculation", calculation, _IN_PROGRESS)
    callback = tree.document.get("callback") or {}
    for rule in tree.rules(callback.get("inputMappings"), "callback.inputMappings"):
        if rule.transform.strip():
            _script(page, f"{rule.path}.transform", rule.transform, _IN_TRANSFORM)


def _script(page: Page, place: str, text: str, variables: Collection[str]) -> None:
    def say(rule: str, message: str, advice: str, at: tuple[int, int]) -> None:
        page.note(rule, place, message, advice, within=text, at=at)

    try:
        compile_expression(text)
        _names(parse(text, _BUDGET), variables, say)
    except (ExpressionSyntaxError, ExpressionError) as error:
        say("script-syntax", f"the script does not parse: {error}", _advice(text), (error.line, error.column))


def _advice(text: str) -> str:
    if "[" in text and "]" in text and "=[" in text.replace(" ", ""):
        return "there are no list literals: seq.list(1, 2)"
    if "{" in text and ":" in text and "?" not in text:
        return "there are no map literals: seq.map('k', 1)"
    if " and " in text or " or " in text:
        return "write && and ||"
    return ""


def _names(tree: SyntaxTree[Token], variables: Collection[str], say: _Say) -> None:
    """Look at every name that is called or read; a name that the script sets anywhere counts as known."""
    assigned = set(_assigned(tree))
    called: set[int] = set()
    for part in _parts(tree):
        if rule_of(part) == "postfix":
            _called(part, assigned, variables, called, say)
    for part in _parts(tree):
        name = str(part.children[0]) if rule_of(part) == "name" else ""
        is_known = not name or id(part) in called or name in assigned or name in variables or name in FUNCTIONS
        if not is_known and name not in _NAMESPACES and not name.startswith("$"):
            guess = nearest(name, [*variables, *assigned])
            advice = f"did you mean {guess}?" if guess else f"a script here sees {', '.join(sorted(variables))}"
            say("unknown-variable", f"the script has no variable {shown(name)}: it is nil", advice, _at(part))


def _called(
    part: Any, assigned: Collection[str], variables: Collection[str], called: set[int], say: _Say
) -> None:
    """Note a call of a function that does not exist: ``name(...)`` or ``a.b(...)``."""
    if rule_of(part.children[0]) != "name":
        return
    taken = 1
    while taken < len(part.children) and rule_of(part.children[taken]) == "prop":
        taken += 1
    name = ".".join(str(child.children[0]) for child in part.children[:taken])
    first = name.partition(".")[0]
    is_call = taken < len(part.children) and rule_of(part.children[taken]) == "call"
    if name in FUNCTIONS or (is_call and name in _SPECIAL):
        called.add(id(part.children[0]))
    elif is_call and first not in assigned and (taken == 1 or first not in variables):
        called.add(id(part.children[0]))
        guess = _function_like(name)
        advice = f"did you mean {guess}?" if guess else "docs/expressions.md lists every function"
        say("unknown-function", f"there is no function {shown(name)}", advice, _at(part))


def _function_like(name: str) -> str:
    last = name.rpartition(".")[2]
    same = [known for known in FUNCTIONS if known.rpartition(".")[2] == last]
    return same[0] if same else nearest(name, FUNCTIONS, 0.5)


def _parts(tree: SyntaxTree[Token]) -> Iterator[Any]:
    """Yield every subtree, those of ``#{...}`` in strings included (they are placed at their beginning)."""
    waiting: list[Any] = [tree]
    while waiting:
        part = waiting.pop()
        yield part
        if rule_of(part) == "string":
            waiting += _embedded(str(part.children[0]))
        waiting += [child for child in reversed(part.children) if hasattr(child, "data")]


def _embedded(literal: str) -> list[Any]:
    return [parse(text, _BUDGET) for text, is_code in string_pieces(literal) if is_code]


def _assigned(tree: SyntaxTree[Token]) -> Iterator[str]:
    for part in _parts(tree):
        kind = rule_of(part)
        target: Any = part.children[0] if part.children else None
        if kind == "assign" and rule_of(target) == "name":
            yield str(target.children[0])
        elif kind in _BINDERS:
            yield from (str(child) for child in part.children if isinstance(child, str))


def _at(part: Any) -> tuple[int, int]:
    return getattr(part.meta, "line", 0), getattr(part.meta, "column", 0)
