"""What the Mailgun tests share: configs, messages, a scripted HttpPort, fixtures, requests. No database."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

from integrations.contracts.adapter import ConfigView, FetchedToken, Reply
from integrations.contracts.capabilities import Environment
from integrations.contracts.email import EmailMessage, Envelope, Mailbox
from integrations.contracts.errors import ProviderError
from integrations.contracts.inbound import InboundRequest, Origin, Trust
from integrations.contracts.messaging import Target
from integrations.providers.mailgun.adapter import MailgunEmail
from integrations.providers.mailgun.provider import CONFIG
from tests.vendor_specs.loader import Description, description_of

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
API_KEY = "key-canary4f7d2b90c1e8"
SIGNING_KEY = "mg-signing-key-0123456789abcdef"
DOMAIN = "mg.tenant.example"
NOW = datetime(2026, 11, 21, 8, 20, tzinfo=UTC)
JANE, TOM, ANN = "jane@example.net", "tom@example.org", "ann@example.com"
ORIGIN = Origin(tenant_id=7, config_id=3, trust=Trust.SIGNED, receipt_id=11)


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


@dataclass
class Scripted:
    """Answers with what the test put in, in order (an error is raised), and keeps what was asked."""

    replies: list[Reply | ProviderError] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)

    def request(
        self,
        method: str,
        url: str,
        *,
        operation: str,
        safe: bool | None = None,
        query: Mapping[str, str] | None = None,
        json: Any = None,
        form: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: tuple[float, float] | None = None,
    ) -> Reply:
        given = {"method": method, "url": url, "operation": operation, "safe": safe, "query": query, "json": json}
        given |= {"form": form, "body": body, "headers": headers, "auth": auth}
        self.calls.append({name: value for name, value in given.items() if value is not None})
        reply = self.replies.pop(0)
        if isinstance(reply, ProviderError):
            raise reply
        return reply

    def answer(self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.replies.append(Reply(status, dict(headers or {}), body, 12))

    def form(self, number: int = 0) -> list[tuple[str, str]]:
        """Return the text fields of a call's multipart body, in the order sent."""
        return [(name, content.decode()) for name, filename, _kind, content in self.parts(number) if filename is None]

    def fields(self, number: int = 0) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, value in self.form(number):
            found.setdefault(name, []).append(value)
        return found

    def parts(self, number: int = 0) -> list[tuple[str, str | None, str, bytes]]:
        """Return (field, file name, content type, content) of each part."""
        call = self.calls[number]
        head = f"Content-Type: {call['headers']['Content-Type']}\r\n\r\n".encode()
        parsed: Any = BytesParser(policy=HTTP.clone(utf8=True)).parsebytes(head + call["body"])
        return [
            (
                part.get_param("name", header="content-disposition"),
                part.get_filename(),
                part.get_content_type(),
                part.get_payload(decode=True) or b"",
            )
            for part in parsed.iter_parts()
        ]


class NoTokens:
    """This provider has no access tokens: asking for one is a mistake."""

    def access_token(self, fetch: Callable[[], FetchedToken], *, rejected: str | None = None) -> str:
        raise AssertionError("no token is needed")


def view(
    environment: Environment = Environment.PRODUCTION, *, base_url: str = "https://api.mailgun.net", **given: Any
) -> ConfigView:
    """Return an opened config as the registry makes it: every field there, None where empty."""
    plain, secrets = CONFIG.clean({"domain": DOMAIN, "api_key": API_KEY, "webhook_signing_key": SIGNING_KEY, **given})
    return ConfigView(
        id=3,
        tenant_id=7,
        provider="mailgun",
        environment=environment,
        base_url=base_url,
        values={**{each.name: None for each in CONFIG if not each.secret}, **plain},
        secrets={**{each.name: None for each in CONFIG if each.secret}, **secrets},
    )


def adapter(http: Any, config: ConfigView | None = None) -> MailgunEmail:
    return MailgunEmail(config=config or view(), http=http, tokens=NoTokens(), clock=lambda: NOW)


def envelope(address: str = JANE, ref: str = "mr_1", **given: Any) -> Envelope:
    return Envelope(**{"to": (Target(address, ref),), "message_id": f"{ref}@hub.example", **given})


def email(*envelopes: Envelope, **given: Any) -> EmailMessage:
    values: dict[str, Any] = {
        "message_id": "msg_1", "sender": Mailbox("no-reply@mg.tenant.example", "Shop"), "subject": "Receipt 1042",
        "text": "Thank you.", "envelopes": envelopes or (envelope(),),
    }  # fmt: skip
    return EmailMessage(**{**values, **given})


def signed(data: Any, *, key: str = SIGNING_KEY, stamp: str = "1795249011", token: str = "ab" * 25, **block: Any) -> bytes:
    """Return a webhook's body with a signature that holds, unless `block` says otherwise."""
    digest = hmac.new(key.encode(), f"{stamp}{token}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
    return json.dumps(
        {"signature": {"timestamp": stamp, "token": token, "signature": digest, **block}, "event-data": data}
    ).encode()


def event(**changes: Any) -> dict[str, Any]:
    """Return the documented event with members replaced; None takes one away."""
    data: dict[str, Any] = json.loads(fixture("failed_permanent.json"))["event-data"]
    return {name: value for name, value in {**data, **changes}.items() if value is not None}


def request(body: bytes, purpose: str = "events") -> InboundRequest:
    return InboundRequest("POST", purpose, {}, {"content-type": "application/json"}, body)


FORM = "POST-v3-domain_name-messages-multipart-form-data-RequestBody"
LISTS = ("to", "cc", "bcc", "o:tag")


def as_described(http: Scripted) -> None:
    """Hold every send against Mailgun's description of the form: it is multipart, and so not looked into elsewhere."""
    described = description_of("mailgun")
    for number, call in enumerate(http.calls):
        if described is None or call["operation"] != "send":
            continue
        sent = http.fields(number)
        assert all(len(values) == 1 or name in LISTS for name, values in sent.items())
        names = description_names(described)
        assert {name for name in sent if name[:2] not in ("h:", "v:")} <= names
        described.check_component(FORM, {name: (values if name in LISTS else values[0]) for name, values in sent.items()})


def description_names(described: Description) -> set[str]:
    """Return the fields that Mailgun's description names."""
    return set(described._answers["components"]["schemas"][FORM]["properties"])
