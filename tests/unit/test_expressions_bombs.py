"""Hostile scripts, one by one: each ends with a clear error, quickly, without any clock.

The slowest takes about 0.4 s here; the limit is generous because test machines are busy.
"""

from __future__ import annotations

import time

import pytest

from tornflow.engine.expressions import BudgetExceeded, ExpressionError, ExpressionSyntaxError, compile_expression

LIMIT_S = 5.0
VARIABLES = {
    "source": 3,
    "context": {"s": "x" * 1_000_000, "l": list(range(100_000)), "m": {str(i): i for i in range(30_000)}},
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
}


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_ends_with_an_error_in_time(name: str) -> None:
    expression = compile_expression(BOMBS[name])
    began = time.perf_counter()
    with pytest.raises(ExpressionError) as error:
        expression(VARIABLES)
    assert time.perf_counter() - began < LIMIT_S
    assert error.value.message
    harmless = ("contains itself", "too large for an integer", "more than 2000 parts")
    assert isinstance(error.value, BudgetExceeded) or any(text in error.value.message for text in harmless)


@pytest.mark.parametrize(
    "text",
    ["!" * 60_000 + "true", "(" * 30_000, "f(" * 20_000, "a?b:" * 15_000 + "c", "1" * 60_000, "'a' =~ /(x?){1000}/",
     "a=" * 30_000 + "1", "if a {" * 9_000, "lambda()->" * 6_000, "x" * 70_000, "2**" * 20_000 + "2"],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_hostile_text_is_a_syntax_error_in_time(text: str) -> None:
    began = time.perf_counter()
    with pytest.raises(ExpressionSyntaxError):
        compile_expression(text)
    assert time.perf_counter() - began < LIMIT_S
