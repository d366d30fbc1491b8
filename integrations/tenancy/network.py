"""Where a request comes from, and whether that is on a list of addresses and networks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from django.conf import settings
from django.http import HttpRequest


def remote_ip(request: HttpRequest) -> str:
    """Return the caller's address, believing as many X-Forwarded-For hops as we run proxies. A proxy may have written there
    what is no address: `address_of` tells."""
    hops = int(settings.TRUSTED_PROXY_HOPS)
    forwarded = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    if hops and len(forwarded) >= hops:
        return forwarded[-hops]
    return str(request.META.get("REMOTE_ADDR", ""))


def address_of(request: HttpRequest) -> str:
    """Return the caller's address as it can be stored and compared; empty where there is none."""
    found = _parsed(remote_ip(request))
    return str(found) if found is not None else ""


def normal_network(text: str) -> str:
    """Return an address or network (CIDR) in its normal form; raise `ValueError` saying what is wrong with it."""
    text = text.strip()
    try:
        if "/" not in text:
            return str(ipaddress.ip_address(text))
        return str(ipaddress.ip_network(text))
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


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A socket for both families shows IPv4 callers as ::ffff:1.2.3.4.
    return getattr(found, "ipv4_mapped", None) or found


def _networks(texts: Iterable[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError:
            continue
    return found
