"""Daraja's synchronous refusals as the hub's typed errors.

Sources: developer portal's error table (captured August 2026), the public table daraja-error-codes (2026). That
`500.001.1001` also comes with HTTP 200, and that its text decides what it means, was observed (nkap's runs, Sep-Oct 2026).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from integrations.contracts.adapter import Reply
from integrations.contracts.errors import (
    AuthenticationFailed,
    BadReply,
    Conflict,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from integrations.contracts.wire import Wire, WireError

TOKEN_CODES = frozenset({"401.002.01", "401.003.01", "404.001.03", "400.003.01"})
"""The access token was refused, before anything was processed."""

OVERLOADED_CODE = "500.001.1001"
BUSY_CODES = {"500.003.02": 30.0, "500.003.03": 60.0}
LOCKED_SECONDS = 60.0
"""At least a minute between two pushes to one number (portal's FAQ)."""

_FIELDS = {
    "amount": "amount",
    "phonenumber": "method.phone",
    "partya": "method.phone",
    "accountreference": "reference",
    "transactiondesc": "description",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no success: HTTP status, Daraja's errorCode and errorMessage where the body has them."""

    status: int
    code: str = ""
    message: str = ""
    retry_after: float | None = None


def read_json(reply: Reply) -> Wire:
    """Return the parsed body; raise `WireError` for anything but a JSON object."""
    try:
        wire = reply.json()
    except RecursionError:
        raise WireError("body is nested too deeply") from None
    if not isinstance(wire.raw, dict):
        raise WireError("body is not an object")
    return wire


def read_refusal(reply: Reply) -> Refusal | None:
    """Return what was refused, or None where the answer is a success (2xx without an errorCode)."""
    code = message = ""
    try:
        wire = read_json(reply)
        found, text = wire.get("errorCode"), wire.get("errorMessage")
        code = found.text(max_length=40).strip() if found else ""
        message = text.text() if text else ""
    except WireError:
        if not reply.ok:
            message = reply.text()
    if reply.ok and not code:
        return None
    status = reply.status
    if reply.ok and re.fullmatch(r"[45]\d\d\..+", code):
        status = int(code[:3])  # an error envelope that came with HTTP 200: the code says what the status should have
    return Refusal(status, code, re.sub(r"\s+", " ", message).strip()[:200], reply.retry_after)


def refused(refusal: Refusal, *, safe: bool) -> ProviderError:
    """Return the error for a refusal. `safe`: asking again harms nobody, so "no answer" means unavailable, not unknown."""
    code, told = refusal.code, refusal.message.lower()
    if code == OVERLOADED_CODE:
        return _overloaded(refusal, safe=safe)
    if code in BUSY_CODES or refusal.status == 429:
        wait = refusal.retry_after or BUSY_CODES.get(code, 30.0)
        return RateLimited("M-Pesa is too busy to take the request.", provider_code=code or "429", retry_after=wait)
    if code == "500.002.1001":
        return Conflict("M-Pesa had this request before.", provider_code=code)
    if code == "500.003.1001" and ("already" in told or "duplicate" in told):
        return Conflict("M-Pesa has this registered already.", provider_code=code)
    if "no apiproduct match found" in told:
        return AuthenticationFailed(
            "The app on the developer portal lacks the M-Pesa product for this call: add it there.",
            provider_code=code or str(refusal.status),
        )
    if code in TOKEN_CODES or refusal.status in (401, 403):
        return AuthenticationFailed("M-Pesa refused the app's access token.", provider_code=code or str(refusal.status))
    if 400 <= refusal.status < 500:
        return _invalid(refusal)
    return no_answer(refusal, safe=safe)


def _overloaded(refusal: Refusal, *, safe: bool) -> ProviderError:
    """One code for many things: only its text tells them apart."""
    told = refusal.message.lower()
    if "wrong credentials" in told:
        return AuthenticationFailed(
            "M-Pesa refused the shortcode and passkey (a till needs its store number).", provider_code=refusal.code
        )
    if "merchant does not exist" in told:
        return AuthenticationFailed("M-Pesa does not know this shortcode as a merchant.", provider_code=refusal.code)
    if "unable to lock" in told:
        return RateLimited(
            "Another M-Pesa request to this number is still running.",
            provider_code=refusal.code,
            retry_after=max(refusal.retry_after or 0.0, LOCKED_SECONDS),
        )
    if safe and "does not exist" in told:
        return NotFound("M-Pesa does not know this transaction.", provider_code=refusal.code)
    return no_answer(refusal, safe=safe)


def _invalid(refusal: Refusal) -> ProviderError:
    named = re.search(r"invalid\s+([a-z]+)\s*$", refusal.message.lower())
    attr = _FIELDS.get(named[1]) if named else None
    reason = refusal.message if refusal.message and "<" not in refusal.message else "no reason given"  # not an HTML page
    return InvalidRequest(
        f"M-Pesa refused the request: {reason}",
        provider_code=refusal.code or str(refusal.status),
        attr=attr,
    )


def no_answer(refusal: Refusal, *, safe: bool) -> ProviderError:
    """Return the error for an answer that does not say whether the request was carried out."""
    code = refusal.code or str(refusal.status)
    if safe:
        return ProviderUnavailable(f"M-Pesa could not answer (HTTP {refusal.status}).", provider_code=code)
    return OutcomeUnknown(f"M-Pesa did not say whether it took the request (HTTP {refusal.status}).", provider_code=code)


def unreadable(error: WireError, *, safe: bool) -> ProviderError:
    """Return the error for a success that can't be read; `error` names the path and never a value."""
    if safe:
        return ProviderUnavailable(f"M-Pesa's answer could not be read: {error}.", provider_code="unreadable")
    return BadReply(f"M-Pesa's answer could not be read: {error}.", provider_code="unreadable")
