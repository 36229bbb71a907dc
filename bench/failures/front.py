"""Requests to whichever node, as clients behind a balancer without health checks make them; refusals are counted."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.wire import Broken, Client

TIMEOUT_S = 8.0
_NOBODY = ("Connect call failed", "Connection refused")
"""asyncio's and uvloop's words."""
_VARIABLE = re.compile(r"[a-zA-Z]*:[\w:-]{6,}|https?://\S+|\b[0-9a-f-]{12,}\b|\d+|'[^']*'")


@dataclass(frozen=True, slots=True)
class Heard:
    """``status`` 0: no answer came. ``text`` is the body, or why there is none."""

    status: int
    text: str

    @property
    def is_unsent(self) -> bool:
        """Nobody listened: the request was certainly not carried out."""
        return self.status == 0 and any(words in self.text for words in _NOBODY)

    @property
    def is_unknown(self) -> bool:
        """It may have been carried out."""
        return (self.status == 0 and not self.is_unsent) or (self.status >= 500 and "unknown" in self.text)

    def json(self) -> Any:
        try:
            return json.loads(self.text)
        except ValueError:
            return None


@dataclass(slots=True)
class Front:
    """``ports`` are those of all nodes, the dead ones too."""

    chance: random.Random
    ports: list[int] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    """Answers that were not a success by operation, status and text without its variable parts."""
    _clients: dict[int, Client] = field(default_factory=dict)

    async def post(self, operation: str, target: str, body: bytes, headers: bytes = b"") -> Heard:
        return await self._ask(operation, self.chance.choice(self.ports), target, body, headers)

    async def get(self, target: str, ports: Sequence[int] = ()) -> Heard:
        return await self._ask("view", self.chance.choice(ports or self.ports), target, None, b"")

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    async def _ask(self, operation: str, port: int, target: str, body: bytes | None, headers: bytes) -> Heard:
        client = self._clients.setdefault(port, Client(port, TIMEOUT_S))
        try:
            status, reply = await (client.get(target) if body is None else client.post(target, body, headers))
        except Broken as error:
            heard = Heard(0, str(error))
        else:
            heard = Heard(status, reply.decode("utf-8", "replace"))
        if not 200 <= heard.status < 300:
            self.refusals[f"{operation} {heard.status or 'cut'}: {_plain(heard)}"] += 1
        return heard


def _plain(heard: Heard) -> str:
    document = heard.json()
    text = heard.text
    if isinstance(document, dict):
        code = document.get("error_code", document.get("errorCode", ""))
        text = f"{code} {document.get('error', document.get('message', ''))}"
    elif heard.is_unsent:
        text = "connection refused"
    code, _, rest = text.partition(" ")
    return f"{code} {_VARIABLE.sub('…', rest)}"[:160].strip()
