"""The way in: text -> remarks, in the order of the text."""

from __future__ import annotations

from collections.abc import Collection

from tornflow.descriptors import DescriptorLimits, examine
from tornflow.lint import advice, calls, conditions, dataflow, graph, mappings, scripts
from tornflow.lint.page import Page
from tornflow.lint.remarks import Remark
from tornflow.lint.tree import Tree

_CHECKS = (
    mappings.check,
    conditions.check,
    scripts.check,
    calls.check,
    dataflow.check,
    graph.check,  # last: it asks which tasks were found to fail
)


def lint(
    text: str, protocols: Collection[str] | None = None, limits: DescriptorLimits = DescriptorLimits()  # noqa: B008
) -> list[Remark]:
    """Return everything worth saying about a descriptor, by line. Never raises, whatever the text is.

    ``protocols`` are those that installed task types serve; None leaves that check out.
    """
    examined = examine(text, limits)
    page = Page(text, examined, protocols)
    tree = Tree(examined.document)
    for problem in examined.problems:
        page.keep(problem, suggestion=advice.on(problem, tree))
    for one in examined.advice:
        page.keep(one.problem, one.rule)
    for check in _CHECKS:
        check(page, tree)
    return sorted(page.remarks, key=lambda one: (one.line, one.column))
