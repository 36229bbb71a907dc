"""How things look in MongoDB. Field names are short because every document repeats them.

scopes   _id  text of execution id and path (``joined``)
         r    revision            g  generation: the token of the write that created this incarnation
         L    life; missing: ""   o  owners: null, the only one, or a list
         b    head                d  due_at, null     s  summary (roots only)     k  idempotency key
         h    tokens of the last writes, by revision modulo 8: tells afterwards whether an interrupted write arrived
         l    log of part changes that are not yet in ``parts``: [{r, p: [[name, body | null], ...]}]
         sp   true once parts were moved out         z  true while what hangs on this scope must be removed
         og   with ``z``: the earlier generation of a root, whose parts must go
         t    token of a root's removal, in a *tombstone*: r = -1, which is no scope to any reader (see removal.py)
         x    only in one sentinel document, under a unique index (see ``update_of``)
parts    _id  "<generation>:<name>"    r  revision that wrote it    v  body, null when deleted
records  _id  text of kind and key     key, body
nodes    _id  node id     started_at, seen_at, address
meta     _id  "schema"    version
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import ExecutionQuery, ScopeWrite, Summary, Target

Document = dict[str, Any]

TOKEN_SLOTS = 8
TOMBSTONE = -1  # in place of a revision: no write expects it
SENTINEL: Document = {"_id": "", "x": 1}
_LEAST = -(2**63)
_FIELDS = {
    "business": "s.b", "feature": "s.f", "code": "s.c", "family": "s.fam", "workflow_name": "s.w", "parent_id": "s.p",
}  # fmt: skip

INDEXES: list[Document] = [
    {"name": "sentinel", "key": {"x": 1}, "unique": True, "sparse": True},
    {"name": "idempotency", "key": {"k": 1}, "unique": True, "sparse": True},
    {"name": "owners", "key": {"o": 1, "_id": 1}, "partialFilterExpression": {"o": {"$gt": ""}}},
    {"name": "due", "key": {"d": 1}, "partialFilterExpression": {"d": {"$gte": _LEAST}}},
    {"name": "purge", "key": {"z": 1}, "sparse": True},
    {"name": "time", "key": {"s.at": -1, "s.e": -1}, "partialFilterExpression": {"s.at": {"$gte": _LEAST}}},
    {
        "name": "status",
        "key": {"s.st": 1, "s.at": -1, "s.e": -1},
        "partialFilterExpression": {"s.at": {"$gte": _LEAST}},
    },
    {
        "name": "business",
        "key": {"s.b": 1, "s.f": 1, "s.at": -1, "s.e": -1},
        "partialFilterExpression": {"s.at": {"$gte": _LEAST}},
    },
    {"name": "expiry", "key": {"s.exp": 1}, "partialFilterExpression": {"s.exp": {"$gte": _LEAST}}},
    {
        "name": "descriptor",
        "key": {"s.md5": 1, "s.at": -1, "s.e": -1},
        "partialFilterExpression": {"s.md5": {"$gt": ""}},
    },
    {"name": "parent", "key": {"s.p": 1}, "partialFilterExpression": {"s.p": {"$gt": ""}}},
]


@dataclass(frozen=True, slots=True)
class Update:
    """One operation of an ``update`` command, and what is needed to judge its answer."""

    id: str
    write: ScopeWrite
    token: int
    statement: Document
    size: int  # bytes of head and parts
    parts_size: int


def joined(first: str, second: str) -> str:
    """Join two texts so that no other pair gives the same, and pairs with one ``first`` lie together, by ``second``."""
    return f"{len(first)}:{first}{second}"


def split(id_: str) -> ScopeKey:
    length, _, rest = id_.partition(":")
    return ScopeKey(rest[: int(length)], rest[int(length) :])


def update_of(write: ScopeWrite, token: int, replaced: int | None = None) -> Update:
    """Compare-and-set in one statement whose failure is visible.

    The filter names the expected revision and life, for a fresh write also the generation that it ``replaced``, and the
    statement is an upsert. If it does not match, MongoDB tries to insert, which must break a unique index: ``_id`` when
    the scope exists in another state, the sentinel's ``x`` when it does not exist at all. So the answer lists every
    loser by its index, and nobody has to read again.
    """
    expected = write.expected_revision
    revision = expected + 1
    id_ = joined(*write.key)
    changes: Document = {
        "r": revision,
        "b": write.head,
        "o": owners_value(write.owners),
        "d": write.due_at,
        f"h.{revision % TOKEN_SLOTS}": token,
    }
    update: Document = {"$set": changes}
    if write.summary is not None:
        changes["s"] = summary_document(write.summary)
    found: Document = {"_id": id_, "r": expected}
    if expected:
        found["L"] = life_is(write.life if write.replaces is None else write.replaces)
        update["$setOnInsert"] = {"x": 1}
    if write.replaces is not None or not expected:
        changes["L"] = write.life
    parts_size = sum(len(name) + len(body or b"") + 16 for name, body in write.parts.items()) if write.parts else 0
    entry = {"r": revision, "p": [[n, v] for n, v in write.parts.items()]} if write.parts else None
    if write.is_fresh:
        changes.update(g=token, sp=False, z=True, l=[entry] if entry else [], og=replaced)
        if replaced is not None:
            found["g"] = replaced
        if write.idempotency_key is None:
            update["$unset"] = {"k": ""}
    elif entry is not None:
        update["$push"] = {"l": entry}
    if not expected:
        changes["g"] = token
    if write.idempotency_key is not None and (write.is_fresh or not expected):
        changes["k"] = write.idempotency_key
    statement = {"q": found, "u": update, "upsert": True}
    return Update(id_, write, token, statement, len(write.head) + parts_size, parts_size)


def tombstone_of(target: Target, token: int) -> Document:
    """An operation that makes a root a tombstone; it fails visibly, as ``update_of`` says."""
    return {
        "q": {"_id": joined(target.execution_id, ""), "r": target.revision, "L": life_is(target.life)},
        "u": {
            "$set": {"r": TOMBSTONE, "t": token, "z": True, "o": None, "d": None},
            "$unset": {"s": "", "k": "", "b": "", "l": "", "h": ""},
            "$setOnInsert": {"x": 1},
        },
        "upsert": True,
    }


def life_is(life: str) -> Any:
    """A condition on ``L``. Documents of schema 1 have none, and their life is ""."""
    return life if life else {"$in": ["", None]}


def life_of(document: Document) -> str:
    return str(document.get("L", ""))


def owners_value(owners: tuple[str, ...]) -> Any:
    """Conditions and indexes take a text for a list of one; it is cheaper, and there is nearly never a second one."""
    return list(owners) if len(owners) > 1 else owners[0] if owners else None


def owners_of(document: Document) -> tuple[str, ...]:
    owners = document["o"]
    return (owners,) if isinstance(owners, str) else tuple(owners or ())


def summary_of(document: Document) -> Summary:
    s = document["s"]
    return Summary(
        s["e"], s["b"], s["f"], s["st"], s["at"], s["fin"], s["exp"], s["c"], s["fam"], s["w"], s["p"],
        s.get("md5", ""),
    )  # fmt: skip


def prefix_range(first: str, prefix: str = "", after: str = "") -> Document:
    """A condition on ``_id``: pairs of ``first`` whose second text starts with ``prefix`` and lies after ``after``."""
    condition: Document = {"$gte": joined(first, prefix)}
    if (end := behind(condition["$gte"])) is not None:
        condition["$lt"] = end
    if after:
        condition["$gt"] = joined(first, after)
    return condition


def behind(prefix: str) -> str | None:
    """The first text behind all that start with ``prefix``, by code point; None if there is none."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    last = ord(stem[-1])
    return stem[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)  # surrogates are no text


def parts_range(generation: int) -> Document:
    return {"$gte": f"{generation}:", "$lt": f"{generation};"}  # ";" is the character behind ":"


def filter_of(query: ExecutionQuery) -> Document:
    moment: Document = {"$gte": _LEAST if query.since is None else query.since}
    if query.until is not None:
        moment["$lt"] = query.until
    found: Document = {"s.at": moment}
    if query.statuses:
        found["s.st"] = {"$in": list(query.statuses)}
    for name, place in _FIELDS.items():
        if (value := getattr(query, name)) is not None:
            found[place] = value
    if query.descriptor_md5 is not None:
        found["s.md5"] = query.descriptor_md5 or {"$in": ["", None]}
    return found


def below(moment: int) -> Document:
    """A condition that the planner sees to be covered by the partial indexes."""
    return {"$gte": _LEAST, "$lt": moment}


def summary_document(s: Summary) -> Document:
    return {
        "e": s.execution_id, "b": s.business, "f": s.feature, "st": s.status, "at": s.submitted_at,
        "fin": s.finished_at, "exp": s.expires_at, "c": s.code, "fam": s.family, "w": s.workflow_name,
        "p": s.parent_id, "md5": s.descriptor_md5,
    }  # fmt: skip
