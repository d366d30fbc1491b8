"""What a log may show of an address. Some addresses are keys, browsers bring gateways' secrets along in the query, and people
look for people in it."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote_plus

from integrations.http.masking import MASK, Mask
from integrations.tenancy.key_shape import KEY_IN_TEXT

PAYER_PAGE = re.compile(rf"/pay/(?:[\w-]+|{MASK})(?P<part>/[a-z]+)?/?(?:[?#][^\s\"'<>]*)?")
# The token has a shape of its own, so that it is found wherever it stands: in a page's path, or quoted in another address.
PORTAL_LINK = re.compile(r"(?P<before>/portal/l/|(?:%(?:25)*2[Ff])portal(?:%(?:25)*2[Ff])l(?:%(?:25)*2[Ff]))[^/?#%&\s\"'<>]+")
PORTAL_TOKEN = re.compile(r"plt_[A-Za-z0-9_-]{16,}")
# A sealed token, or one of those that number the recipient and are signed.
UNSUBSCRIBE_PAGE = re.compile(r"/u/(?:\d+(?::|%3[Aa])[\w-]+|[\w-]{32,})/?(?:[?#][^\s\"'<>]*)?")
# The `?` of an address that stands, quoted once or more often, in another one's query (`next=...`).
INNER_QUERY = re.compile(r"\?|%(?:25)*3[Ff]")
PARAMETER = re.compile(r"(?P<before>[?&;])(?P<name>[^=&;#]+)=(?P<value>[^&;#]*)")
PERSONAL = frozenset(
    {
        "to", "from", "cc", "bcc", "e_mail", "address", "addresses", "recipient", "recipients", "sender", "contact", "reply_to",
        "phone", "phone_number", "number", "mobile", "msisdn", "tel", "email", "mail",
        "name", "first_name", "last_name", "user", "username", "user_id", "users", "customer", "payer", "account",
        "account_number", "text", "body", "message", "subject", "content", "q", "query", "search", "term", "reason", "detail",
        "note", "description", "_changelist_filters",
    }
)  # fmt: skip
"""Parameters (of whatever route) that hold who somebody is, what was written to him, or what was searched for."""


def shown(address: str) -> str:
    """Return a path (with its query, or a whole URL) fit for a log.

    Nowhere an API key of ours; of a payer's page neither the token, which opens it, nor the query, in which gateways send a
    client secret; no token of an unsubscribe page; elsewhere the values of secret parameters are masked, and of those that tell
    of people (`PERSONAL`, with any lookup behind: `address__contains`); names of parameters stay.
    """
    return _without_payers(PARAMETER.sub(_without_people, Mask().url(address)))


def mask_payer_pages(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: the same (keys, payers' and unsubscribe pages) in every text of a log line, Django's own on refused
    requests among them."""
    for key, value in list(event.items()):
        if isinstance(value, str):
            event[key] = _without_payers(value)
    return event


def _without_people(found: re.Match[str]) -> str:
    name = unquote_plus(found["name"]).strip().lower().replace("-", "_").partition("__")[0].rstrip("[]")
    if name in PERSONAL:
        value = MASK if found["value"] else ""
    else:
        value, inner = INNER_QUERY.split(found["value"], maxsplit=1)[0], INNER_QUERY.search(found["value"])
        value += f"{inner[0]}{MASK}" if inner else ""
    return f"{found['before']}{found['name']}={value}"


def _without_payers(text: str) -> str:
    text = KEY_IN_TEXT.sub(MASK, text)
    text = PORTAL_TOKEN.sub(MASK, PORTAL_LINK.sub(lambda found: f"{found['before']}{MASK}", text))
    text = UNSUBSCRIBE_PAGE.sub(f"/u/{MASK}", text)
    return PAYER_PAGE.sub(lambda found: f"/pay/{MASK}{found['part'] or ''}", text)
