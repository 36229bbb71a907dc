"""Hostile scripts, one by one: each ends with a clear error, and none of its steps costs much more than a loop turn.

Costs are processor time compared with that of the plainest script, measured in the same test, so that a busy machine
changes nothing. ``steps`` bounds the time only as long as this holds.
"""

from __future__ import annotations

import time

import pytest

from tornflow.engine.expressions import (
    Budget,
    BudgetExceeded,
    ExpressionError,
    ExpressionSyntaxError,
    Meter,
    compile_expression,
)

PLAIN_TURNS = 20
"""A step may cost as much as so many turns of an empty loop; the dearest costs about three."""

VARIABLES = {
    "source": 3,
    "context": {
        "s": "x" * 1_000_000,
        "l": list(range(100_000)),
        "m": {str(i): i for i in range(30_000)},
        "digits": "7" * 1_000_000,
        "hay": "a" * 29_999,
        "needle": "a" * 7_000 + "b" + "a" * 7_000,
        "part": "a" * 450 + "b" + "a" * 450,
        "words": "aB " * 3_000,
        "big": [{"a": {"b": [1, 2, 3]}}] * 1_000,
    },
}
DEEP_BLOCKS = "if true { " * 20 + "while true { source; source; source; source }" + " }" * 20

BOMBS = {
    "huge power": "9 ** 99999999",
    "growing power": "let x = 2; while true { x = x ** 3; }",
    "growing product": "let x = 3; while true { x = x * x; }",
    "large products": "let a = 2 ** 4000; while true { a * 1; a * 1; a * 1; a * 1; a * 1; a * 1 }",
    "large quotients": "let a = 2 ** 4000; let b = 3 ** 1200; while true { a / b; a / b; a / b; a / b }",
    "decimal powers": "while true { 1.0000001M ** 9999 }",
    "decimal text": "let d = 3M; while true { d = d * d / 7M; }",
    "float text": "while true { 1.1e300 + ''; 1.1e300 + ''; 1.1e300 + ''; 1.1e300 + '' }",
    "range as result": "range(0, 1000000000)",
    "range as text": "str(range(0, 1000000000))",
    "range into list": "into(seq.list(), range(0, 1000000000))",
    "range sorted": "sort(range(0, 1000000000))",
    "range reversed": "reverse(range(0, 1000000000))",
    "range distinct": "distinct(range(0, 1000000000))",
    "range concatenated": "concat(range(0, 1000000000))",
    "range searched": "include(range(0, 1000000000), -1)",
    "range joined": "string.join(range(0, 1000000000))",
    "range looped": "for i in range(0, 1000000000) { }",
    "range mapped": "map(range(0, 1000000000), -)",
    "endless loop": "while true { }",
    "nested loops": "for a in range(0, 9999) { for b in range(0, 9999) { for c in range(0, 9) { } } }",
    "long loop body": "while true { " + "source;" * 2000 + " }",
    "deep blocks": DEEP_BLOCKS,
    "growing list": "let l = seq.list(); while true { seq.add(l, 1); }",
    "growing map": "let m = seq.map(); let i = 0; while true { i = i + 1; seq.put(m, i, i); }",
    "doubling text": "let s = 'ab'; while true { s = s + s; }",
    "growing text": "let s = ''; while true { s = s + 'a'; }",
    "shared lists as text": "let l = seq.list('x'); for i in range(0, 60) { l = seq.list(l, l, l, l, l, l); } '' + l",
    "shared lists as result": "let l = seq.list('x'); for i in range(0, 60) { l = seq.list(l, l, l, l, l, l); } l",
    "large value many times": "let l = seq.list(); for i in range(0, 1000) { seq.add(l, context); } l",
    "list in itself": "let l = seq.list(); seq.add(l, l); l",
    "list in itself as text": "let l = seq.list(); seq.add(l, l); '' + l",
    "map in itself": "let m = seq.map(); m.m = m; m",
    "replace grows": "let s = 'aaaaaaaaaa'; while true { s = string.replace_all(s, 'a', 'aaaaaaaaaa'); }",
    "replace multiplies": "string.replace_all(context.s, 'x', context.s)",
    "replace by group": "string.replace_all(context.s, /(x*)/, '$1$1$1$1$1$1$1$1$1')",
    "alternatives": "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab' =~ /(a|a)*c/",
    "nested quantifiers": "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab' =~ /(a+)+c/",
    "many stars": "context.s =~ /.*.*.*.*y/",
    "failing search": "string.split(context.s, 'x*y')",
    "lookahead": "context.s =~ /(?=(x+)+y)x/",
    "back reference": "context.s =~ /(x*)\\1*y/",
    "many small matches": "while true { 'a' =~ /a/; 'a' =~ /a/; 'a' =~ /a/; 'a' =~ /a/ }",
    "large pattern": "let i = 0; while true { i = i + 1; string.split('a', '(a|b){400}' + i); }",
    "recursion": "fn f(n) { f(n + 1) } f(0)",
    "branching recursion": "fn f(n) { if n < 2 { 1 } else { f(n - 1) + f(n - 2) } } f(60)",
    "self application": "let f = lambda(g) -> g(g) end; f(f)",
    "endless throwing": "while true { try { throw 'x' } catch(e) { } }",
    "recursion in finally": "fn f(n) { try { f(n + 1) } finally { f(n + 1) } } f(0)",
    "unknown functions": "; ".join(f"try {{ nope{i}() }} catch(e) {{ }}" for i in range(500)),
    "unknown function in a loop": "while true { try { nope() } catch(e) { } }",
    "comparing large texts": "let a = context.s + 'a'; let b = context.s + 'a'; while true { a == b }",
    "large map keys": "let a = context.s + 'a'; let b = context.s + 'a'; let m = seq.map(a, 1); while true { m[b] }",
    "long prefixes": "let a = context.s + 'a'; let b = context.s + 'a'; while true { string.startsWith(a, b) }",
    "searching large texts": "while true { string.contains(context.s, 'xxxxxxxxxxxxxxxxxy') }",
    "cutting large texts": "while true { string.substring(context.s, 1) }",
    "long date formats": "while true { date_to_string(0, '" + "yM" * 90 + "') }",
    "entries of a map": "while true { for e in context.m { } }",
    "keys of a map": "while true { seq.keys(context.m) }",
    "writing out input": "seq.add(context.l, 1); while true { str(context.l) }",
    "sorting input": "while true { sort(context.l) }",
    "sorting large texts": "let a = context.s + 'a'; let b = context.s + 'a'; "
    "let l = seq.list(); for i in range(0, 3000) { seq.add(l, a); seq.add(l, b); } while true { sort(l) }",
    "removing from input": "while true { seq.remove(context.l, -1) }",
    "many equalities": "1" + " == 1" * 3000,
    "many properties": "context" + ".a" * 3000,
    "decimal to integer": "long(1e6000M)",
    "float sums": "while true { 1.5+1.5+1.5+1.5+1.5+1.5+1.5+1.5 }",
    "decimals and floats": "while true { 5e-324 == 1.5M; 5e-324 < 1.5M; 1e6000M < 2**4000 }",
    "digits that are no number": "while true { try { long(context.digits) } catch(e) { } }",
    "long part of a short text": "while true { string.indexOf(context.hay, context.needle) }",
    "splitting by a long part": "while true { string.split(context.hay, context.part) }",
    "replacing a long part": "while true { string.replace_all(context.hay, context.part, '') }",
    "numbers with one hash": "let s = seq.set(); let p = 2**61-1; let i = 2**70; "
    "while true { i = i + 1; seq.add(s, i * p); }",
    "decimals with one hash": "let s = seq.set(); let p = 2305843009213693951M; let i = 1M; "
    "while true { i = i + 1M; seq.add(s, i * p); }",
    "large integers as text": "let l = seq.list(); let b = 2**4000; for i in range(0, 20000) { seq.add(l, b); } str(l)",
    "large integers as result": "let l = seq.list(); let b = 2**4000; for i in range(0, 20000) { seq.add(l, b); } l",
    "broken patterns": "while true { try { string.split('a', '(a|b){1999}(') } catch(e) { } }",
    "too large patterns": "while true { try { string.split('a', '((a|b){100}){100}') } catch(e) { } }",
    "endless empty groups": "string.split('a', '(?:(?:(?:(?:){9999}){9999}){9999}){9999}')",
    "classes of many ranges": "while true { context.s =~ /[\\u4e00-\\u4e05\\u5000-\\u5fff\\u6000-\\u6005\\w]*/ }",
    "properties without case": "while true { context.digits =~ /(?i)[\\p{Lu}\\p{Ll}\\P{N}\\p{Nd}]*/ }",
    "groups": "while true { 'a' =~ /" + "()" * 250 + "a/ }",
    "lookahead with groups": "while true { 'aaaa' =~ /" + "()" * 200 + "(?=a)" * 20 + "a*/ }",
    "word bounds": "while true { context.words =~ /(?:\\b[aB]+\\b )*/ }",
    "unwinding": "fn f(n) { if n < 1 { throw 'x' } else { f(n - 1) } } while true { try { f(60) } catch(e) { } }",
    "texts of input": "while true { str(context.big) }",
    "replacements with escapes": "while true { string.replace_all('abc', /b/, '" + "\\\\" * 400 + "') }",
}


def run(text: str) -> tuple[int, float, ExpressionError | None]:
    """Return the steps, the microseconds of processor time and the error of one run."""
    expression = compile_expression(text)
    meter = Meter(Budget().steps, Budget().total_bytes)
    began = time.process_time()
    error = None
    try:
        expression(VARIABLES, meter=meter)
    except ExpressionError as raised:
        error = raised
    return meter.steps - meter.steps_left, (time.process_time() - began) * 1e6, error


def us_per_step(text: str) -> float:
    steps, took, _ = run(text)
    return took / steps


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_end_with_an_error_and_their_steps_are_cheap(name: str) -> None:
    plain = us_per_step("while true { }")
    steps, took, error = run(BOMBS[name])
    harmless = ("contains itself", "too large for an integer", "more than 2000 parts")
    assert error is not None and error.message
    assert isinstance(error, BudgetExceeded) or any(text in error.message for text in harmless)
    # What is compiled inside costs time too, and a first call warms the machine up.
    assert took <= PLAIN_TURNS * plain * (steps + 2_000)


@pytest.mark.parametrize(
    "text",
    ["!" * 60_000 + "true", "(" * 30_000, "f(" * 20_000, "a?b:" * 15_000 + "c", "1" * 60_000, "'a' =~ /(x?){1000}/",
     "a=" * 30_000 + "1", "if a {" * 9_000, "lambda()->" * 6_000, "x" * 70_000, "2**" * 20_000 + "2"],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_hostile_text_is_a_syntax_error(text: str) -> None:
    with pytest.raises(ExpressionSyntaxError):
        compile_expression(text)


@pytest.mark.parametrize("unit", ["a?b:", "-a", "a;", "f(", "/a|b/;", "'#{a}'+", "a["])
def test_compiling_is_linear(unit: str) -> None:
    def took(count: int) -> float:
        began = time.process_time()
        try:
            compile_expression(unit * count)
        except ExpressionSyntaxError:
            pass
        return time.process_time() - began

    took(10)
    short = min(took(500) for _ in range(3))
    assert took(4_000) < 8 * short * 5
