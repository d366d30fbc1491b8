"""Calling Mailgun: host, key, multipart bodies, and what each HTTP status means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from urllib3.filepost import encode_multipart_formdata

from integrations.contracts.adapter import ConfigView, HttpPort, Reply
from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import (
    AuthenticationFailed,
    BadReply,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from integrations.contracts.wire import Wire, WireError

Part = str | tuple[str, bytes, str]
"""A field's text, or a file: (name, content, content type)."""

HOSTS = {"us": "https://api.mailgun.net", "eu": "https://api.eu.mailgun.net"}
TEXT_LIMIT = 200

# Which of our fields a refusal is about, by what its text names.
ATTRIBUTES = (
    (r"'?\bto'? parameter|'?\b(cc|bcc)'? parameter|recipient", "to"),
    (r"'?\bfrom'? parameter|sender", "from"),
    (r"template", "template"),
    (r"limited to 16 ?KB|\b[ohvt]:", "headers"),
    (r"attachment|inline|too (large|big)|maximum (message )?size", "attachments"),
    (r"subject", "subject"),
)
# Unconfirmed wording: what the sandbox domain says to a recipient who is not authorised.
NOT_AUTHORISED = re.compile(r"authori[sz]ed recipient|sandbox subdomains? ", re.IGNORECASE)
NOT_ALLOWED = re.compile(r"is not allowed to send|domain .*(disabled|unverified)", re.IGNORECASE)
WAIT = re.compile(r"try again after (\d{1,6}) seconds", re.IGNORECASE)


def host(config: ConfigView) -> str:
    """Return where this config's API is: the region's host, but the simulator's where that is the environment."""
    if config.environment is Environment.SIMULATOR:
        return config.base_url
    return HOSTS[str(config.get("region") or "us")]


class Calls:
    """Makes one config's requests. Every method raises `ProviderError` for what was refused."""

    def __init__(self, config: ConfigView, http: HttpPort) -> None:
        self._config = config
        self._http = http
        self._host = host(config)

    def get(self, path: str, *, operation: str, query: Mapping[str, str] | None = None) -> Wire:
        return self._safely("GET", path, operation=operation, query=query)

    def write(self, method: str, path: str, fields: Sequence[tuple[str, Part]], *, operation: str) -> Wire:
        """Write a setting that may be written again; the body is multipart."""
        body, kind = encoded(fields)
        return self._safely(method, path, operation=operation, body=body, headers={"Content-Type": kind})

    def delete(self, path: str, *, operation: str) -> bool:
        """Delete; False where there was nothing."""
        reply = self._request("DELETE", path, operation=operation, safe=True)
        if reply.status == 404 and "domain not found" not in reply.text().lower():
            return False
        self._checked(reply, sending=False)
        return True

    def send(self, path: str, fields: Sequence[tuple[str, Part]]) -> Wire:
        """Post a message. Raises `OutcomeUnknown` where it may have been taken."""
        body, kind = encoded(fields)
        reply = self._request("POST", path, operation="send", safe=False, body=body, headers={"Content-Type": kind})
        self._checked(reply, sending=True)
        if b"Mailgun Magnificent API" in reply.body[:200]:
            raise AuthenticationFailed(
                "Mailgun does not know this path: check the sending domain.", provider=self._config.provider, attr="domain"
            )
        return self._json(reply, sending=True)

    def _safely(
        self,
        method: str,
        path: str,
        *,
        operation: str,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Wire:
        reply = self._request(method, path, operation=operation, safe=True, query=query, body=body, headers=headers)
        self._checked(reply, sending=False)
        return self._json(reply, sending=False)

    def _request(
        self,
        method: str,
        path: str,
        *,
        operation: str,
        safe: bool,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        return self._http.request(
            method,
            f"{self._host}{path}",
            operation=operation,
            safe=safe,
            query=query,
            body=body,
            headers={"Accept": "application/json", **(headers or {})},
            auth=("api", str(self._config.api_key)),
        )

    def _json(self, reply: Reply, *, sending: bool) -> Wire:
        try:
            return reply.json()
        except WireError as error:
            raise self.unreadable(error, sending=sending) from None

    def unreadable(self, error: WireError, *, sending: bool) -> ProviderError:
        """Return the error for an answer of another shape."""
        text = f"Mailgun's answer can't be read: {error}"
        make = BadReply if sending else ProviderUnavailable
        return make(text, provider=self._config.provider)

    def _checked(self, reply: Reply, *, sending: bool) -> None:
        if reply.ok:
            return
        provider, code = self._config.provider, str(reply.status)
        text = self.shown(_message(reply))
        if reply.status == 429:
            raise RateLimited(
                text or "Too many requests.", provider=provider, provider_code=code, retry_after=_retry_after(reply, text)
            )
        if reply.status in (400, 403) and NOT_AUTHORISED.search(text):
            raise InvalidRequest(text, provider=provider, provider_code=code, attr="to")
        if reply.status in (401, 402, 403, 404) or (reply.status == 400 and NOT_ALLOWED.search(text)):
            raise AuthenticationFailed(self._advice(reply.status, text), provider=provider, provider_code=code)
        if reply.status == 413:
            text = text or "The message is too large for Mailgun."
            raise InvalidRequest(text, provider=provider, provider_code=code, attr="attachments")
        if 400 <= reply.status < 500:
            attr = next((name for pattern, name in ATTRIBUTES if re.search(pattern, text, re.IGNORECASE)), None)
            raise InvalidRequest(text or "Mailgun refused the request.", provider=provider, provider_code=code, attr=attr)
        if sending:
            raise OutcomeUnknown(
                f"Mailgun answered {reply.status}: it may have taken the message.", provider=provider, provider_code=code
            )
        raise ProviderUnavailable(f"Mailgun answered {reply.status}.", provider=provider, provider_code=code)

    def _advice(self, status: int, text: str) -> str:
        """Return what the tenant's people must look at."""
        said = f" ({text})" if text else ""
        if status == 401:
            return f"Mailgun refused the API key{said}. A domain sending key can send, and nothing else."
        if status == 404:
            region = str(self._config.get("region") or "us").upper()
            return f"Mailgun does not know the domain {self._config.domain} in region {region}{said}."
        if status == 402:
            return f"Mailgun wants the account's plan or payment looked at{said}."
        return f"Mailgun does not let this key or domain do that{said}."

    def shown(self, text: str) -> str:
        """Return Mailgun's text for people: one line, capped, without the key should it ever be echoed."""
        return " ".join(text.replace(str(self._config.api_key), "••••").split())[:TEXT_LIMIT]


def encoded(fields: Sequence[tuple[str, Part]]) -> tuple[bytes, str]:
    """Return (body, content type) of a multipart form; file names go as UTF-8, which is what Mailgun reads."""
    return encode_multipart_formdata(list(fields))


def _message(reply: Reply) -> str:
    """Return the text of a refusal: `message`, or `Reason` of the webhooks API, or the bare text."""
    try:
        found = reply.json()
        if isinstance(found.raw, str):
            return found.raw
        said = found.get("message") or found.get("Reason") or found.get("reason")
        return said.text() if said is not None else ""
    except WireError:
        return "" if b"<" in reply.body[:1] else reply.text()[:1000]


def _retry_after(reply: Reply, text: str) -> float | None:
    """Return the wait in seconds, from the header or from the text."""
    if reply.retry_after is not None:
        return reply.retry_after
    found = WAIT.search(text)
    return float(found[1]) if found else None
