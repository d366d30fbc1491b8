"""From the bytes that came to an object: decompressed within limits, parsed, and nothing in it that can't be stored."""

from __future__ import annotations

import json
import math
import zlib
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from integrations.contracts.inbound import InboundRequest, MalformedWebhook
from webhooks.inbound.refusals import Reason, Refused

DECODED_LIMIT = 8 * 1024 * 1024
MAX_RATIO = 100
SMALL = 64 * 1024
"""What comes of so little is not judged by its ratio."""

MAX_DEPTH = 50
MAX_FORM_FIELDS = 500
_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def content(request: InboundRequest) -> bytes:
    """Return the body without its Content-Encoding.

    Raises `Refused`: an encoding that is not known (415), more than 8 MB or 100 times what came (413), broken data (400).
    """
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return request.body
    window = _WINDOWS.get(encoding)
    if window is None:
        raise Refused(Reason.ENCODING, "send the body plain, or compressed by gzip or deflate")
    limit = min(DECODED_LIMIT, max(SMALL, len(request.body) * MAX_RATIO))
    try:
        return _inflated(request.body, window, limit)
    except zlib.error:
        if encoding != "deflate":
            raise Refused(Reason.MALFORMED, "the compressed body is broken") from None
    try:  # some send deflate without the zlib header
        return _inflated(request.body, -zlib.MAX_WBITS, limit)
    except zlib.error:
        raise Refused(Reason.MALFORMED, "the compressed body is broken") from None


def _inflated(body: bytes, window: int, limit: int) -> bytes:
    inflater = zlib.decompressobj(window)
    found = inflater.decompress(body, limit + 1)
    if len(found) > limit:
        raise Refused(Reason.TOO_LARGE, "the decompressed body is too large")
    if not inflater.eof or inflater.unused_data:
        raise zlib.error("cut off, or more than one stream")
    return found


def parsed(request: InboundRequest) -> dict[str, Any]:
    """Return the body as an object: JSON, or a form whose members are texts; a JSON list becomes `{"items": [...]}`.

    What databases can't keep (NUL, lone surrogates) is replaced. Raises `Refused` and `MalformedWebhook`.
    """
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    text = _text(content(request), parameters)
    if kind.strip().lower() == "application/x-www-form-urlencoded":
        try:
            pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS)
        except ValueError:
            raise MalformedWebhook("the form has too many fields") from None
        return {clean(name): clean(value) for name, value in pairs}
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise MalformedWebhook("the body is neither JSON nor a form") from None
    value = _checked(value, MAX_DEPTH)
    if isinstance(value, list):
        return {"items": value}
    if not isinstance(value, dict):
        raise MalformedWebhook("the body must be a JSON object")
    return value


def _text(body: bytes, parameters: str) -> str:
    charset = "utf-8"
    for part in parameters.split(";"):
        name, _, value = part.strip().partition("=")
        if name.strip().lower() == "charset" and value:
            charset = value.strip().strip("\"'").lower()
    if charset not in ("utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "windows-1252"):
        raise MalformedWebhook("the body's character set is not known here")
    try:
        return body.decode("utf-8-sig" if charset.startswith("utf") else charset)
    except UnicodeDecodeError:
        raise MalformedWebhook("the body is not in the character set that it claims") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _checked(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise MalformedWebhook("the body holds a number without end")
    if not isinstance(value, dict | list):
        return value
    if depth == 0:
        raise MalformedWebhook(f"the body is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, list):
        return [_checked(item, depth - 1) for item in value]
    return {clean(name): _checked(item, depth - 1) for name, item in value.items()}


def clean(text: str) -> str:
    """Return text without what PostgreSQL refuses."""
    if text.isascii() and "\x00" not in text:  # nearly all of it is
        return text
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
