"""What a log may show of an address. Some addresses are keys, and browsers bring gateways' secrets along in the query."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any

from integrations.http.masking import MASK, Mask

PAYER_PAGE = re.compile(rf"/pay/(?:[\w-]+|{MASK})(?P<part>/[a-z]+)?/?(?:[?#][^\s\"'<>]*)?")
UNSUBSCRIBE_PAGE = re.compile(r"/u/\d+(?::|%3[Aa])[\w-]+/?(?:[?#][^\s\"'<>]*)?")


def shown(address: str) -> str:
    """Return a path (with its query, or a whole URL) fit for a log.

    Of a payer's page neither the token, which opens it, nor the query, in which gateways send a client secret; no token of an
    unsubscribe page; elsewhere the values of secret parameters are masked.
    """
    return _without_payers(Mask().url(address))


def mask_payer_pages(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: the same in every text of a log line, Django's own on refused requests among them."""
    for key, value in list(event.items()):
        if isinstance(value, str):
            event[key] = _without_payers(value)
    return event


def _without_payers(text: str) -> str:
    text = UNSUBSCRIBE_PAGE.sub(f"/u/{MASK}", text)
    return PAYER_PAGE.sub(lambda found: f"/pay/{MASK}{found['part'] or ''}", text)
