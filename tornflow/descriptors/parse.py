"""Descriptor text -> Descriptor: read the tree, check it, convert the shorthand, build the values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tornflow.descriptors import advice, checks, sugar
from tornflow.descriptors.build import build
from tornflow.descriptors.grammar import read_descriptor
from tornflow.descriptors.limits import DescriptorLimits
from tornflow.descriptors.nodes import PARSE_ERROR, MapNode, Place, compose
from tornflow.descriptors.shapes import Reading
from tornflow.descriptors.stored import content_md5
from tornflow.errors import InvalidDescriptor, Problem
from tornflow.model.descriptor import Descriptor, Json

DEFAULT_LIMITS = DescriptorLimits()


@dataclass(frozen=True, slots=True)
class Examined:
    """A text as far as it can be read: for tools that look closer (``tornflow.lint``).

    ``document`` is normalised, shorthand not converted; what has a wrong shape is missing from it, and all of it is
    when there is no tree to look at. ``places`` holds the place of the value of every path that was written.
    """

    document: Json
    places: Mapping[str, Place]
    problems: tuple[Problem, ...]
    advice: tuple[advice.Advice, ...]


def parse_descriptor(text: str | bytes, limits: DescriptorLimits = DEFAULT_LIMITS) -> Descriptor:
    """Parse, validate and normalise a descriptor (``rill-dsl`` 1 to 3).

    ``document`` of the result has the shorthand converted; ``md5`` is taken before that, so that it depends on what
    was written and not on how we convert it.

    Raises:
        InvalidDescriptor: with every problem; the first one is what the reference answers. Nothing else is raised.
    """
    document, reading = _read(text, limits)
    if reading.problems:
        raise InvalidDescriptor(reading.problems)
    return build(sugar.convert(document), content_md5(document))


def find_problems(text: str | bytes, limits: DescriptorLimits = DEFAULT_LIMITS) -> list[Problem]:
    """Return every problem as ``parse_descriptor`` would raise it, then warnings, which have code 0."""
    found = examine(text, limits)
    return [*found.problems, *(one.problem for one in found.advice)]


def examine(text: str | bytes, limits: DescriptorLimits = DEFAULT_LIMITS) -> Examined:
    """Return what could be read of a text, whatever is wrong with it. Never raises."""
    try:
        document, reading = _read(text, limits)
    except InvalidDescriptor as error:
        return Examined({}, {}, error.problems, ())
    return Examined(document, reading.places, tuple(reading.problems), tuple(advice.find_advice(document, reading)))


def check_size(text: str | bytes, limits: DescriptorLimits = DEFAULT_LIMITS) -> None:
    """Raise InvalidDescriptor (30508) for a text that is too long: the first check of all (``rill-dsl`` 3)."""
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > limits.size_bytes:
        raise InvalidDescriptor([Problem(30508, f"dag info length:{size} exceed the limit")])


def _read(text: str | bytes, limits: DescriptorLimits) -> tuple[Json, Reading]:
    """Return the document and what was noted. Raises InvalidDescriptor when there is no tree to look at."""
    check_size(text, limits)
    if not text:
        raise InvalidDescriptor([Problem(30401, "dag descriptor empty.")])
    root, problems = compose(_decoded(text), limits)
    if not isinstance(root, MapNode):
        place = root.place
        message = "a descriptor is a mapping with workspace, dagName, type and tasks"
        raise InvalidDescriptor([Problem(PARSE_ERROR, message, line=place.line, column=place.column)])
    reading = Reading(limits.problems, problems)
    document = read_descriptor(reading, root)
    _check(document, reading, limits)
    return document, reading


def _decoded(text: str | bytes) -> str:
    try:
        return text.decode() if isinstance(text, bytes) else text.encode().decode()
    except UnicodeError as error:
        raise InvalidDescriptor([Problem(PARSE_ERROR, f"the text is not UTF-8: {error}")]) from error


def _check(document: Json, reading: Reading, limits: DescriptorLimits) -> None:
    # What has the wrong shape is missing from the document; that it is missing is then no second problem.
    broken = {problem.path for problem in reading.problems}
    broken |= {path[: path.rfind("[")] for path in broken if path.endswith("]")}
    for finding in checks.find(document, limits):
        if len(reading.problems) >= limits.problems:
            return
        if finding.path not in broken:
            place = _place(reading, finding.path)
            reading.problems.append(Problem(finding.code, finding.message, finding.path, place.line, place.column))


def _place(reading: Reading, path: str) -> Place:
    """Return the place of a path, or of the nearest thing around it that was written."""
    while path and path not in reading.places:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return reading.places.get(path, Place(1, 1))
