"""What the tests of this folder share: a config, a recording HTTP port, the fixtures, the adapter before a simulator."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from integrations.contracts.adapter import ConfigView, FetchedToken, Reply
from integrations.contracts.capabilities import Environment
from integrations.contracts.inbound import InboundRequest, Origin, Trust
from integrations.contracts.messaging import Target
from integrations.contracts.whatsapp import WhatsAppMessage
from integrations.providers.whatsapp.adapter import WhatsAppCloud
from integrations.providers.whatsapp.provider import PROVIDER

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
TOKEN = "EAAGcanary4f7d2b90c1e8"
APP_SECRET = "meta-app-secret-0001"
VERIFY_TOKEN = "verify-canary-0123456789"
NUMBER_ID, WABA_ID = "400000000000042", "300000000000042"
TO = "+254711000001"
WAMID = "wamid.HBgMMjU0NzExMDAwMDAxFQIAERgSQzQ4RDE1QjQ1RTlGQTI0MkFBAA=="
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
SECRETS = {"access_token": TOKEN, "app_secret": APP_SECRET, "verify_token": VERIFY_TOKEN}
ORIGIN = Origin(tenant_id=7, config_id=3, trust=Trust.SIGNED, receipt_id=11)


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


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
        given |= {"form": form, "body": body, "headers": headers, "auth": auth}
        self.calls.append({name: value for name, value in given.items() if value is not None})
        return self.replies.pop(0)

    def answer(self, body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.replies.append(Reply(status, dict(headers or {}), content, 12))

    def fail(self, code: int, status: int = 400, headers: Mapping[str, str] | None = None, text: str = "No.") -> None:
        self.answer({"error": {"message": text, "type": "OAuthException", "code": code}}, status, headers)


class NoTokens:
    """This provider has no access tokens to fetch: asking for one is a mistake."""

    def access_token(self, fetch: Callable[[], FetchedToken], *, rejected: str | None = None) -> str:
        raise AssertionError("no token is needed")


def view(base_url: str = "https://graph.example", **changes: Any) -> ConfigView:
    values = {**SECRETS, "phone_number_id": NUMBER_ID, "waba_id": WABA_ID, **changes}
    plain, secrets = PROVIDER.config.clean(values)
    return ConfigView(
        id=1, tenant_id=1, provider=PROVIDER.slug, environment=Environment.SIMULATOR, base_url=base_url,
        values=plain, secrets=secrets,
    )  # fmt: skip


def make_adapter(http: Any, config: ConfigView | None = None) -> WhatsAppCloud:
    return WhatsAppCloud(config=config or view(), http=http, tokens=NoTokens(), clock=lambda: NOW)


def message(to: str = TO, *, ref: str = "m7_c42", **changes: Any) -> WhatsAppMessage:
    return WhatsAppMessage("msg_1", Target(to, ref), **{"text": "Fees received. Asante.", **changes})


def signed(body: bytes, secret: str = APP_SECRET, **changes: Any) -> InboundRequest:
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"content-type": "application/json", "x-hub-signature-256": f"sha256={signature}"}
    return InboundRequest(**{"method": "POST", "purpose": "events", "query": {}, "headers": headers, "body": body, **changes})
