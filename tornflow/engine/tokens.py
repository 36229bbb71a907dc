"""The token of an attempt: what its callback URL carries, so that a late callback is not taken for a present one.

``<attempt number>.<12 hexadecimal digits that stand for life and run>``. It is no secret: it tells attempts apart, it
does not say who may complete them.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

from tornflow.model.generation import Generation


def attempt_token(generation: Generation, attempt: int) -> str:
    """Return the token of one attempt of a task in a scope of this generation."""
    return f"{attempt}.{_digest(generation)}"


def number_in(token: str) -> str:
    """Return the attempt number that a token names, "?" where it is none of ours; for messages only."""
    number = token.partition(".")[0]
    return number if number.isdecimal() and len(number) < 10 else "?"


@lru_cache(maxsize=4096)
def _digest(generation: Generation) -> str:
    return blake2b("/".join(map(str, generation)).encode(), digest_size=6).hexdigest()
