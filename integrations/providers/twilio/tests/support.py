"""What the tests of this folder share: a config, a recording HTTP port, the fixtures. No database."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from integrations.contracts.adapter import ConfigView, FetchedToken, Reply
from integrations.contracts.capabilities import Environment
from integrations.contracts.inbound import InboundRequest, Origin, Trust
from integrations.providers.twilio.adapter import TwilioSms
from integrations.providers.twilio.provider import PROVIDER
from integrations.providers.twilio.signature import form_fields, sign
from integrations.providers.twilio.whatsapp import TwilioWhatsApp

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
ACCOUNT = "AC" + "0" * 31 + "1"
SERVICE = "MG" + "0" * 31 + "1"
KEY = "SK" + "0" * 31 + "1"
SID = "SM" + "0" * 31 + "1"
TOKEN = "canary-4f7d2b90c1e8"
SENDER = "+15017122661"
NUMBER = "+254711000001"
NOW = datetime(2026, 11, 21, 8, 15, tzinfo=UTC)
HOOK = "https://hub.example.org/hooks/" + "ab" * 20
MESSAGES = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
ORIGIN = Origin(tenant_id=1, config_id=1, trust=Trust.SIGNED, receipt_id=1)


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def message(**changes: Any) -> dict[str, Any]:
    """Return the documented message with these members changed."""
    found: dict[str, Any] = {**json.loads(fixture("message__queued.json")), **changes}
    return found


@dataclass
class RecordingHttp:
    """Answers with what the test put in `replies`, in order, and keeps what was asked."""

    replies: list[Reply] = field(default_factory=list)
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
        given |= {"form": form, "body": body, "headers": headers, "auth": auth, "timeout": timeout}
        self.calls.append({name: value for name, value in given.items() if value is not None})
        return self.replies.pop(0)

    def answer(self, body: Any, status: int = 201, headers: Mapping[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.replies.append(Reply(status, dict(headers or {}), content, 12))


class NoTokens:
    """This provider has no access tokens: asking for one is a mistake."""

    def access_token(self, fetch: Callable[[], FetchedToken], *, rejected: str | None = None) -> str:
        raise AssertionError("no token is needed")


def view(
    environment: Environment = Environment.PRODUCTION, base_url: str = "https://api.twilio.com", **changes: Any
) -> ConfigView:
    given = {"account_sid": ACCOUNT, "auth_token": TOKEN, "sender": SENDER, "whatsapp_sender": "+14155238886", **changes}
    plain, secrets = PROVIDER.config.clean(given)
    return ConfigView(
        id=1, tenant_id=1, provider=PROVIDER.slug, environment=environment, base_url=base_url, values=plain, secrets=secrets
    )


def sms(http: Any, config: ConfigView | None = None) -> TwilioSms:
    return TwilioSms(config=config or view(), http=http, tokens=NoTokens(), clock=lambda: NOW)


def whatsapp(http: Any, config: ConfigView | None = None) -> TwilioWhatsApp:
    return TwilioWhatsApp(config=config or view(), http=http, tokens=NoTokens(), clock=lambda: NOW)


def inbound(body: bytes, *, path: str = "/status", query: str = "", token: str = TOKEN, **changes: Any) -> InboundRequest:
    """Return a signed call to the config's own path."""
    url = HOOK + path + (f"?{query}" if query else "")
    headers = {
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        "x-twilio-signature": sign(token, url, form_fields(body) or ()),
    }
    asked = dict(pair.split("=", 1) for pair in query.split("&")) if query else {}
    given = {"method": "POST", "purpose": "status", "query": asked, "headers": headers, "body": body, "url": url, **changes}
    return InboundRequest(**given)
