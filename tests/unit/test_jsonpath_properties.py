"""What holds for every path and every document."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tornflow.engine.jsonpath import MatchError, PathSyntaxError, compile_match, compile_read, compile_target, parse
from tornflow.engine.jsonpath.limits import MAX_NESTING, MAX_PATH_CHARACTERS, MAX_STEPS
from tornflow.engine.jsonpath.parsing import parse_own
from tornflow.engine.jsonpath.plain import parse_plain

NAMES = st.sampled_from(["a", "b", "c", "where", "length", "context"])
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.sampled_from(["", "a", "3", "1e1"])
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
DEFINITE = st.lists(
    NAMES.map(lambda name: f".{name}")
    | NAMES.map(lambda name: f"['{name}']")
    | st.integers(-3, 3).map(lambda index: f"[{index}]"),
    max_size=5,
).map(lambda steps: "$" + "".join(steps))
PIECES = st.sampled_from(
    [".a", ".b", "..", "..c", "[*]", ".*", "[0]", "[-1]", "[0,1]", "[1:]", "['a','b']", "[?(@.a == 1)]", "[?(@.b)]"]
    + ["[?(@ > $.a || !(@.c in [1,'a']))]", "[?(@..a =~ /a*/)]", ".length()", ".sum()"]
    + ["[?(", ")]", "$", "'", "@", " ", "!"]
)
TEXTS = st.text(max_size=30) | st.lists(PIECES, max_size=6).map(lambda pieces: "$" + "".join(pieces))


@given(TEXTS)
@settings(max_examples=600, deadline=None)
def test_compilers_raise_nothing_but_path_syntax_errors(text: str) -> None:
    for compiler in (compile_read, compile_match, compile_target, parse):
        try:
            compiler(text)  # type: ignore[operator]
        except PathSyntaxError as error:
            assert 1 <= error.column <= max(len(text), 1) + 1
            assert str(error)


@given(TEXTS, DOCUMENTS)
@settings(max_examples=600, deadline=None)
def test_no_path_changes_its_document_and_only_match_errors_come_out(text: str, document: Any) -> None:
    before = copy.deepcopy(document)
    for compiler in (compile_read, compile_match):
        try:
            use = compiler(text)
        except PathSyntaxError:
            continue
        try:
            use(document)
        except MatchError:
            assert compiler is compile_match  # these documents are far too small for the bounds
    assert repr(document) == repr(before)


@given(DEFINITE, DOCUMENTS)
@settings(max_examples=300, deadline=None)
def test_definite_paths_read_what_a_plain_walk_finds(path: str, document: Any) -> None:
    node: Any = document
    for name, quoted, index in re.findall(r"\.(\w+)|\['(\w+)'\]|\[(-?\d+)\]", path):
        key: Any = int(index) if index else name or quoted
        fits = isinstance(node, list) if index else isinstance(node, dict)
        try:
            node = node[key] if fits else None
        except (KeyError, IndexError):
            node = None
    assert compile_read(path)(document) is node


@given(DEFINITE)
@settings(max_examples=200, deadline=None)
def test_the_library_and_our_own_parser_agree_on_plain_paths(path: str) -> None:
    plain = parse_plain(path)
    # The library refuses its keywords behind a dot; everything else that is plain goes through it.
    assert plain is not None or ".where" in path
    assert plain is None or plain == parse_own(path).steps
    assert parse(path).steps == parse_own(path).steps


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("$." + "a" * MAX_PATH_CHARACTERS, "longer than"),
        ("$" + ".a" * (MAX_STEPS + 1), "steps"),
        ("$" + "[*]" * (MAX_STEPS + 1), "steps"),
        ("$" + "[?(@" * (MAX_NESTING + 1), "levels deep"),
        ("$[?(" + "(" * 5_000, "levels deep"),
        ("$[?(" + "!" * 5_000, "levels deep"),
        ("$[?(@ == " + "[" * 5_000, "levels deep"),
        ("$[" + "9" * 50 + "]", "9 digits"),
        ("$[?(@ == " + "9" * 5_000 + ")]", "too long"),
        ("$[?(@ == 1e999)]", "too large"),
        ("$[?(@ =~ /" + "a" * 1_001 + "/)]", "pattern is longer"),
    ],
)
def test_paths_beyond_a_bound_are_syntax_errors_that_name_it(text: str, reason: str) -> None:
    with pytest.raises(PathSyntaxError, match=reason):
        compile_read(text)


@pytest.mark.parametrize(
    "path", ["$.l[?($.l[?($.l[?(@ == 'x')] == 1)] == 1)]", "$.l[?(@ in $.l)]", "$..[?($..x == 1)]"]
)
def test_paths_that_multiply_work_end_with_an_error(path: str) -> None:
    document = {"l": [{"n": number} for number in range(3_000)]}
    with pytest.raises(MatchError, match="visits too much"):
        compile_read(path)(document)


def test_a_text_too_long_for_a_pattern_is_an_error() -> None:
    with pytest.raises(MatchError, match="too long for a pattern"):
        compile_match("$[?(@.t =~ /a*/)]")({"t": "a" * 100_001})


@pytest.mark.parametrize("pattern", ["(a|a)*b", "(a+)+b", "(a*)*b", "a*a*a*a*a*b", "(.*)*(.*)*(.*)*b"])
def test_patterns_that_would_stall_end_with_an_error(pattern: str) -> None:
    with pytest.raises(MatchError, match="visits too much"):
        compile_match(f"$.l[?(@ =~ /{pattern}/)]")({"l": ["a" * 400] * 100})


def test_patterns_are_metered_over_the_whole_document() -> None:
    matches = compile_match("$.l[?(@ =~ /[a-z]+-[0-9]+/)]")
    assert matches({"l": ["x"] * 20_000 + ["abc-12"]})


@pytest.mark.parametrize("path", ["$..x", "$" + "[*]" * 190 + ".x", "$[?(@ == $.a)]", "$" + "[0]" * 150])
def test_deep_documents_are_read_or_refused_cleanly(path: str) -> None:
    document: Any = []
    for _ in range(5_000):
        document = [document]
    try:
        compile_read(path)(document)
    except MatchError as error:
        assert "too deeply" in str(error)
