"""What a database must have before it is used, and how one of an earlier schema becomes one of this.

Documents stay as they are: a missing life is "", and so is a missing checksum.
So a large database opens at once, and every step here may be repeated, by several servers at a time.
"""

from __future__ import annotations

from typing import Any

from tornflow.errors import ConfigError
from tornflow_store_mongodb import parts
from tornflow_store_mongodb.documents import INDEXES, SENTINEL
from tornflow_store_mongodb.driver import DUPLICATE, Driver

SCHEMA_VERSION = 2


async def prepare(driver: Driver) -> None:
    """Raises: ConfigError: written by a newer tornflow."""
    meta = await driver.find_one("meta", "schema")
    version = None if meta is None else meta["version"]
    if version is not None and version > SCHEMA_VERSION:
        raise ConfigError(
            f"storage: the database was written by a newer tornflow (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); upgrade this server or choose another database",
            field="storage",
        )
    await driver.write({"createIndexes": "scopes", "indexes": INDEXES})
    await _put_once(driver, "scopes", SENTINEL)
    if version == 1:
        await _leave_schema_1(driver)
    now = {"q": {"_id": "schema"}, "u": {"$max": {"version": SCHEMA_VERSION}}, "upsert": True}
    await driver.write({"update": "meta", "updates": [now]})


async def _leave_schema_1(driver: Driver) -> None:
    """It noted removals at work in a collection of their own, and had another index of owners."""
    for grave in await driver.find("graves", {}):
        head = await driver.find_one("scopes", grave["scope"], {"g": 1})
        if head is None or head["g"] != grave["g"]:
            await parts.remove(driver, [grave["g"]])
    await driver.drop({"drop": "graves"})
    await driver.drop({"dropIndexes": "scopes", "index": "owner"})


async def _put_once(driver: Driver, collection: str, document: dict[str, Any]) -> None:
    answer = await driver.write({"insert": collection, "documents": [document]})
    assert all(error["code"] == DUPLICATE for error in answer.get("writeErrors", ()))
