"""The only module that knows the client library. Motor or PyMongo's asynchronous client: one line of settings.

Writes go through ``command`` and not through the collection methods: a plain command says by index which operation
failed and costs half the CPU of a bulk object.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bson.errors import BSONError
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.uri_parser import parse_uri

from tornflow.errors import ConfigError, StorageError, StorageUnavailable
from tornflow_store_mongodb.settings import MongoSettings

Document = dict[str, Any]

DEFAULT_DATABASE = "tornflow"
WRITE_CONCERN = {"w": "majority", "j": True}
READ_CONCERN = {"level": "majority"}  # a read that a failover takes back could make a stale state look new
INTERRUPTED = ConnectionFailure
NOT_SENT = ServerSelectionTimeoutError  # a kind of INTERRUPTED: no server was found, so nothing was done
BAD_VALUE = (BSONError, ValueError, TypeError, OverflowError)  # raised while encoding, before anything is sent
REFUSED = PyMongoError
DUPLICATE = 11000
_ACCESS_CODES = (13, 18, 8000)  # not allowed, wrong password
_GONE_CODES = (26, 27)  # no such collection, no such index
_PAUSE_S = 0.1


def check_uri(uri: str) -> None:
    """Raises: ConfigError: not a MongoDB URI. Host names of ``mongodb+srv`` are not looked up here."""
    if uri.startswith("mongodb+srv://"):
        return
    try:
        parse_uri(uri)
    except (InvalidURI, ConfigurationError, ValueError) as error:
        raise ConfigError(f"storage: this MongoDB URL is not understood: {error}", field="storage") from error


class Driver:
    """One connected client and one database. All errors but those of ``send`` are ours."""

    def __init__(self, uri: str, settings: MongoSettings) -> None:
        self._retry_s = settings.retry_ms / 1000
        try:
            self._client = _client(uri, settings)
            name = self._client.get_default_database(default=DEFAULT_DATABASE).name
        except (PyMongoError, ValueError) as error:
            raise ConfigError(f"storage: this MongoDB URL cannot be used: {error}", field="storage") from error
        self._db = self._client.get_database(
            name, read_concern=ReadConcern("majority"), read_preference=ReadPreference.PRIMARY
        )

    async def close(self) -> None:
        closing = self._client.close()
        if inspect.isawaitable(closing):  # PyMongo's; Motor's closes at once
            await closing

    async def send(self, command: Mapping[str, Any]) -> Document:
        """Run one write command once, majority and journal. Raises what the client library raises."""
        return await self._db.command({**command, "writeConcern": WRITE_CONCERN})  # type: ignore[no-any-return]

    async def write(self, command: Mapping[str, Any]) -> Document:
        """Run a write command that may safely run twice; try again while the connection breaks.

        Duplicate keys are left in the answer's ``writeErrors``.

        Raises:
            StorageUnavailable: no server, refused, or interrupted for longer than ``retry_ms``; ``is_unknown`` if one
                of the tries may have arrived.
            StorageError: a value that BSON cannot hold.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._retry_s
        is_unsure = False
        while True:
            try:
                answer = await self.send(command)
                if "writeConcernError" not in answer:
                    return _without_failures(answer, is_unsure)
                error: Exception = StorageUnavailable(f"MongoDB: {answer['writeConcernError'].get('errmsg')}")
            except INTERRUPTED as interruption:
                error = interruption
            except (REFUSED, *BAD_VALUE) as refusal:
                raise translate(refusal, is_unsure) from refusal
            is_unsure = is_unsure or not isinstance(error, NOT_SENT)
            if isinstance(error, NOT_SENT) or loop.time() > deadline:
                raise translate(error, is_unsure) from error
            await asyncio.sleep(_PAUSE_S)

    async def is_standalone(self) -> bool:
        """Whether the server is no member of a replica set and no router."""
        try:
            found = await self._db.command("hello")
        except REFUSED as error:
            raise translate(error) from error
        return "setName" not in found and found.get("msg") != "isdbgrid"

    async def drop(self, command: Mapping[str, Any]) -> None:
        """Run a command that drops something, which may be gone."""
        try:
            await self.send(command)
        except OperationFailure as error:
            if error.code not in _GONE_CODES:
                raise translate(error) from error
        except (REFUSED, *BAD_VALUE) as error:
            raise translate(error) from error

    async def ask(self, command: Mapping[str, Any]) -> Document:
        """Run a reading command with majority read concern."""
        try:
            return await self._db.command({**command, "readConcern": READ_CONCERN})  # type: ignore[no-any-return]
        except (REFUSED, *BAD_VALUE) as error:
            raise translate(error) from error

    async def find(
        self,
        collection: str,
        query: Mapping[str, Any],
        fields: Mapping[str, Any] | None = None,
        *,
        sort: Sequence[tuple[str, int]] | None = None,
        skip: int = 0,
        limit: int = 0,
    ) -> list[Document]:
        """Return matching documents; ``limit`` 0 means all."""
        try:
            cursor = self._db[collection].find(query, fields, sort=sort, skip=skip, limit=limit)
            return await cursor.to_list(None)  # type: ignore[no-any-return]
        except (REFUSED, *BAD_VALUE) as error:
            raise translate(error) from error

    async def find_one(self, collection: str, id_: str, fields: Mapping[str, Any] | None = None) -> Document | None:
        try:
            return await self._db[collection].find_one({"_id": id_}, fields)  # type: ignore[no-any-return]
        except (REFUSED, *BAD_VALUE) as error:
            raise translate(error) from error


def translate(error: Exception, is_unknown: bool = False) -> StorageError:
    """Our word for what went wrong in the client library. ``is_unknown``: a write, which may have arrived."""
    if isinstance(error, StorageError) and not is_unknown:
        return error
    if isinstance(error, StorageError):
        return StorageUnavailable(str(error), is_unknown=True)
    if isinstance(error, BAD_VALUE) and not isinstance(error, PyMongoError):
        return StorageError(f"MongoDB cannot store this: {error}")
    if isinstance(error, OperationFailure) and error.code in _ACCESS_CODES:
        return StorageUnavailable(f"MongoDB refuses access: {error}", is_unknown=is_unknown, cause="access")
    return StorageUnavailable(f"MongoDB: {_brief(error)}", is_unknown=is_unknown, cause=type(error).__name__)


def _brief(error: Exception) -> str:
    """Leave out the settings and the description of the whole cluster that the client library appends."""
    return re.sub(r" \(configured timeouts:[^)]*\)", "", str(error).partition(", Timeout: ")[0])


def _client(uri: str, settings: MongoSettings) -> Any:
    options: dict[str, Any] = {
        "serverSelectionTimeoutMS": settings.server_selection_ms,
        "connectTimeoutMS": settings.server_selection_ms,
        "socketTimeoutMS": settings.socket_timeout_ms,
        "maxPoolSize": settings.pool_size,
        "appname": "tornflow",
    }
    if settings.driver == "motor":
        from motor.motor_asyncio import AsyncIOMotorClient

        return AsyncIOMotorClient(uri, io_loop=asyncio.get_running_loop(), **options)
    from pymongo import AsyncMongoClient

    return AsyncMongoClient(uri, **options)


def _without_failures(answer: Document, is_unsure: bool) -> Document:
    for error in answer.get("writeErrors", ()):
        if error["code"] != DUPLICATE:
            raise StorageUnavailable(f"MongoDB: {error.get('errmsg')}", is_unknown=is_unsure, code=error["code"])
    return answer
