"""``tornflow storage migrate``: everything that lies in an older form is written again in the present one.

The server reads older forms as well, and writes what it changes in the present one. Afterwards nothing old is left, so
that a later version may stop to read it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tornflow.runtime.codec import in_present_form
from tornflow.spi.storage import ScopeWrite, Storage, StoredScope
from tornflow.storage_tools.exporting import Progress, scope_pages


@dataclass(slots=True)
class Migrated:
    scopes: int = 0
    rewritten: int = 0
    unreadable: list[str] = field(default_factory=list)


async def migrate(storage: Storage, progress: Progress) -> Migrated:
    """Rewrite page by page; whoever breaks it off begins again and finds less to do."""
    done = Migrated()
    async for page in scope_pages(storage):
        writes = [write for record in page if (write := _rewritten(record.scope, done)) is not None]
        await asyncio.gather(*map(storage.commit, writes))
        done.scopes += len(page)
        done.rewritten += len(writes)
        progress({"scopes": done.scopes, "rewritten": done.rewritten})
    return done


def _rewritten(stored: StoredScope, done: Migrated) -> ScopeWrite | None:
    try:
        return in_present_form(stored)
    except Exception as error:  # whatever is wrong with one must not keep the others from it
        done.unreadable.append(f"{' '.join(stored.key).strip()}: {type(error).__name__}: {error}")
        return None
