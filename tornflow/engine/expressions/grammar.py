"""Text -> syntax tree. The lexer is contextual: a ``/`` after an operand divides, elsewhere it opens a pattern."""

from __future__ import annotations

from functools import cache

# Not at the top: lark takes 0.1 s to import, the grammar as long to build, and most processes that import the engine
# (command line, tests) never compile an expression.
from typing import TYPE_CHECKING, Any

from tornflow.engine.expressions.budget import Budget
from tornflow.engine.expressions.errors import ExpressionSyntaxError

if TYPE_CHECKING:
    from lark import Lark, Token, Tree
    from lark.exceptions import UnexpectedInput

GRAMMAR = r"""
start: body
body: item* tail?
?item: simple ";" -> dropped
    | compound
    | ";" -> empty
tail: simple
?simple: "let" NAME "=" rhs -> let
    | "return" [rhs] -> return_
    | "throw" expr -> throw
    | "break" -> break_
    | "continue" -> continue_
    | expr
?rhs: expr | if_
?compound: if_
    | "while" expr block -> while_
    | "for" NAME ["," NAME] "in" expr block -> for_
    | "try" block [catch] ["finally" block] -> try_
    | "fn" NAME "(" params ")" block -> fn
    | block
if_: "if" expr block ("elsif" expr block)* ["else" block]
catch: "catch" "(" NAME ")" block
block: "{" body "}"
params: [NAME ("," NAME)*]

?expr: ternary
    | postfix "=" expr -> assign
?ternary: disjunction
    | disjunction "?" expr ":" ternary -> choose
?disjunction: conjunction (OR conjunction)*
?conjunction: bit_or (AND bit_or)*
?bit_or: bit_xor (BIT_OR bit_xor)*
?bit_xor: bit_and (BIT_XOR bit_and)*
?bit_and: equality (BIT_AND equality)*
?equality: relation ((EQ | NE | MATCH) relation)*
?relation: shift ((LT | LE | GT | GE) shift)*
?shift: sum ((SHIFT_LEFT | SHIFT_RIGHT | SHIFT_ZERO) sum)*
?sum: product ((PLUS | MINUS) product)*
?product: unary ((STAR | SLASH | PERCENT) unary)*
?unary: power
    | (MINUS | NOT | BIT_NOT) unary -> prefix
?power: postfix (POWER unary)?
?postfix: atom
    | atom trailer+ -> postfix
?trailer: "." NAME -> prop
    | "." "[" expr "]" -> index
    | "[" expr "]" -> index
    | "(" [arg ("," arg)*] ")" -> call
?arg: expr
    | operator
operator: PLUS | MINUS | STAR | OP_SLASH | PERCENT | POWER | EQ | NE | LT | LE | GT | GE | MATCH | AND | OR | NOT
    | BIT_AND | BIT_OR | BIT_XOR | BIT_NOT | SHIFT_LEFT | SHIFT_RIGHT | SHIFT_ZERO
?atom: NAME -> name
    | "#" NAME -> name
    | NUMBER -> number
    | STRING -> string
    | REGEX -> regex
    | "true" -> true
    | "false" -> false
    | "nil" -> nil
    | "(" expr ")"
    | "lambda" "(" params ")" "->" body "end" -> lambda_
    | "fn" "(" params ")" block -> lambda_

OR: "||"
AND: "&&"
BIT_OR: "|"
BIT_XOR: "^"
BIT_AND: "&"
EQ: "=="
NE: "!="
MATCH: "=~"
LT: "<"
LE: "<="
GT: ">"
GE: ">="
SHIFT_LEFT: "<<"
SHIFT_RIGHT: ">>"
SHIFT_ZERO: ">>>"
PLUS: "+"
MINUS: "-"
STAR: "*"
SLASH: "/"
OP_SLASH.5: /\/(?=\s*[,)])/
PERCENT: "%"
POWER: "**"
NOT: "!"
BIT_NOT: "~"
NAME: /(?:[^\W\d]|\$)[\w$]*/
NUMBER: /0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?[MN]?/
STRING: /'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"/s
REGEX: /\/(?:\\.|[^\/\\\n])+\//
%ignore /\s+/
%ignore /##[^\n]*/
"""


def parse(text: str, budget: Budget) -> Tree[Token]:
    """The tree of ``text``; its node names are the rule names and aliases of GRAMMAR.

    Raises:
        ExpressionSyntaxError: not an expression, longer than ``source_chars`` or nested deeper than ``nesting``.
    """
    from lark.exceptions import UnexpectedInput

    if len(text) > budget.source_chars:
        raise ExpressionSyntaxError(f"longer than {budget.source_chars} characters", 1, 1)
    try:
        tree = build_parser().parse(text)
    except UnexpectedInput as error:
        raise _syntax_error(error, text) from None
    _check_nesting(tree, budget.nesting)
    return tree


@cache
def build_parser() -> Lark:
    """The one parser of this process; building it takes 0.1 s."""
    from lark import Lark

    return Lark(GRAMMAR, parser="lalr", lexer="contextual", propagate_positions=True, maybe_placeholders=True)


def _syntax_error(error: UnexpectedInput, text: str) -> ExpressionSyntaxError:
    from lark.exceptions import UnexpectedToken

    token = error.token if isinstance(error, UnexpectedToken) else None
    if token is not None and token.type == "$END":
        lines = text.split("\n")
        return ExpressionSyntaxError("unexpected end of the expression", len(lines), len(lines[-1]) + 1)
    found = str(token) if token is not None else text[error.pos_in_stream or 0]
    shown = found if len(found) <= 40 else found[:40] + "..."
    return ExpressionSyntaxError(f"unexpected {shown!r}", error.line, error.column)


def _check_nesting(tree: Tree[Token], limit: int) -> None:
    # Iterative, because a recursive check would itself be what the limit protects from.
    todo: list[tuple[Any, int]] = [(tree, 1)]
    while todo:
        node, depth = todo.pop()
        if depth > limit:
            raise ExpressionSyntaxError(f"nested deeper than {limit} levels", node.meta.line, node.meta.column)
        todo.extend((child, depth + 1) for child in node.children if hasattr(child, "data"))
