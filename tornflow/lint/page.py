"""The sheet that the checks write on: remarks with their places in the text."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from tornflow.descriptors import Examined
from tornflow.errors import Problem
from tornflow.lint.remarks import REFUSED, RULES, Remark, Severity
from tornflow.model.descriptor import Json

MAX_REMARKS = 1000
_MAX_SHOWN = 80


class Page:
    """Collects the remarks on one text; ``failing`` are paths of tasks that were found to fail whenever they run."""

    def __init__(self, text: str, examined: Examined, protocols: Collection[str] | None) -> None:
        self.document: Json = examined.document
        self.protocols = protocols
        self.failing: set[str] = set()
        self._lines = text.split("\n")
        self._places = examined.places
        self._found: dict[tuple[str, str, str], Remark] = {}
        self._refused = {problem.path for problem in examined.problems}

    @property
    def remarks(self) -> list[Remark]:
        return list(self._found.values())

    def was_written(self, path: str) -> bool:
        """Say whether the text has this path itself, as opposed to a default or something computed."""
        return path in self._places

    def was_refused(self, path: str) -> bool:
        return path in self._refused

    def keep(self, problem: Problem, rule: str = REFUSED, suggestion: str = "") -> None:
        """Take over a problem that the parser found."""
        severity = RULES[rule].severity
        line, column = (problem.line, problem.column) if problem.line else self._place(problem.path)
        advice = problem.suggestion or suggestion
        self._add(Remark(severity, rule, problem.message, problem.path, line, column, advice, problem.code))

    def note(
        self,
        rule: str,
        path: str,
        message: str,
        suggestion: str = "",
        *,
        within: str = "",
        at: tuple[int, int] = (0, 0),
    ) -> None:
        """Add a remark on ``path``. ``at`` is a line and a column, from 1, inside its text ``within``."""
        line, column = self._place(path)
        if within and line and at[0]:
            line, column = self._inside(line, column, within, at)
        self._add(Remark(RULES[rule].severity, rule, message, path, line, column, suggestion))

    def _add(self, remark: Remark) -> None:
        if len(self._found) < MAX_REMARKS or remark.severity is Severity.ERROR:
            self._found.setdefault((remark.rule, remark.path, remark.message), remark)

    def _place(self, path: str) -> tuple[int, int]:
        """Return the place of a path, or of the nearest thing around it that was written."""
        while path and path not in self._places:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        place = self._places.get(path)
        return (place.line, place.column) if place else (1, 1) if self.document else (0, 0)

    def _inside(self, line: int, column: int, text: str, at: tuple[int, int]) -> tuple[int, int]:
        """Return the place of a character of a scalar, or the scalar's own where escapes or folding hide it."""
        row, offset = at
        rows = text.split("\n")
        wanted = rows[row - 1] if row <= len(rows) else ""
        first = self._line(line)[column - 1 :]
        if first[:1] in ("|", ">"):
            start = self._line(line + row).find(wanted) if wanted.strip() else -1
            return (line + row, start + offset) if start >= 0 else (line, column)
        shift = 1 if first[:1] in ("'", '"') else 0
        if row == 1 and first[shift:].startswith(wanted[: offset - 1]):
            return line, column + shift + offset - 1
        return line, column

    def _line(self, number: int) -> str:
        return self._lines[number - 1] if 0 < number <= len(self._lines) else ""


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return the known word that ``word`` was probably meant to be, or ""."""
    by_letters = {name.lower(): name for name in known}
    close = get_close_matches(word[:_MAX_SHOWN].lower(), by_letters, n=1, cutoff=cutoff)
    return by_letters[close[0]] if close else ""


def shown(text: str) -> str:
    """Return a text as messages quote it: one line, not too long."""
    line = " ".join(text.split())
    return line if len(line) <= _MAX_SHOWN else line[:_MAX_SHOWN] + "..."
