"""What an answer must not show once it is written down: receivers echo requests, and redirect to where they came from."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote, unquote_plus, urlsplit

from integrations.http.masking import spellings

_TOKEN_LIKE = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z]).{6,}|(?=.*[a-z])(?=.+[A-Z]).{8,}|.{16,}")
"""A part of a path that is hardly a word: letters and digits, a capital amid small letters, or very long."""


@lru_cache(maxsize=256)
def in_confidence(url: str, secrets: tuple[str, ...], headers: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Return the texts to mask, in every spelling, the longest first: our secrets, the tenant's headers, and of the URL its
    user info, what its query and fragment hold, parts of its path that look like tokens, and all of it if it has any of these.
    """
    parts = urlsplit(url)
    queried = [each.partition("=") for each in parts.query.split("&")]
    plain = [parts.username or "", parts.password or "", parts.fragment]
    plain += [value if equals else name for name, equals, value in queried]
    steps = [each for each in parts.path.split("/") if _TOKEN_LIKE.fullmatch(unquote(each))]
    inside = [each for each in (*plain, *map(unquote_plus, plain), *steps, *map(unquote, steps)) if each]
    whole = [url, _target(url)] if inside else []
    return spellings([*secrets, *(value for _, value in headers), *inside, *whole])


def _target(url: str) -> str:
    """Return a URL from its path on, as a redirect to the same host may name it."""
    parts = urlsplit(url)
    return parts._replace(scheme="", netloc="", fragment="").geturl()
