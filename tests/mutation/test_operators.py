"""The defects themselves: each changes the program, all can be compiled, a seed always names the same ones."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.mutation.operators import broken, mutations
from tests.mutation.places import RUNTIME, draw, places, statement_at

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLE = '''
async def work(self, items, limit=3):
    """Text."""
    with self.lock:
        await self.save(items)
    total = 0
    for item in items:
        if item.size > limit and not item.done or item is None:
            raise ValueError(item)
        total += item.size + 1
        self.seen[item] = True
    try:
        self.close()
    except OSError:
        self.broken = total
    finally:
        self.open = False
    while total:
        total -= 1
        break
    return total if items else None
'''


def test_every_defect_of_a_sample_changes_it_and_can_be_compiled() -> None:
    tree = ast.parse(SAMPLE)
    right, found = ast.unparse(tree), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            for number, (what, _) in enumerate(mutations(node)):
                wrong = ast.unparse(broken(tree, node.lineno, node.col_offset, number))
                compile(wrong, "sample", "exec")
                assert wrong != right, what
                found.add(what)
    assert ast.unparse(tree) == right, "the original stays as it was"
    assert found >= {
        "drop the awaited call", "drop the call", "drop the raise", "drop the line", "drop the loop", "drop the with",
        "drop the finally", "catch nothing", "negate the condition", "never take the branch", "swap and/or",
        "drop one condition", "negate the comparison", "move the bound by one", "one more", "flip the truth value",
        "return nothing", "drop the not",
    }  # fmt: skip


def test_a_seed_names_the_same_places_and_enough_of_them_are_in_the_runtime() -> None:
    first, second = draw(ROOT, seed=7, count=60), draw(ROOT, seed=7, count=60)
    assert first == second != draw(ROOT, seed=8, count=60)
    assert len({one.place for one in first}) == 60
    assert sum(one.place.file.startswith(RUNTIME) for one in first) >= 25
    assert [one.place for one in first] != places(ROOT)[:60]
    for one in first:
        tree = ast.parse((ROOT / one.place.file).read_text("utf-8"))
        assert mutations(statement_at(tree, one.place))[one.number][0] == one.what
