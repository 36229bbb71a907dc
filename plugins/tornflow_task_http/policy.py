"""Which addresses an outbound request may reach: pure decisions.

The check is made on addresses, never on names: a name may resolve to anything. Built-in networks have a *kind*:

* ``loopback`` and ``private`` are open or closed by a setting;
* ``closed`` kinds (link-local with the cloud metadata services, multicast, unspecified, reserved) are closed.

The lists ``allow`` and ``deny`` of the operator come first. Among them the longest prefix wins, and ``deny`` wins a
tie. An ``allow`` entry opens a closed built-in network only when it lies inside it: ``0.0.0.0/0`` means the public
internet and opens neither the metadata service nor loopback.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    allow_loopback: bool = False
    allow_private: bool = True

    def refusal(self, text: str) -> str | None:
        """Return why the address ``text`` may not be reached, or None if it may.

        An IPv6 address that carries an IPv4 address (mapped, 6to4, NAT64) is judged by both.

        Raises:
            ValueError: not an IP address.
        """
        for address in _readings(ip_address(text.partition("%")[0])):
            if reason := self._refusal(address):
                return f"{text}: {reason}"
        return None

    def _refusal(self, address: Address) -> str | None:
        denied, allowed = _longest(self.deny, address), _longest(self.allow, address)
        if denied is not None and (allowed is None or denied.prefixlen >= allowed.prefixlen):
            return f"outbound.deny contains {denied}"
        network, kind = _built_in(address)
        if network is None or (allowed is not None and allowed.prefixlen >= network.prefixlen):
            return None
        if kind == "loopback":
            return None if self.allow_loopback else "loopback addresses are closed (outbound.allow_loopback)"
        if kind == "private":
            return None if self.allow_private else "private addresses are closed (outbound.allow_private)"
        return f"{kind} addresses are closed (only an entry in outbound.allow opens them)"


def is_address(host: str) -> bool:
    """Tell whether ``host`` is an IP address and not a name."""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _readings(address: Address) -> Iterator[Address]:
    if isinstance(address, IPv4Address):
        yield address
    elif address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    else:
        yield address
        if address.sixtofour is not None:
            yield address.sixtofour
        if address in _NAT64:
            yield IPv4Address(int(address) & 0xFFFFFFFF)


def _built_in(address: Address) -> tuple[Network | None, str]:
    table = _V4 if isinstance(address, IPv4Address) else _V6
    for network, kind in table:
        if address in network:
            return (None, "") if kind == "public" else (network, kind)
    return None, ""


def _longest(networks: tuple[Network, ...], address: Address) -> Network | None:
    hits = [network for network in networks if address in network]
    return max(hits, key=lambda network: network.prefixlen, default=None)


def _table(*rows: tuple[str, str]) -> tuple[tuple[Network, str], ...]:
    return tuple((ip_network(network), kind) for network, kind in rows)


# First hit counts: narrow before wide. 100.64/10 is shared provider space, used like private networks are.
_V4 = _table(
    ("100.100.100.200/32", "cloud metadata"),
    ("168.63.129.16/32", "cloud metadata"),
    ("127.0.0.0/8", "loopback"),
    ("10.0.0.0/8", "private"),
    ("172.16.0.0/12", "private"),
    ("192.168.0.0/16", "private"),
    ("100.64.0.0/10", "private"),
    ("169.254.0.0/16", "link-local"),
    ("0.0.0.0/8", "unspecified"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("192.0.0.0/24", "reserved"),
)
# Outside 2000::/3 nothing is handed out for public use.
_V6 = _table(
    ("::1/128", "loopback"),
    ("::/128", "unspecified"),
    ("fd00:ec2::254/128", "cloud metadata"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("ff00::/8", "multicast"),
    ("64:ff9b::/96", "public"),
    ("2000::/3", "public"),
    ("::/0", "reserved"),
)
_NAT64 = IPv6Network("64:ff9b::/96")
