"""How an endpoint's URL is shown to those who need not know all of it, and what two URLs have in common."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from webhooks.outbound.delivery.sender import MASK

TOKEN_FROM = 16
"""Characters that a part of a path has at least to be taken for a token."""
_USUAL_PORTS = {"http": 80, "https": 443}


def masked_url(url: str) -> str:
    """Return a URL with what may be a token masked: user info, long parts of the path that look drawn at random, the values of
    its query, a parameter without one, and the fragment."""
    url, hash_mark, _fragment = re.sub(r"(?<=://)[^/?#]+@", f"{MASK}@", url).partition("#")
    url, mark, query = url.partition("?")
    shown = [
        f"{name}={MASK}" if equals else MASK for name, equals, _ in (each.partition("=") for each in query.split("&")) if name
    ]
    scheme, colon, rest = url.partition("://")
    host, *parts = rest.split("/")
    path = "/".join([host, *(MASK if _looks_like_token(each) else each for each in parts)])
    return scheme + colon + path + mark + "&".join(shown) + (f"#{MASK}" if hash_mark else "")


def _looks_like_token(part: str) -> bool:
    """Hex, base64, numbers, words with a key in them; not `payment-notifications`."""
    mixed = part != part.lower() and part != part.upper()
    return len(part) >= TOKEN_FROM and (mixed or any(each.isdigit() for each in part))


def same_origin(one: str, other: str) -> bool:
    """Tell whether both URLs lead to the same scheme, host and port. What can't be read is the same as nothing."""
    try:
        return _origin(one) == _origin(other)
    except ValueError:
        return False


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or _USUAL_PORTS.get(parts.scheme)
