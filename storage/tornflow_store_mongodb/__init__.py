"""The store that many servers share: MongoDB, majority writes, no multi-document transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tornflow.errors import ConfigError
from tornflow.spi.storage import Storage
from tornflow_store_mongodb.driver import check_uri
from tornflow_store_mongodb.settings import MongoSettings
from tornflow_store_mongodb.store import MongoStorage

__all__ = ["MongoSettings", "MongoStorage", "open_storage"]


def open_storage(url: str, settings: Mapping[str, Any]) -> Storage:
    """Build a store; nothing is connected before ``open()``.

    The path of the URL names the database (``tornflow`` if it has none); its options are the driver's own.
    ``settings``: the fields of ``MongoSettings``.

    Raises:
        ConfigError: the URL or a setting is not understood.
    """
    if not url.startswith(("mongodb://", "mongodb+srv://")):
        raise ConfigError(f"storage: {url!r} is not a mongodb:// or mongodb+srv:// URL", field="storage")
    check_uri(url)
    return MongoStorage(url, MongoSettings.parse(settings))
