"""Masking: by declaration (names of keys and headers) and by value (the secrets in use, and what is derived from them)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus, unquote_plus

MASK = "••••"
BODY_LIMIT = 16_384

# Names whose values are secret wherever they appear, compared lower-case with `-` as `_`.
ALWAYS_MASKED = frozenset(
    {
        "authorization",
        "proxy_authorization",
        "cookie",
        "set_cookie",
        "x_api_key",
        "api_key",
        "apikey",
        "access_token",
        "refresh_token",
        "id_token",
        "client_secret",
        "password",
        "secret",
        "token",
        "pin",
        "private_key",
        "signing_secret",
        "verify_token",
        "hub.verify_token",
    }
)
# The same, as names of an address's parameters only: elsewhere they are ordinary words.
_MASKED_IN_QUERIES = frozenset(
    {"key", "sig", "signature", "x_amz_signature", "x_amz_credential", "x_amz_security_token", "x_goog_signature"}
)

# The token in the path of a callback URL makes the caller believable, that of a payer's page opens it: credentials too.
OWN_PATH = re.compile(r"((?:/|%2[Ff])(?:hooks|pay)(?:/|%2[Ff]))[0-9a-f]{16,64}")

_in_use: ContextVar[tuple[str, ...]] = ContextVar("secrets_in_use", default=())


def _normal(name: str) -> str:
    return name.lower().replace("-", "_")


def _parameter(name: str) -> str:
    return _normal(unquote_plus(name).strip())


def spellings(secrets: Iterable[str]) -> tuple[str, ...]:
    """Return each secret in the forms in which it may show up in text: plain, URL-quoted with digits of either case,
    JSON-escaped with or without \\u, base64 of either alphabet, padded or not."""
    return _spellings(tuple(secrets))


@lru_cache(maxsize=512)
def _spellings(secrets: tuple[str, ...]) -> tuple[str, ...]:
    # Remembered, since each call to a provider asks for those of the same account again, twice.
    found: set[str] = set()
    for secret in secrets:
        if len(secret) < 4:
            continue  # too short to tell from ordinary text; masked by key alone
        for quoted in (quote(secret), quote(secret, safe=""), quote_plus(secret)):
            found.update({quoted, re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), quoted)})
        for as_ascii in (True, False):
            escaped = json.dumps(secret, ensure_ascii=as_ascii)[1:-1]
            found.update({escaped, escaped.replace("/", "\\/")})
        encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
        found.update({secret, encoded, encoded.replace("+", "-").replace("/", "_")})
    return tuple(sorted(found, key=len, reverse=True))


@contextmanager
def secrets_in_use(secrets: Iterable[str]) -> Any:
    """Within the block, mask these values in every log line of this thread of work too."""
    token = _in_use.set(_in_use.get() + spellings(secrets))
    try:
        yield
    finally:
        _in_use.reset(token)


class Mask:
    """Masks what belongs to one call: `keys` by name, `secrets` by value."""

    def __init__(self, *, keys: Iterable[str] = (), secrets: Iterable[str] = ()) -> None:
        self._keys = ALWAYS_MASKED | {_normal(key) for key in keys}
        self._given = spellings(secrets)
        self._values = list(self._given)

    def add(self, *secrets: str) -> None:
        """Mask these values too, from now on (a token just fetched)."""
        self._values = sorted({*self._values, *spellings(secrets)}, key=len, reverse=True)

    def text(self, value: str) -> str:
        if "hooks" in value or "pay" in value:  # few strings do: looking for the word is ten times as fast
            value = OWN_PATH.sub(rf"\g<1>{MASK}", value)
        in_use = _in_use.get()
        for secret in self._values if in_use == self._given else (*self._values, *in_use):
            value = value.replace(secret, MASK)
        return value

    def tree(self, value: Any) -> Any:
        """Return JSON-like data with masked values under masked keys, and secrets masked within every string."""
        if isinstance(value, Mapping):
            return {
                str(key): MASK if _normal(str(key)) in self._keys and item not in (None, "") else self.tree(item)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.tree(item) for item in value]
        return self.text(value) if isinstance(value, str) else value

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {name: MASK if _normal(name) in self._keys else self.text(value) for name, value in headers.items()}

    def url(self, url: str) -> str:
        """Mask the values of secret query parameters, and user info."""
        url = re.sub(r"(?<=://)[^/@\s]+@", f"{MASK}@", url)
        return self.text(re.sub(r"([?&])([^=&#]+)=([^&#]*)", self._query_value, url))

    def _query_value(self, match: re.Match[str]) -> str:
        separator, name, value = match.groups()
        plain = _parameter(name)
        secret = plain in self._keys or plain in _MASKED_IN_QUERIES
        return f"{separator}{name}={MASK if secret and value else value}"

    def _form_value(self, match: re.Match[str]) -> str:
        separator, name, value = match.groups()
        return f"{separator}{name}={MASK if _parameter(name) in self._keys else value}"

    def body(self, body: bytes | str, content_type: str = "") -> str:
        """Return a body fit for the log: masked by key where it is JSON or a form, by value always, and capped."""
        text = body.decode("utf-8", errors="replace") if isinstance(body, bytes) else body
        if "\x00" in text:
            return f"[{len(body)} bytes of binary data]"
        kind = content_type.partition(";")[0].strip().lower()
        if kind.endswith("json") or text[:1] in "{[":
            try:
                text = json.dumps(self.tree(json.loads(text)), ensure_ascii=False)
            except (ValueError, RecursionError):
                text = self.text(text)
        elif kind == "application/x-www-form-urlencoded":
            text = self.text(re.sub(r"(^|&)([^=&]+)=([^&]*)", self._form_value, text))
        else:
            text = self.text(text)
        if len(text) > BODY_LIMIT:
            text = f"{text[:BODY_LIMIT]}… [cut: {len(text)} characters]"
        return text


def mask_log_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: mask secret keys and the secrets in use in each log line."""
    mask = Mask()
    for key, value in list(event.items()):
        event[key] = MASK if _normal(key) in ALWAYS_MASKED else mask.tree(value)
    return event
