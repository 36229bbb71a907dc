"""Syntax tree -> closures. Recursive; the depth of the tree was limited when it was parsed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from tornflow.engine.expressions import flow, literals, nodes
from tornflow.engine.expressions.budget import Budget
from tornflow.engine.expressions.errors import ExpressionError, ExpressionSyntaxError
from tornflow.engine.expressions.grammar import parse
from tornflow.engine.expressions.nodes import Env, Node, Place
from tornflow.engine.expressions.operators import operator_function
from tornflow.engine.expressions.values import Function, render

if TYPE_CHECKING:
    from lark import Token, Tree

NODES_PER_STEP = 8
"""A loop turn or call costs one step, and one more for every so many nodes of its body: long bodies are not free."""

_WEIGHTS: Mapping[str, int] = {
    "assign": 2, "block": 3, "bit_and": 4, "bit_or": 4, "bit_xor": 4, "choose": 2, "if_": 2, "fn": 12, "lambda_": 12,
    "power": 4, "prefix": 3, "product": 1, "relation": 1, "return_": 2, "shift": 4, "throw": 24, "try_": 10,
}  # fmt: skip
"""What a node counts more than one; a plain name or constant is one node, about 0.1 microseconds."""

_SLOW_OPERATOR = 4
_SHORT_OPERATORS = frozenset(("+", "-", "*", "<", "=="))
_INDEXED = 5
_MATCHED = 16
_JOINED = 5

_CHAINS = frozenset(("bit_or", "bit_xor", "bit_and", "shift", "sum", "product", "power"))
_NEAREST_STEPS = 1000
_NAMESPACES = frozenset(("string", "math", "seq"))


def compile_tree(tree: Tree[Token], budget: Budget, builtins: Mapping[str, Function]) -> tuple[Node, int]:
    """The script as one closure, and what running it once costs in steps.

    Raises:
        ExpressionSyntaxError: the tree means nothing (``break`` outside a loop, a broken pattern, ...).
    """
    compiler = _Compiler(budget, builtins)
    compiler.learn_names(tree)
    return compiler.node(tree), compiler.cost()


class _Compiler:
    def __init__(self, budget: Budget, builtins: Mapping[str, Function]) -> None:
        self.budget = budget
        self.builtins = builtins
        self.assigned: set[str] = set()
        self.count = 0
        self.loops = 0
        self.blocks = -1
        self.inside: Place | None = None
        self.methods: dict[str, Callable[[Any], Node]] = {
            "start": lambda tree: self.node(tree.children[0]),
            "tail": lambda tree: self.node(tree.children[0]),
            "body": self._body,
            "block": lambda tree: flow.block(self.node(tree.children[0])),
            "dropped": lambda tree: flow.dropped(self.node(tree.children[0])),
            "empty": lambda tree: nodes.constant(None),
            "let": lambda tree: flow.let(str(tree.children[0]), self.node(tree.children[1])),
            "return_": self._return,
            "throw": lambda tree: flow.throw(self.node(tree.children[0]), self._place(tree)),
            "break_": lambda tree: self._leave(tree, flow.Signal.BREAK),
            "continue_": lambda tree: self._leave(tree, flow.Signal.CONTINUE),
            "if_": self._if,
            "while_": self._while,
            "for_": self._for,
            "try_": self._try,
            "fn": self._fn,
            "lambda_": lambda tree: self._function("lambda", tree.children[0], tree.children[1]),
            "assign": self._assign,
            "choose": self._choose,
            "disjunction": lambda tree: nodes.any_of([self._test(child) for child in tree.children[::2]]),
            "conjunction": lambda tree: nodes.all_of([self._test(child) for child in tree.children[::2]]),
            "equality": self._equality,
            "relation": self._chain,
            "prefix": self._prefix,
            "postfix": lambda tree: self._postfix(tree.children),
            "operator": lambda tree: nodes.constant(self._operator(tree)),
            "name": self._name,
            "number": lambda tree: nodes.constant(self._literal(tree, literals.number)),
            "string": self._string,
            "regex": lambda tree: nodes.constant(self._literal(tree, literals.pattern)),
            "true": lambda tree: nodes.constant(True),
            "false": lambda tree: nodes.constant(False),
            "nil": lambda tree: nodes.constant(None),
        }
        self.methods.update(dict.fromkeys(_CHAINS, self._chain))

    def learn_names(self, tree: Tree[Token]) -> None:
        """Collect every name that the script gives a value to: only those can shadow a built-in function."""
        for part in tree.iter_subtrees():
            target: Any = part.children[0] if part.children else None
            if part.data == "assign" and rule_of(target) == "name":
                self.assigned.add(str(target.children[0]))
            elif part.data in ("let", "fn", "for_", "catch", "params"):
                self.assigned.update(str(child) for child in part.children if isinstance(child, str))

    def node(self, tree: Any) -> Node:
        self.count += 1 + _WEIGHTS.get(tree.data, 0)
        return self.methods[tree.data](tree)

    def cost(self) -> int:
        return 1 + self.count // NODES_PER_STEP

    def _place(self, tree: Any) -> Place:
        return self.inside or (tree.meta.line, tree.meta.column)

    @contextmanager
    def _counted(self, loops: int) -> Iterator[None]:
        # A body pays for itself each time it runs, so it is no part of what surrounds it.
        kept = self.count, self.loops
        self.count, self.loops = 0, loops
        yield
        self.count, self.loops = kept

    def _test(self, tree: Any) -> Callable[[Env], bool]:
        return nodes.condition(self.node(tree), self._place(tree))

    def _name(self, tree: Any) -> Node:
        # Looking outwards through many blocks takes time.
        self.count += self.blocks
        return nodes.read_name(str(tree.children[0]), self.builtins)

    def _body(self, tree: Any) -> Node:
        self.blocks += 1
        statements = [self.node(child) for child in tree.children if child is not None]
        self.blocks -= 1
        return flow.body(statements) if statements else nodes.constant(None)

    def _return(self, tree: Any) -> Node:
        value = tree.children[0]
        return flow.give_back(nodes.constant(None) if value is None else self.node(value))

    def _leave(self, tree: Any, signal: flow.Signal) -> Node:
        if not self.loops:
            raise ExpressionSyntaxError(f"{signal.name.lower()} outside a loop", *self._place(tree))
        return nodes.constant(signal)

    def _if(self, tree: Any) -> Node:
        *pairs, otherwise = tree.children
        branches = [(self._test(test), self.node(block)) for test, block in zip(pairs[::2], pairs[1::2], strict=True)]
        return flow.decide(branches, nodes.constant(None) if otherwise is None else self.node(otherwise))

    def _while(self, tree: Any) -> Node:
        with self._counted(self.loops + 1):
            # The body has a block of its own from the loop; the condition is run every turn too.
            test, inner = self._test(tree.children[0]), self.node(tree.children[1].children[0])
            cost = self.cost()
        return flow.repeat(test, inner, cost)

    def _for(self, tree: Any) -> Node:
        first, second, collection, block = tree.children
        source = self.node(collection)
        with self._counted(self.loops + 1):
            inner = self.node(block.children[0])
            cost = self.cost()
        names = [str(first)] if second is None else [str(first), str(second)]
        return flow.go_through(names, source, inner, cost, self._place(collection))

    def _try(self, tree: Any) -> Node:
        inner, catch, finally_ = tree.children
        if catch is None and finally_ is None:
            raise ExpressionSyntaxError("try without catch or finally", *self._place(tree))
        name = "" if catch is None else str(catch.children[0])
        caught = None if catch is None else self.node(catch.children[1].children[0])
        last = None if finally_ is None else self.node(finally_.children[0])
        return flow.attempt(self.node(inner.children[0]), name, caught, last)

    def _fn(self, tree: Any) -> Node:
        name = str(tree.children[0])
        return flow.dropped(flow.let(name, self._function(name, tree.children[1], tree.children[2])))

    def _function(self, name: str, params: Any, inner: Any) -> Node:
        names = [str(param) for param in params.children if param is not None]
        if len(set(names)) < len(names):
            raise ExpressionSyntaxError(f"{name} has two parameters of one name", *self._place(inner or params))
        with self._counted(0):
            body = self.node(inner)
            cost = self.cost()
        return flow.function(name, names, body, cost)

    def _assign(self, tree: Any) -> Node:
        target, value = tree.children
        if target.data == "name":
            self.count += self.blocks
            return nodes.assign_name(str(target.children[0]), self.node(value))
        last = target.children[-1] if target.data == "postfix" else None
        if last is None or last.data == "call":
            raise ExpressionSyntaxError("only names, elements and entries can be assigned to", *self._place(tree))
        key = nodes.constant(str(last.children[0])) if last.data == "prop" else self.node(last.children[0])
        self.count += 2 * _INDEXED
        return nodes.write_index(self._postfix(target.children[:-1]), key, self.node(value), self._place(target))

    def _choose(self, tree: Any) -> Node:
        test, yes, no = tree.children
        return nodes.choose(self._test(test), self.node(yes), self.node(no))

    def _equality(self, tree: Any) -> Node:
        value = self.node(tree.children[0])
        for token, operand in zip(tree.children[1::2], tree.children[2::2], strict=True):
            self._weigh_operators([token])
            if str(token) == "=~":
                self.count += _MATCHED
                value = nodes.match(value, self.node(operand), self._token_place(token))
            else:
                value = nodes.binary(str(token), value, self.node(operand), self._token_place(token))
        return value

    def _chain(self, tree: Any) -> Node:
        self._weigh_operators(tree.children[1::2])
        pairs = zip(tree.children[1::2], tree.children[2::2], strict=True)
        rest = [(str(token), self.node(operand), self._token_place(token)) for token, operand in pairs]
        return nodes.chain(self.node(tree.children[0]), rest)

    def _weigh_operators(self, tokens: Sequence[Any]) -> None:
        # One of the common operators alone has a short way (nodes.binary).
        is_short = len(tokens) == 1 and str(tokens[0]) in _SHORT_OPERATORS
        self.count += 0 if is_short else _SLOW_OPERATOR * len(tokens)

    def _token_place(self, token: Any) -> Place:
        return self.inside or (token.line, token.column)

    def _prefix(self, tree: Any) -> Node:
        return nodes.unary(str(tree.children[0]), self.node(tree.children[1]), self._place(tree))

    def _operator(self, tree: Any) -> Function:
        symbol = str(tree.children[0])
        if symbol == "=~":
            raise ExpressionSyntaxError("=~ cannot be passed as a function", *self._place(tree))
        return operator_function(symbol)

    def _literal(self, tree: Any, read: Callable[[str], Any]) -> Any:
        try:
            return read(str(tree.children[0]))
        except ExpressionSyntaxError as error:
            raise error.place(*self._place(tree)) from None

    def _string(self, tree: Any) -> Node:
        pieces = self._literal(tree, literals.string_pieces)
        if len(pieces) == 1:
            return nodes.constant(pieces[0][0])
        self.count += _JOINED * len(pieces)
        parts = [self._inner(text, tree) if is_code else nodes.constant(text) for text, is_code in pieces]

        def join(env: Env) -> str:
            texts = [render(env.run, part(env)) for part in parts]
            env.run.allocate(sum(map(len, texts)))
            return "".join(texts)

        return join

    def _inner(self, source: str, tree: Any) -> Node:
        """The expression in ``'...#{source}...'``; its errors are reported at the string."""
        kept = self.inside
        self.inside = self._place(tree)
        try:
            inner = parse(source, self.budget)
            self.learn_names(inner)
            if not _is_expression(inner):
                raise ExpressionSyntaxError("only one expression fits here")
            return flow.block(self.node(inner))
        except ExpressionSyntaxError as error:
            raise ExpressionSyntaxError(f"in #{{{source}}}: {error.message}", *self.inside) from None
        finally:
            self.inside = kept

    def _postfix(self, children: Any) -> Node:
        """A name or value followed by ``.name``, ``[index]`` and ``(arguments)``."""
        dotted, taken = self._dotted(children)
        place = self._place(children[0])
        if taken < len(children) and children[taken].data == "call":
            value = self._call_named(dotted, children, taken, place) if dotted else None
            taken = taken + 1 if value else 1
        else:
            value = nodes.constant(self.builtins[dotted]) if taken > 1 and dotted in self.builtins else None
            taken = taken if value else 1
        value = value or self.node(children[0])
        for trailer in children[taken:]:
            value = self._trailer(value, trailer)
        return value

    def _dotted(self, children: Any) -> tuple[str, int]:
        """``a.b.c`` at the beginning as one text, and how many children it takes."""
        if children[0].data != "name":
            return "", 1
        taken = 1
        while taken < len(children) and children[taken].data == "prop":
            taken += 1
        return ".".join(str(child.children[0]) for child in children[:taken]), taken

    def _call_named(self, name: str, children: Any, taken: int, place: Place) -> Node | None:
        arguments = [child for child in children[taken].children if child is not None]
        if name == "is_def" and len(arguments) == 1:
            return self._is_defined(arguments[0])
        if name == "seq.array" and arguments:
            # The type is a name such as java.lang.String and no variable.
            return nodes.call(lambda env: self.builtins["seq.list"], [self.node(a) for a in arguments[1:]], place)
        builtin = self.builtins.get(name)
        if name == "seq.array_of" and len(arguments) == 2 and rule_of(arguments[0]) == "name":
            filler = nodes.constant(str(arguments[0].children[0]))
            return nodes.call(lambda env: self.builtins[name], [filler, self.node(arguments[1])], place)
        if builtin is not None and name not in self.assigned:
            return nodes.call(lambda env: builtin, [self.node(argument) for argument in arguments], place)
        callee = None
        if name.split(".")[0] not in _NAMESPACES:
            callee = self._postfix(children[:taken]) if taken > 1 else self.node(children[0])
        find = _finder(name, callee, builtin, self.builtins)
        return nodes.call(find, [self.node(argument) for argument in arguments], place)

    def _is_defined(self, argument: Any) -> Node:
        if argument.data == "name":
            name = str(argument.children[0])
            return lambda env: nodes.holder(env, name) is not None or name in self.builtins
        return flow.succeeds(self.node(argument))

    def _trailer(self, base: Node, trailer: Any) -> Node:
        self.count += 1
        place = self._place(trailer)
        if trailer.data == "prop":
            self.count += 1
            return nodes.read_property(base, str(trailer.children[0]), place)
        if trailer.data == "index":
            self.count += _INDEXED
            return nodes.read_index(base, self.node(trailer.children[0]), place)
        arguments = [self.node(child) for child in trailer.children if child is not None]
        return nodes.call(_finder("this", base, None, {}), arguments, place)


def rule_of(tree: Any) -> str:
    """The rule name of a tree, "" for a token or nothing."""
    return "" if tree is None or isinstance(tree, str) else str(tree.data)


def _is_expression(tree: Any) -> bool:
    statements = tree.children[0].children
    last: Any = statements[-1] if statements else None
    if len(statements) != 1 or rule_of(last) != "tail":
        return False
    return rule_of(last.children[0]) not in ("let", "return_", "throw", "break_", "continue_")


def _finder(
    name: str, callee: Node | None, fallback: Function | None, known: Mapping[str, Function]
) -> Callable[[Env], Function]:
    """Finds the function to call at run time; an unknown one is an error of the run, not of the text (rill-dsl 5.7)."""

    @cache
    def nearest() -> str:
        last = name[:60].rpartition(".")[2]
        same = [candidate for candidate in known if candidate.rpartition(".")[2] == last]
        return (same or difflib.get_close_matches(name[:60], known, n=1, cutoff=0.0))[0]

    def find(env: Env) -> Function:
        value = callee(env) if callee else None
        if isinstance(value, Function):
            return value
        if fallback is not None:
            return fallback
        if not known:
            raise ExpressionError("this is not a function")
        # The search for the nearest name takes about a millisecond, once per place in the text.
        if not nearest.cache_info().currsize:
            env.run.charge(_NEAREST_STEPS)
        raise ExpressionError(f"unknown function {name[:60]}; the nearest known one is {nearest()}")

    return find
