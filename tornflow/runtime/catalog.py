"""The catalog: stores descriptors, resolves descriptor ids, keeps what was compiled.

Storing is not one transaction; its order is what keeps it sound. The text comes first, then its version, then the
sets: a crash in between leaves a text that nothing names, or a version that lists do not show yet. Storing the same
text again mends both. A text stays while a version names it or an execution runs it (``catalog_texts``).

On a shared store a change holds on all nodes when its answer is given (``catalog_cache``).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from tornflow.descriptors import DescriptorLimits, check_size, dump_stored, load_stored, parse_descriptor
from tornflow.errors import (
    DescriptorIdMalformed,
    DescriptorNotFound,
    InvalidDescriptor,
    LimitExceeded,
    MalformedField,
    NameMismatch,
    Problem,
    StorageError,
)
from tornflow.model.descriptor import Descriptor
from tornflow.runtime.catalog_cache import NextRead, Remembered
from tornflow.runtime.catalog_names import Flow, Listed, Names, Version, check_names, is_name
from tornflow.runtime.catalog_texts import Collected, Texts
from tornflow.runtime.identities import SystemIdentities
from tornflow.runtime.offload import run_long
from tornflow.spi.storage import Storage

T = TypeVar("T")

DEFAULT_ALIAS = "release"
DEFAULT_UID = 127001
MAX_RULE_CHARACTERS = 10_000
MAX_RECORD_BYTES = 1024 * 1024  # of every store (tornflow.spi.storage)
_MD5 = "md5_"
_SHOWN_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """One version of one flow, ready to run."""

    descriptor: Descriptor
    compiled: T

    @property
    def workspace(self) -> str:
        return self.descriptor.workspace

    @property
    def dag_name(self) -> str:
        return self.descriptor.dag_name

    @property
    def md5(self) -> str:
        return self.descriptor.md5

    @property
    def descriptor_id(self) -> str:
        return f"{self.descriptor.service_id}:{_MD5}{self.descriptor.md5}"


@dataclass(slots=True)
class _Held(Generic[T]):
    """``seen_at``: when the text was in the store, ms. ``look`` looks again, for all who ask at once."""

    entry: Entry[T]
    seen_at: int
    look: NextRead[bytes | None]


class Catalog(Generic[T]):
    """Descriptors of one store, compiled to T.

    ``compile`` is called once when a descriptor is stored and once when it comes back from the store; it may refuse
    with a RequestError, then nothing is stored. ``gray`` gets a rule and its variables ``uid`` and ``input``, and
    returns whether the rule is true; a rule that breaks is not true. Long ones of both run in threads. ``token``
    makes a text that was never made before, on any node. ``cache_size`` bounds how many compiled descriptors are held,
    and how many answers about names. ``unused_texts_kept_ms``: how long a text stays that nothing uses.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        clock: Callable[[], int],
        compile: Callable[[Descriptor], T],
        gray: Callable[[str, Mapping[str, Any]], bool],
        token: Callable[[], str] | None = None,
        strict_names: bool = False,
        limits: DescriptorLimits = DescriptorLimits(),  # noqa: B008 - frozen
        max_versions: int = 300,
        cache_size: int = 500,
        unused_texts_kept_ms: int = 86_400_000,
    ) -> None:
        token = token or SystemIdentities().life
        self._clock = clock
        self._compile = compile
        self._gray = gray
        self._is_strict = strict_names
        self._limits = limits
        self._cache_size = cache_size
        self._remembered = Remembered(storage, clock, token, cache_size)
        self._names = Names(storage, clock, self._remembered, max_versions=max_versions)
        self._texts = Texts(storage, clock, token, unused_texts_kept_ms)
        self._entries: OrderedDict[str, _Held[T]] = OrderedDict()
        self._collected_at: int | None = None

    # --- storing

    async def add(self, text: str | bytes, *, business: str, feature: str, alias: str) -> str:
        """Store a descriptor as the newest version of an alias and return its id, ``workspace:dagName:md5_<md5>``.

        When the requested names are not those of the descriptor, it lives under its own names and the requested ones
        become a second name for it (decisions, "Rill HTTP" row 3).

        Raises:
            InvalidDescriptor, NameRule
            NameMismatch: the names differ, and names are strict, or the requested ones belong to another flow, or the
                descriptor has no usable names of its own. Nothing was stored.
        """
        check_size(text, self._limits)
        check_names(business_id=business, feature_name=feature, alias=alias)
        entry = await run_long(len(text), lambda: self._parsed(text))
        descriptor = entry.descriptor
        requested, home = Flow(business, feature), Flow(descriptor.workspace, descriptor.dag_name)
        if requested != home:
            await self._check_second(requested, home)
        now = self._clock()
        await self._texts.put(entry.md5, _storable(descriptor))
        self._hold(entry, now)
        async with self._remembered.change():
            await self._names.add_version(home, alias, entry.md5)
            await self._names.put(*home, alias)
            if requested != home:
                await self._names.set_second(requested, home)
        return entry.descriptor_id

    def names_in(self, text: str | bytes) -> tuple[str, str]:
        """Return workspace and dagName of a descriptor. Raises InvalidDescriptor."""
        descriptor = parse_descriptor(text, self._limits)
        return descriptor.workspace, descriptor.dag_name

    # --- resolving

    async def resolve(
        self, descriptor_id: str, *, uid: int = DEFAULT_UID, input: Mapping[str, Any] | None = None
    ) -> Entry[T]:
        """Return the version that ``business:feature[:alias|:md5_<hex>]`` means now (``rill-http-api`` 3.2).

        Raises:
            DescriptorIdMalformed, NameRule, DescriptorNotFound
        """
        given, third = _split(descriptor_id)
        if third.startswith(_MD5):
            return await self._exact(descriptor_id, given, third.removeprefix(_MD5))
        await self._remembered.refresh()
        home = await self._names.home(given)
        alias = third or await self._chosen_alias(home, uid, input or {})
        check_names(alias=alias)
        md5 = await self._names.newest(home, alias)
        if md5 is None:
            raise DescriptorNotFound(f"cannot find descriptor: {given.key}:{alias}")
        return await self._to_start(home, md5)

    async def by_md5(self, business: str, feature: str, md5: str) -> Entry[T]:
        """Return one version by its hash alone; the names are for the error message.

        Called for every step of every execution: a held entry costs a look into a dict.

        Raises:
            DescriptorNotFound: no such text.
            StorageError: the stored text is damaged.
        """
        entry = self.cached(md5)
        if entry is not None:
            return entry
        now = self._clock()
        body = await self._texts.get(md5)
        if body is None:
            raise DescriptorNotFound(f"get descriptor:{business}:{feature}:{_MD5}{md5} fails")
        # Many executions may have waited for this one text: the first to come back compiles it.
        loaded = self.cached(md5)
        if loaded is None:
            loaded = await run_long(len(body), lambda: self._loaded(md5, body))
        return self.cached(md5) or self._hold(loaded, now)

    def cached(self, md5: str) -> Entry[T] | None:
        """Return the version if it is held in memory."""
        held = self._entries.get(md5)
        if held is None:
            return None
        self._entries.move_to_end(md5)
        return held.entry

    # --- texts that nothing uses

    async def collect(self) -> Collected:
        """``collect_now`` when it is due, for a background task that calls it often: a round reads all texts."""
        now = self._clock()
        if self._collected_at is None:
            self._collected_at = now
        if 0 <= now - self._collected_at < self._texts.pause_ms:
            return Collected()
        self._collected_at = now
        return await self.collect_now()

    async def collect_now(self) -> Collected:
        """Set aside texts that no version names and no execution runs; remove those that were set aside long ago.

        One round over all texts. Safe while others collect, store and start executions.

        Raises:
            StorageUnavailable: the round ended early.
        """
        return await self._texts.collect()

    # --- names; what has no valid name exists nowhere, so reading never fails for it (rill-http-api 3.1)

    async def versions(self, business: str, feature: str, alias: str) -> Sequence[Version]:
        """Return the versions of an alias, newest first."""
        if not (is_name(business) and is_name(feature) and is_name(alias)):
            return []
        await self._remembered.refresh()
        return await self._names.versions(await self._names.home(Flow(business, feature)), alias)

    async def descriptor_ids(self) -> Sequence[Listed]:
        """Return every alias that has a version (``rill-http-api`` 15.2), latest ``created_at`` first."""
        return await self._names.listed()

    async def businesses(self) -> Sequence[str]:
        return await self._names.members("business")

    async def features(self, business: str) -> Sequence[str]:
        return await self._names.members("feature", business) if is_name(business) else []

    async def aliases(self, business: str, feature: str) -> Sequence[str]:
        if not (is_name(business) and is_name(feature)):
            return []
        await self._remembered.refresh()
        return await self._names.members("alias", *await self._names.home(Flow(business, feature)))

    async def modify_business(self, business: str, *, add: bool) -> None:
        """Raises NameRule, as the two below."""
        await self._modify("business", add, business_id=business)

    async def modify_feature(self, business: str, feature: str, *, add: bool) -> None:
        await self._modify("feature", add, business_id=business, feature_name=feature)

    async def modify_alias(self, business: str, feature: str, alias: str, *, add: bool) -> None:
        await self._modify("alias", add, business_id=business, feature_name=feature, alias=alias)

    async def gray_rules(self, business: str, feature: str) -> Mapping[str, str]:
        """Return the rules by alias."""
        if not (is_name(business) and is_name(feature)):
            return {}
        await self._remembered.refresh()
        return await self._names.gray_rules(await self._names.home(Flow(business, feature)))

    async def set_gray(self, business: str, feature: str, alias: str, rule: str | None) -> None:
        """Set the rule of an alias (which also adds the three names), or remove it with None.

        Raises:
            NameRule
            MalformedField: a blank rule.
            LimitExceeded: a rule of more than 10,000 characters.
        """
        check_names(business_id=business, feature_name=feature, alias=alias)
        await self._remembered.refresh()
        home = await self._names.home(Flow(business, feature))
        if rule is None:
            async with self._remembered.change():
                await self._names.drop("gray", *home, alias)
            return
        if not rule.strip():
            raise MalformedField("gray_rule can not be empty when add gray", field="gray_rule")
        if len(rule) > MAX_RULE_CHARACTERS:
            raise LimitExceeded(
                f"gray_rule has {len(rule)} characters, {MAX_RULE_CHARACTERS} are allowed",
                limit="gray_rule",
                allowed=MAX_RULE_CHARACTERS,
                given=len(rule),
            )
        async with self._remembered.change():
            await self._names.put(*home, alias)
            await self._names.set_gray(home, alias, rule)

    # --- below

    async def _check_second(self, requested: Flow, home: Flow) -> None:
        """Raise NameMismatch unless the requested names can become a second name."""
        has_names = is_name(home.business) and is_name(home.feature)
        if self._is_strict or not has_names or await self._names.has_versions(requested):
            raise NameMismatch("name not match", requested=requested.key, found=home.key)

    async def _chosen_alias(self, flow: Flow, uid: int, given: Mapping[str, Any]) -> str:
        rules = await self._names.gray_rules(flow)
        variables = {"uid": uid, "input": given}
        for alias, rule in rules.items():
            if await run_long(len(rule), partial(self._gray, rule, variables)):
                return alias
        return DEFAULT_ALIAS

    async def _to_start(self, flow: Flow, md5: str) -> Entry[T]:
        """Return a version for a new execution: its text was seen in the store not long ago (``catalog_texts``)."""
        held, now = self._entries.get(md5), self._clock()
        if held is None or 0 <= now - held.seen_at < self._texts.trust_ms:
            return await self.by_md5(*flow, md5)
        if await held.look.get() is None:
            raise DescriptorNotFound(f"get descriptor:{flow.key}:{_MD5}{md5} fails")
        held.seen_at = now
        return held.entry

    async def _exact(self, descriptor_id: str, flow: Flow, md5: str) -> Entry[T]:
        missing = DescriptorNotFound(f"get descriptor:{descriptor_id.strip()[:_SHOWN_CHARACTERS]} fails")
        if not is_name(md5):
            raise missing
        try:
            entry = await self._to_start(flow, md5)
        except DescriptorNotFound:
            raise missing from None
        own = Flow(entry.workspace, entry.dag_name)
        if own != flow and await self._names.second(flow) != own:
            raise missing
        return entry

    async def _modify(self, kind: str, add: bool, **names: str) -> None:
        check_names(**names)
        async with self._remembered.change():
            if add:
                await self._names.put(*names.values())
            else:
                await self._names.drop(kind, *names.values())

    def _parsed(self, text: str | bytes) -> Entry[T]:
        descriptor = parse_descriptor(text, self._limits)
        return Entry(descriptor, self._compile(descriptor))

    def _loaded(self, md5: str, body: bytes) -> Entry[T]:
        try:
            descriptor = load_stored(body)
        except ValueError as error:
            raise StorageError(f"the stored descriptor {md5} is damaged: {error}") from error
        return Entry(descriptor, self._compile(descriptor))

    def _hold(self, entry: Entry[T], seen_at: int) -> Entry[T]:
        self._entries[entry.md5] = _Held(entry, seen_at, NextRead(partial(self._texts.get, entry.md5)))
        self._entries.move_to_end(entry.md5)
        if len(self._entries) > self._cache_size:
            self._entries.popitem(last=False)
        return entry


def _storable(descriptor: Descriptor) -> bytes:
    body = dump_stored(descriptor)
    # Only reached where the size limit of descriptors was raised far beyond its default.
    if len(body) > MAX_RECORD_BYTES:
        raise InvalidDescriptor([Problem(30508, f"dag info stored length:{len(body)} exceed the limit")])
    return body


def _split(descriptor_id: str) -> tuple[Flow, str]:
    """Return the names and the third part, "" for none."""
    parts = descriptor_id.strip().split(":")
    if len(parts) < 2 or not (is_name(parts[0]) and is_name(parts[1])):
        shown = descriptor_id[:_SHOWN_CHARACTERS]
        raise DescriptorIdMalformed(f"dagDescriptorId:{shown} format error", field="descriptor_id")
    return Flow(parts[0], parts[1]), parts[2] if len(parts) > 2 else ""
