"""Who may come in at all: the lists of addresses that an endpoint takes requests from."""

from __future__ import annotations

from integrations.tenancy.network import is_listed
from webhooks.inbound.models import InboundEndpoint
from webhooks.inbound.refusals import Reason, Refused


def admit(endpoint: InboundEndpoint | None, ip: str) -> None:
    """Raise `Refused` for an endpoint that is off, and for an address that is not on its list."""
    if endpoint is None:
        return
    if not endpoint.is_active:
        raise Refused(Reason.INACTIVE)
    if endpoint.allowed_ips and not is_listed(ip, endpoint.allowed_ips):
        raise Refused(Reason.IP)
