"""Which addresses may be reached: pure decisions, and the resolver that applies them."""

from __future__ import annotations

import socket
from ipaddress import ip_network

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from tornflow.errors import ConfigError
from tornflow_task_http.policy import NetworkPolicy, is_address
from tornflow_task_http.resolver import AddressRefused, PolicyResolver
from tornflow_task_http.settings import read_settings


def policy(*allow: str, deny: tuple[str, ...] = (), loopback: bool = False, private: bool = True) -> NetworkPolicy:
    return NetworkPolicy(tuple(map(ip_network, allow)), tuple(map(ip_network, deny)), loopback, private)


ALWAYS_CLOSED = [
    "169.254.169.254",
    "169.254.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "0.0.0.0",
    "0.1.2.3",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "192.0.0.8",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "::169.254.169.254",
    "fec0::1",
]


@pytest.mark.parametrize("address", ALWAYS_CLOSED)
def test_dangerous_networks_are_closed_whatever_is_open(address: str) -> None:
    reason = policy("0.0.0.0/0", "::/0", loopback=True).refusal(address)
    if address in ("fec0::1", "::169.254.169.254"):  # "reserved" is all of ::/0: there a wide entry does open it
        reason = policy(loopback=True).refusal(address)
    assert reason is not None and "addresses are closed" in reason


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"])
def test_public_addresses_are_open(address: str) -> None:
    assert policy().refusal(address) is None


@pytest.mark.parametrize("address", ["10.0.0.1", "172.31.255.1", "192.168.1.1", "100.64.0.1", "fd12::1"])
def test_private_addresses_follow_their_setting(address: str) -> None:
    assert policy().refusal(address) is None
    assert "outbound.allow_private" in str(policy(private=False).refusal(address))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_follows_its_setting(address: str) -> None:
    assert "outbound.allow_loopback" in str(policy().refusal(address))
    assert policy(loopback=True).refusal(address) is None


def test_an_allow_entry_opens_a_closed_network_only_from_inside() -> None:
    assert policy("169.254.169.254/32").refusal("169.254.169.254") is None
    assert policy("169.254.169.254/32").refusal("169.254.169.253") is not None
    assert policy("0.0.0.0/0").refusal("127.0.0.1") is not None
    assert policy("127.0.0.1/32").refusal("127.0.0.1") is None
    assert policy("10.1.0.0/16", private=False).refusal("10.1.2.3") is None


def test_the_longest_prefix_wins_and_deny_wins_a_tie() -> None:
    closed = policy("10.1.0.0/16", deny=("0.0.0.0/0", "10.1.2.3/32"))
    assert closed.refusal("10.1.2.4") is None
    assert closed.refusal("10.1.2.3") == "10.1.2.3: outbound.deny contains 10.1.2.3/32"
    assert closed.refusal("93.184.216.34") == "93.184.216.34: outbound.deny contains 0.0.0.0/0"
    assert policy("10.1.0.0/16", deny=("10.1.0.0/16",)).refusal("10.1.2.4") is not None


def test_a_denied_ipv4_network_is_denied_inside_ipv6_too() -> None:
    assert policy(deny=("93.184.216.0/24",)).refusal("::ffff:93.184.216.34") is not None


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("fe80::1%1", True), ("a.b", False), ("127.1", False)]
)
def test_addresses_are_told_from_names(host: str, expected: bool) -> None:
    assert is_address(host) is expected


@pytest.mark.parametrize(
    ("outbound", "field"),
    [
        ({"allow": "10.0.0.0/8"}, "outbound.allow"),
        ({"deny": ["10.0.0.1/8"]}, "outbound.deny"),
        ({"deny": ["nonsense"]}, "outbound.deny"),
        ({"allow_loopback": "yes"}, "outbound.allow_loopback"),
        ({"connect_timeout_s": 0}, "outbound.connect_timeout_s"),
        ({"read_timeout_s": float("nan")}, "outbound.read_timeout_s"),
    ],
)
def test_a_bad_policy_is_refused_at_start_and_named(outbound: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        read_settings({"outbound": outbound})


def test_strict_puts_the_timeouts_of_the_reference_in_place() -> None:
    found = read_settings({"strict": True, "outbound": {"connect_timeout_s": 5, "read_timeout_s": 60}})
    assert (found.connect_timeout_s, found.read_timeout_s) == (0.5, 1.5)


def test_the_own_section_wins_over_outbound() -> None:
    found = read_settings({"read_timeout_s": 7, "outbound": {"read_timeout_s": 60, "connections": 3}})
    assert (found.read_timeout_s, found.connections) == (7, 3)


class TwoAddresses(AbstractResolver):
    """A name server that gives what it is told."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self.addresses
        ]

    async def close(self) -> None: ...


async def test_of_several_addresses_only_the_permitted_ones_are_connected_to() -> None:
    resolver = PolicyResolver(policy(), TwoAddresses("169.254.169.254", "93.184.216.34"))
    assert [result["host"] for result in await resolver.resolve("x", 80)] == ["93.184.216.34"]


async def test_a_name_with_no_permitted_address_is_refused_with_the_reason() -> None:
    resolver = PolicyResolver(policy(), TwoAddresses("169.254.169.254"))
    with pytest.raises(AddressRefused, match="x is not reachable by policy: 169.254.169.254: link-local"):
        await resolver.resolve("x", 80)
