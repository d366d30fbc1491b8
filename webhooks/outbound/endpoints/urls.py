"""How an endpoint's URL is shown to those who need not know all of it."""

from __future__ import annotations

import re

from webhooks.outbound.delivery.sender import MASK


def masked_url(url: str) -> str:
    """Return a URL with what may be a token masked: user info, the values of its query, a parameter without one, and the
    fragment."""
    url, hash_mark, _fragment = re.sub(r"(?<=://)[^/@?#]+@", f"{MASK}@", url).partition("#")
    url, mark, query = url.partition("?")
    shown = [
        f"{name}={MASK}" if equals else MASK for name, equals, _ in (each.partition("=") for each in query.split("&")) if name
    ]
    return url + mark + "&".join(shown) + (f"#{MASK}" if hash_mark else "")
