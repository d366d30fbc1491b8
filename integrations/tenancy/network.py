"""Where a request comes from, and whether that is on a list of addresses and networks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def address_of(request: HttpRequest) -> str:
    """Return the caller's address as it can be stored and compared, believing as many X-Forwarded-For hops as we run proxies;
    empty where there is none."""
    hops = int(settings.TRUSTED_PROXY_HOPS)
    forwarded = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    text = forwarded[-hops] if hops and len(forwarded) >= hops else str(request.META.get("REMOTE_ADDR", ""))
    return _address_in(text)


@lru_cache(maxsize=4096)
def _address_in(text: str) -> str:
    # Some proxies add the port, and brackets around IPv6.
    for candidate in (text, text.rpartition(":")[0].strip("[]"), text.strip("[]")):
        found = _parsed(candidate)
        if found is not None:
            return str(found)
    return ""


def neighbourhood(address: str) -> str:
    """Return what floods are counted by: the address, in IPv6 its /64 network; empty for what is no address."""
    found = _parsed(address)
    if found is None:
        return ""
    return str(found) if found.version == 4 else str(ipaddress.ip_network(f"{found}/64", strict=False))


def normal_network(text: str) -> str:
    """Return an address or network (CIDR) in its normal form; raise `ValueError` saying what is wrong with it."""
    text = text.strip()
    try:
        if "/" not in text:
            return str(_unmapped(ipaddress.ip_address(text)))
        return str(_plain(ipaddress.ip_network(text)))
    except ValueError as error:
        raise ValueError(f"“{text[:64]}” is no address or network: {str(error)[:150]}") from error


def is_listed(address: str, networks: Iterable[str]) -> bool:
    """Tell whether the address lies in one of the networks. What can't be read lies in none."""
    found = _parsed(address)
    return found is not None and any(found in network for network in _networks(networks))


def are_covered(inner: Iterable[str], outer: Iterable[str]) -> bool:
    """Tell whether each of the inner networks lies wholly in one of the outer ones."""
    around = _networks(outer)
    return all(
        any(each.version == other.version and each.subnet_of(other) for other in around)  # type: ignore[arg-type]
        for each in _networks(inner)
    )


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Address | None:
    try:
        return _unmapped(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def _unmapped(address: Address) -> Address:
    """Return ::ffff:1.2.3.4, as which a socket for both families shows IPv4 callers, as what it is."""
    return getattr(address, "ipv4_mapped", None) or address


def _plain(network: Network) -> Network:
    """Return a network of such addresses as that of IPv4."""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    return network if mapped is None or network.prefixlen < 96 else ipaddress.ip_network((mapped, network.prefixlen - 96))


def _networks(texts: Iterable[str]) -> list[Network]:
    found = []
    for text in texts:
        try:
            found.append(_plain(ipaddress.ip_network(text, strict=False)))
        except ValueError:
            continue
    return found
