"""What becomes of an endpoint's own headers when it is changed. Their values are the receiver's credentials, shown masked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from integrations.contracts.errors import InvalidRequest
from integrations.secrets import SecretUnreadable
from webhooks.outbound.delivery.sender import MASK
from webhooks.outbound.endpoints.urls import same_origin
from webhooks.outbound.models import Endpoint

MOVED = "Enter the headers again: the address changed."


def is_masked(value: str) -> bool:
    """Tell whether this stands for a stored value. No header's value begins so: they are ASCII."""
    return value.startswith(MASK)


def headers_after(stored: Endpoint | None, changes: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the headers that an endpoint has after these changes, each masked value filled in with the one that it stands
    for; None where they stay as they are. `stored` is None for one that is to be made.

    Raises `InvalidRequest` (attr `headers`) for a mask that stands for nothing, and where stored values would go on to another
    scheme, host or port: who may write an address must not have values sent there that he is not shown.
    """
    given: Mapping[str, str] | None = changes.get("headers")
    kept = {name for name, value in (given or {}).items() if is_masked(value)}
    follow = stored is not None and bool(kept or (given is None and stored.sealed_headers))
    if follow and not same_origin(stored.url, changes.get("url", stored.url)):
        raise InvalidRequest(MOVED, attr="headers")
    if given is None:
        return None
    known = _known(stored) if kept and stored is not None else {}
    if missing := sorted(name for name in kept if name.lower() not in known):
        raise InvalidRequest(f"There is no stored value of {', '.join(missing)} to keep.", attr="headers")
    return {name: known[name.lower()] if name in kept else value for name, value in given.items()}


def _known(stored: Endpoint) -> dict[str, str]:
    try:
        return {name.lower(): value for name, value in stored.headers().items()}
    except SecretUnreadable:
        return {}
