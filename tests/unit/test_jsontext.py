"""JSON as text: exact for every integer, and the fast reader for everything else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tornflow.model import jsontext
from tornflow.model.jsontext import dumps, loads

EDGES = [sign * (2**bits + more) for sign in (1, -1) for bits in (63, 64, 70) for more in (-1, 0, 1)]
NUMBERS = st.sampled_from([*EDGES, 10**18, 10**19, -(10**18), -(10**19)]) | st.integers() | st.floats(-1e300, 1e300)
DIGITS = st.sampled_from(["1" * 19, "1" * 20, "9" * 25, "-" + "9" * 19, "1" * 20 + "." + "2" * 20])
STRINGS = st.text(max_size=8) | st.builds("{}{}{}".format, st.sampled_from(["", "x", ", ", "\\", '"', ": "]), DIGITS,
                                          st.sampled_from(["", "z", ",", "]"]))  # fmt: skip
VALUES = st.recursive(
    NUMBERS | STRINGS | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STRINGS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.sampled_from([None, 1]))
@settings(max_examples=400, deadline=None)
def test_what_is_written_is_read_again_exactly(value: Any, indent: int | None) -> None:
    assert loads(dumps(value)) == value
    assert loads(json.dumps(value, indent=indent, ensure_ascii=False).encode(errors="surrogatepass")) == value


@pytest.mark.parametrize("number", [*EDGES, 10**18, 10**25, -(10**25)])
@pytest.mark.parametrize("frame", ["%s", " %s", "[%s]", "[1,%s,2]", '{"a":%s}', '{"a": %s}', "[\n%s]", "[\t%s]"])
def test_integers_beyond_64_bits_are_exact_wherever_they_stand(number: int, frame: str) -> None:
    assert loads((frame % number).encode()) == json.loads(frame % number)


@pytest.fixture
def no_exact_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        def decode(self, text: str) -> Any:
            raise AssertionError("the exact reader was used")

    monkeypatch.setattr(jsontext, "_EXACT", Slow())


@pytest.mark.parametrize(
    "value",
    [
        "12345678901234567890",
        {"order": "1234567890123456789", "id": 1234567890123456789, "low": -(10**17), "high": 2**63},
        ["id-x12345678901234567890", "x" * 30 + "1" * 3000],
        {"1234567890123456789012": 0.12345678901234567},
    ],
)
@pytest.mark.usefixtures("no_exact_reader")
def test_digits_in_strings_and_numbers_that_fit_keep_the_fast_reader(value: Any) -> None:
    assert loads(dumps(value)) == value


@pytest.mark.usefixtures("no_exact_reader")
def test_fractions_and_exponents_keep_the_fast_reader() -> None:
    assert loads(b"[0.12345678901234567890123, 1.5e00000000000000000000001]") == [0.12345678901234568, 15.0]


@pytest.mark.parametrize("text", [b"[NaN]", b"[Infinity]", b"[99999999999999999999, NaN]", b"[1e999, 1" + b"0" * 30])
def test_what_is_not_json_is_refused_by_both_readers(text: bytes) -> None:
    with pytest.raises(ValueError):
        loads(text)


def test_a_deep_text_with_a_long_integer_is_an_error_and_no_crash() -> None:
    with pytest.raises(ValueError):
        loads(b"[" * 100_000 + b"1" * 25 + b"]" * 100_000)
