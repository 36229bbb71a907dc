"""The exported form: every line comes back as it was, and people can read what is JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import Record, StoredRecord, StoredScope, Summary
from tornflow.storage_tools.lines import End, Header, KindRecord, UnreadableLine, from_text, to_text

BODIES = st.binary(max_size=40) | st.sampled_from(
    [b"", b"{}", b"null", b'{"a":1}', b'{"a": 1}', b'{"a":1,"a":2}', b"1e400", b"\xff", b'"\\ud800"', b"[1,2]", b"12"]
)
BODIES |= st.integers().map(lambda number: str(number).encode())
SUMMARIES = st.none() | st.builds(
    Summary, st.text(), st.text(), st.text(), st.text(), st.integers(0, 2**53), parent_id=st.none() | st.text()
)
SCOPES = st.builds(
    StoredScope,
    st.builds(ScopeKey, st.text(), st.text()),
    st.integers(1, 2**53),
    BODIES,
    st.dictionaries(st.text(), BODIES, max_size=4),
    st.text(),
    st.lists(st.text()).map(tuple),
    st.none() | st.integers(0, 2**53),
)
LINES = (
    st.builds(Header, st.text(), st.integers(0, 2**53), st.text())
    | st.builds(KindRecord, st.text(), st.builds(Record, st.text(), BODIES))
    | st.builds(StoredRecord, SCOPES, SUMMARIES, st.none() | st.text())
    | st.builds(End, st.integers(0), st.integers(0))
)


@given(LINES)
def test_a_line_comes_back_as_it_was(line: object) -> None:
    text = to_text(line)  # type: ignore[arg-type]
    assert b"\n" not in text
    assert from_text(text) == line


def test_what_is_json_can_be_read_and_what_is_not_is_kept() -> None:
    parts = {"c:n": b"7", "t:odd": b'{"a": 1}'}
    line = StoredRecord(StoredScope(ScopeKey("e", "loop_0"), 3, b'{"v":2}', parts, "k3", ("node",), 5))
    assert json.loads(to_text(line)) == {
        "scope": ["e", "loop_0"], "life": "k3", "revision": 3, "owners": ["node"], "due_at": 5, "head": {"v": 2},
        "parts": {"c:n": 7}, "parts_base64": {"t:odd": "eyJhIjogMX0="},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[1]", "not an object"),
        (b"{}", "not a line of an export"),
        (b'{"record": "alias"}', "not a line of an export"),
        (b'{"scope": ["a"]}', "not a line of an export"),
        (b'{"record": "alias", "key": "k", "body_base64": "?"}', "not a line of an export"),
        (b'{"tornflow": "export", "version": 2}', "an export of version 2; this tornflow reads version 1"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(text: bytes, words: str) -> None:
    with pytest.raises(UnreadableLine, match=words):
        from_text(text)
