"""The python task type: what annotations ask for is made from JSON, and what comes back is JSON again."""

from __future__ import annotations

import dataclasses
import enum
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field

from tornflow.spi.task_type import Answered, Failed, Outcome
from tornflow.testing.task_type import ScriptedHost, attempt_of
from tornflow_task_python import PythonTaskType

if TYPE_CHECKING:
    from nowhere import Missing  # type: ignore[import-not-found]


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass(frozen=True)
class Line:
    name: str
    price: Decimal
    wanted: date | None = None


class Order(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", populate_by_name=True)

    at: datetime
    lines: list[Line]
    number: int = Field(alias="no")


SEEN: list[Any] = []


def price(line: Line, factor: Decimal = Decimal(1)) -> Decimal:
    SEEN.append((line, factor))
    return line.price * factor


def place(input: Order) -> Order:
    SEEN.append(input)
    return input


def moments(at: datetime | None, spans: list[timedelta], ids: dict[str, UUID], colour: Colour) -> dict[str, Any]:
    SEEN.append((at, spans, ids, colour))
    return {"at": at, "spans": spans, "ids": ids, "colour": colour, "line": [Line("a", Decimal("1.10"))]}


async def later(at: Annotated[datetime, "a remark"]) -> datetime:
    return at + timedelta(days=1)


def as_they_are(number: int, items: list[int], anything: dict[str, Any], more: Any = None) -> list[Any]:
    return [number, items, anything]


def unresolved(value: Missing, number: int) -> list[Any]:
    return [value, number]


def cyclic(input: dict[str, Any]) -> Any:
    line: Any = dataclasses.make_dataclass("Node", ["next"])(None)
    line.next = line
    return line


NAMES = ("price", "place", "moments", "later", "as_they_are", "unresolved", "cyclic")


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    here = ModuleType("converted_callables")
    here.__dict__.update(globals())
    monkeypatch.setitem(sys.modules, "converted_callables", here)
    SEEN.clear()
    yield


async def run(name: str, input: dict[str, Any]) -> Outcome:
    task_type = PythonTaskType()
    await task_type.start(ScriptedHost({"callables": {one: f"converted_callables:{one}" for one in NAMES}}))
    try:
        return await task_type.execute(attempt_of(f"python://{name}", input))
    finally:
        await task_type.stop()


@pytest.mark.parametrize("amount", [0.1, "0.1"])
async def test_a_dataclass_is_made_and_a_decimal_keeps_its_digits(amount: Any) -> None:
    line = {"name": "tea", "price": amount, "wanted": "2026-02-28"}
    assert await run("price", {"line": line, "factor": 3}) == Answered({"result": "0.3"})
    assert SEEN == [(Line("tea", Decimal("0.1"), date(2026, 2, 28)), Decimal(3))]


async def test_a_default_needs_no_conversion() -> None:
    assert await run("price", {"line": {"name": "tea", "price": "2"}}) == Answered({"result": "2"})


async def test_the_whole_input_can_be_a_model_and_a_model_is_an_answer() -> None:
    order = {"at": "2026-01-02T03:04:05Z", "no": 7, "lines": [{"name": "a", "price": "1.10"}]}
    lines = [{"name": "a", "price": "1.10", "wanted": None}]
    assert await run("place", order) == Answered({"at": "2026-01-02T03:04:05Z", "no": 7, "lines": lines})
    assert SEEN == [Order(at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), lines=[Line("a", Decimal("1.10"))], number=7)]


async def test_types_inside_others_are_converted_both_ways() -> None:
    uuid = "12345678-1234-5678-1234-567812345678"
    given = {"at": None, "spans": ["PT1M", 2], "ids": {"a": uuid}, "colour": 1}
    assert await run("moments", given) == Answered(
        {"at": None, "spans": ["PT1M", "PT2S"], "ids": {"a": uuid}, "colour": 1,
         "line": [{"name": "a", "price": "1.10", "wanted": None}]}
    )  # fmt: skip
    assert SEEN == [(None, [timedelta(minutes=1), timedelta(seconds=2)], {"a": UUID(uuid)}, Colour.RED)]


async def test_coroutines_are_converted_too() -> None:
    assert await run("later", {"at": "2026-01-31T00:00:00"}) == Answered({"result": "2026-02-01T00:00:00"})


async def test_what_does_not_fit_is_named_with_its_place_and_nothing_is_called() -> None:
    outcome = await run("price", {"line": {"name": 3, "price": "x"}, "factor": "many"})
    assert isinstance(outcome, Failed) and outcome.code == "unsendable"
    for piece in ("python://price: input does not fit: ", "factor: ", "line: name: ", "price: "):
        assert piece in outcome.message, outcome.message
    assert SEEN == []


async def test_annotations_that_json_can_satisfy_change_nothing() -> None:
    given = {"number": "3", "items": None, "anything": 4}
    assert await run("as_they_are", given) == Answered({"result": ["3", None, 4]})


async def test_annotations_that_cannot_be_resolved_change_nothing() -> None:
    assert await run("unresolved", {"value": {"a": 1}, "number": "2"}) == Answered({"result": [{"a": 1}, "2"]})


async def test_a_dataclass_inside_itself_fails_and_does_not_hang() -> None:
    outcome = await run("cyclic", {})
    assert isinstance(outcome, Failed) and "nested more than 200 levels deep" in outcome.message


def test_each_callable_is_a_target_of_its_own() -> None:
    task_type = PythonTaskType()
    assert task_type.target("python://a") != task_type.target("python://b")
