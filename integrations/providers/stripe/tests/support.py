"""What the Stripe tests share: configs, requests, a scripted HttpPort, fixtures. No database."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from stripe import WebhookSignature

from integrations.contracts.adapter import ConfigView, FetchedToken, Reply
from integrations.contracts.capabilities import Environment
from integrations.contracts.inbound import InboundRequest, Origin, Trust
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    CaptureRequest,
    PaymentQuery,
    PaymentRequest,
    RefundRequest,
    SetupRequest,
    VoidRequest,
)
from integrations.contracts.payment_features import MethodType
from integrations.providers.stripe.adapter import StripePayments
from integrations.providers.stripe.provider import CONFIG

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
SECRET_KEY = "sk_test_canary4f7d2b90c1e8"
WEBHOOK_SECRET = "whsec_test_secret"
PAYMENT, KEY = "pay_0123456789abcdefghijklmnop", "op_0123456789abcdefghijklmnop"
HOOK = "https://hub.example/hooks/" + "ab" * 20
RETURN, PAGE = "https://hub.example/pay/back", "https://hub.example/pay/page"


def fixture(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text("utf-8"))


def view(
    environment: Environment = Environment.SANDBOX, *, base_url: str = "https://api.stripe.com", **given: Any
) -> ConfigView:
    """Return an opened config as the registry makes it: every field there, None where empty."""
    plain, secrets = CONFIG.clean({"secret_key": SECRET_KEY, "webhook_secret": WEBHOOK_SECRET, **given})
    names = {each.name: each.secret for each in CONFIG}
    return ConfigView(
        id=7,
        tenant_id=3,
        provider="stripe",
        environment=environment,
        base_url=base_url,
        values={**{name: None for name, secret in names.items() if not secret}, **plain},
        secrets={**{name: None for name, secret in names.items() if secret}, **secrets},
    )


def payment(**changed: Any) -> PaymentRequest:
    given: dict[str, Any] = {
        "payment_id": PAYMENT, "idempotency_key": KEY, "money": Money(150_000, "KES"), "method": MethodType.CARD,
        "callback_url": HOOK, "token": "pm_card_visa", "return_url": RETURN, "page_url": PAGE,
    }  # fmt: skip
    return PaymentRequest(**{**given, **changed})


def query(ref: str = "", **changed: Any) -> PaymentQuery:
    given: dict[str, Any] = {
        "payment_id": PAYMENT, "provider_ref": ref, "money": Money(150_000, "KES"), "method": MethodType.CARD, "asked_at": NOW,
    }  # fmt: skip
    return PaymentQuery(**{**given, **changed})


def capture(ref: str, minor: int = 150_000, **changed: Any) -> CaptureRequest:
    given: dict[str, Any] = {
        "operation_id": "op_capture1", "idempotency_key": "op_capture1", "payment_id": PAYMENT, "payment_provider_ref": ref,
        "hold_ref": "", "money": Money(minor, "KES"), "capturable": Money(150_000, "KES"), "captured": Money(0, "KES"),
    }  # fmt: skip
    return CaptureRequest(**{**given, **changed})


def void(ref: str, **changed: Any) -> VoidRequest:
    given: dict[str, Any] = {
        "operation_id": "op_void1", "idempotency_key": "op_void1", "payment_id": PAYMENT, "payment_provider_ref": ref,
        "hold_ref": "", "held": True,
    }  # fmt: skip
    return VoidRequest(**{**given, **changed})


def refund(ref: str, minor: int = 150_000, **changed: Any) -> RefundRequest:
    given: dict[str, Any] = {
        "refund_id": "re_ours1", "idempotency_key": "re_ours1", "payment_receipt": "", "payment_provider_ref": ref,
        "money": Money(minor, "KES"), "callback_url": HOOK, "payment_id": PAYMENT,
    }  # fmt: skip
    return RefundRequest(**{**given, **changed})


def setup(**changed: Any) -> SetupRequest:
    given: dict[str, Any] = {
        "setup_id": "seti_ours1", "idempotency_key": "seti_ours1", "method": MethodType.CARD, "token": "pm_card_visa",
        "customer_id": "cust_9", "customer_name": "Amina Hassan", "customer_email": "amina@example.com", "return_url": RETURN,
        "page_url": PAGE,
    }  # fmt: skip
    return SetupRequest(**{**given, **changed})


@dataclass
class RecordingHttp:
    """Answers with what the test put in `replies` (or raises it), in order, and keeps what was asked."""

    replies: list[Reply | Exception] = field(default_factory=list)
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
        sent = {"method": method, "url": url, "operation": operation, "safe": safe, "headers": dict(headers or {})}
        assert query is json is form is auth is timeout is None
        self.calls.append({**sent, "form": dict(parse_qsl((body or b"").decode(), keep_blank_values=True))})
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def answer(self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.replies.append(Reply(status, dict(headers or {}), body, 12))


class NoTokens:
    """This provider has no access tokens: asking for one is a mistake."""

    def access_token(self, fetch: Callable[[], FetchedToken], *, rejected: str | None = None) -> str:
        raise AssertionError("no token is needed")


def adapter(http: Any, config: ConfigView | None = None) -> StripePayments:
    return StripePayments(config=config or view(), http=http, tokens=NoTokens(), clock=lambda: NOW)


def origin() -> Origin:
    return Origin(tenant_id=3, config_id=7, trust=Trust.SIGNED, receipt_id=1)


def inbound(
    body: str, *, secret: str = WEBHOOK_SECRET, at: float = NOW.timestamp(), header: str | None = None
) -> InboundRequest:
    signed = WebhookSignature.generate_signature_header(body, secret, timestamp=int(at)) if header is None else header
    return InboundRequest("POST", "events", {}, {"Stripe-Signature": signed}, body.encode(), "127.0.0.1")


def event(kind: str, thing: Any, **changed: Any) -> str:
    return json.dumps({**fixture("event"), "id": "evt_1", "type": kind, "data": {"object": thing}, **changed})
