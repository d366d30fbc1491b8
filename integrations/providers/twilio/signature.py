"""`X-Twilio-Signature`: base64 of HMAC-SHA1 over the called URL and the form's fields (twilio.com/docs/usage/security).

A body that is no form is bound by its SHA-256 in the URL's `bodySHA256`. The scheme has no time in it: a replay is told by the
dedupe key alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from urllib.parse import parse_qsl, urlsplit

DEFAULT_PORTS = {"https": 443, "http": 80}
FIELD_LIMIT = 200


def sign(token: str, url: str, fields: Iterable[tuple[str, str]] = ()) -> str:
    """Return the signature of a call to `url` (its fragment is not part of it) with these form fields.

    Names are sorted as bytes; of a name that stands twice, the distinct values follow each other, sorted.
    """
    values: dict[str, set[str]] = {}
    for name, value in fields:
        values.setdefault(name, set()).add(value)
    names = sorted(values, key=lambda name: name.encode())
    text = url.partition("#")[0] + "".join(name + value for name in names for value in sorted(values[name]))
    return base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()


def fits(token: str, signature: str, url: str, body: bytes, content_type: str) -> bool:
    """Tell whether Twilio, with this auth token, signed this call. An empty token fits nothing."""
    if not token or not signature or not url:
        return False
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        fields = form_fields(body)
        if fields is None:
            return False
    else:
        named = dict(parse_qsl(urlsplit(url).query)).get("bodySHA256", "")
        if not hmac.compare_digest(hashlib.sha256(body).hexdigest().encode(), named.encode()):
            return False
        fields = ()
    # All are tried, whichever fits: the time taken says nothing.
    found = [hmac.compare_digest(sign(token, each, fields).encode(), signature.encode()) for each in spellings(url)]
    return any(found)


def form_fields(body: bytes) -> Sequence[tuple[str, str]] | None:
    """Return the fields of a form in order, repeated and empty ones too; None where the body is none."""
    try:
        return parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=FIELD_LIMIT)
    except ValueError:
        return None


def spellings(url: str) -> tuple[str, str]:
    """Return a URL without any port and with an explicit one: Twilio signs either."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    try:
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return url, url
    name = host[: host.rfind(":")] if parts.port is not None else host
    prefix, rest = f"{parts.scheme}://", url.partition("://")[2][len(parts.netloc) :]
    return f"{prefix}{name}{rest}", f"{prefix}{name}:{port}{rest}"
