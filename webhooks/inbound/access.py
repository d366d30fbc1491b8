"""Who may come in at all: the caller's address, and the lists of those that an endpoint takes requests from."""

from __future__ import annotations

import ipaddress

from django.conf import settings
from django.http import HttpRequest

from webhooks.inbound.models import InboundEndpoint
from webhooks.inbound.refusals import Reason, Refused


def remote_ip(request: HttpRequest) -> str:
    """Return the caller's address, believing as many X-Forwarded-For hops as we run proxies; empty where it has none."""
    hops = int(settings.TRUSTED_PROXY_HOPS)
    forwarded = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    if hops and len(forwarded) >= hops:
        return _address(forwarded[-hops])
    return _address(str(request.META.get("REMOTE_ADDR", "")))


def _address(text: str) -> str:
    """Return an address as PostgreSQL takes it, without the port and brackets that some proxies add; empty for others."""
    plain = text.partition("%")[0]
    for candidate in (plain, plain.rpartition(":")[0].strip("[]"), plain.strip("[]")):
        try:
            address = ipaddress.ip_address(candidate)
        except ValueError:
            continue
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return str(mapped or address)
    return ""


def admit(endpoint: InboundEndpoint | None, ip: str) -> None:
    """Raise `Refused` for an endpoint that is off, and for an address that is not on its list."""
    if endpoint is None:
        return
    if not endpoint.is_active:
        raise Refused(Reason.INACTIVE)
    if endpoint.allowed_ips and not is_listed(ip, endpoint.allowed_ips):
        raise Refused(Reason.IP)


def is_listed(ip: str, networks: list[str]) -> bool:
    """Tell whether the address is in one of the networks; one that can't be read is in none."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network, strict=False) for network in networks)
