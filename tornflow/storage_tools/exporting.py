"""``tornflow storage export``: a whole store as JSON lines, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import BinaryIO

from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import Storage, StoredRecord
from tornflow.storage_tools.lines import End, Header, KindRecord, to_text

PAGE = 200

Progress = Callable[[Mapping[str, int]], None]
"""Called with every page: how many there have been so far, by what they are."""

# Left where they are: what an unfinished import has noted.
UNFINISHED = ("import", "unfinished")


async def export(storage: Storage, header: Header, out: BinaryIO, progress: Progress) -> End:
    """Write everything that is stored, but no heartbeats; return what was written.

    Nodes that own scopes stay named: the server that starts on the copy finds them gone and takes their work over.
    """
    records = scopes = 0
    out.write(to_text(header) + b"\n")
    async for page in record_pages(storage):
        out.writelines(to_text(one) + b"\n" for one in page)
        records += len(page)
        progress({"records": records, "scopes": scopes})
    async for scope_page in scope_pages(storage):
        out.writelines(to_text(one) + b"\n" for one in scope_page)
        scopes += len(scope_page)
        progress({"records": records, "scopes": scopes})
    end = End(records, scopes)
    out.write(to_text(end) + b"\n")
    return end


async def record_pages(storage: Storage) -> AsyncIterator[list[KindRecord]]:
    for kind in sorted(await storage.record_kinds()):
        after = ""
        while page := await storage.list_records(kind, after=after, limit=PAGE):
            yield [KindRecord(kind, record) for record in page if (kind, record.key) != UNFINISHED]
            after = page[-1].key


async def scope_pages(storage: Storage, after: ScopeKey | None = None) -> AsyncIterator[list[StoredRecord]]:
    """Yield every scope behind ``after`` by key, so that a scope comes before its groups."""
    while page := list(await storage.scan(after, PAGE)):
        yield page
        after = page[-1].scope.key
