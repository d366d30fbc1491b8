"""What the Pesapal tests share: a config, a scripted HttpPort, a token store in memory, fixtures."""

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
from integrations.contracts.money import Money
from integrations.contracts.payment import PaymentQuery, PaymentRequest, RefundRequest, VoidRequest
from integrations.contracts.payment_features import MethodType
from integrations.providers.pesapal.adapter import PesapalPayments
from integrations.providers.pesapal.webhook import PesapalWebhook

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
NOW = datetime(2026, 7, 10, 6, 15, 45, 779377, tzinfo=UTC)  # five minutes before the token fixture's expiryDate
TRACKING = "96a5e1d9-f711-4423-82ce-dd758f972713"
IPN_ID = "1da86d1c-1e8c-4183-bdfd-dd759463e4ce"
PAYMENT = "pay_01jd8k0123456789abcdefgh12"
REFERENCE = "pay-01jd8k0123456789abcdefgh12"
HOOK = "https://hub.example.com/hooks/0123456789abcdef0123456789abcdef01234567"
RECEIPT = "UGA3K7P2QX"
KES_1500 = Money(150_000, "KES")
SECRETS = {"consumer_key": "canary-consumer-key=", "consumer_secret": " canary-consumer-secret= \n"}
BEARER = {"Accept": "application/json", "Content-Type": "application/json", "Authorization": "Bearer stored-token"}
webhook = PesapalWebhook()


def fixture(name: str, **changed: Any) -> Any:
    """Return a fixture with members replaced; those of another order's reference become ours."""
    body = json.loads((FIXTURES / f"{name}.json").read_text())
    if isinstance(body, dict) and body.get("merchant_reference"):
        body["merchant_reference"] = REFERENCE
    return {**body, **changed}


def config(**values: Any) -> ConfigView:
    """Return an opened config as the registry makes it: every field there, None where empty."""
    plain = {"ipn_id": IPN_ID, "country": None, "branch": "Main", "refund_username": "ops@example.com", **values}
    return ConfigView(7, 3, "pesapal", Environment.SANDBOX, "https://cybqa.pesapal.com/pesapalv3", plain, dict(SECRETS))


@dataclass(frozen=True)
class Sent:
    """One request as the adapter made it."""

    method: str
    url: str
    operation: str
    safe: bool | None
    json: Any
    query: Mapping[str, str] | None
    headers: Mapping[str, str]


@dataclass
class ScriptedHttp:
    """An `HttpPort` that answers what it was told, in order, and keeps what it was asked; an exception is raised."""

    answers: list[Reply | Exception]
    sent: list[Sent] = field(default_factory=list)

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
        assert form is None
        assert body is None
        assert auth is None
        self.sent.append(Sent(method, url, operation, safe, json, query, dict(headers or {})))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class MemoryTokens:
    """A `TokenPort` that holds one token."""

    token: str = ""
    rejected: list[str] = field(default_factory=list)
    fetched: list[FetchedToken] = field(default_factory=list)

    def access_token(self, fetch: Callable[[], FetchedToken], *, rejected: str | None = None) -> str:
        if rejected is not None:
            self.rejected.append(rejected)
        if not self.token or self.token == rejected:
            self.fetched.append(fetch())
            self.token = self.fetched[-1].access_token
        return self.token


def answer(value: Any, status: int = 200, **headers: str) -> Reply:
    """Return a reply with a JSON body; bytes are sent as they are."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Reply(status, headers, body, 12)


def error(code: str, message: str = "", **members: Any) -> Reply:
    """Return Pesapal's way of saying no: HTTP 200, the reason in the body."""
    return answer({**members, "error": {"error_type": "api_error", "code": code, "message": message}, "status": "500"})


def adapter(
    *answers: Reply | Exception, view: ConfigView | None = None, token: str = "stored-token"
) -> tuple[PesapalPayments, ScriptedHttp, MemoryTokens]:
    http, tokens = ScriptedHttp(list(answers)), MemoryTokens(token)
    return PesapalPayments(config=view or config(), http=http, tokens=tokens, clock=lambda: NOW), http, tokens


def order(**changed: Any) -> PaymentRequest:
    given: dict[str, Any] = {
        "payment_id": PAYMENT,
        "idempotency_key": "k1",
        "money": KES_1500,
        "method": MethodType.REDIRECT,
        "callback_url": HOOK,
        "reference": "INV-0042",
        "description": "School fees INV-0042",
        "customer_name": "Jane Achieng Doe",
        "customer_email": "jane@example.com",
        "return_url": "https://hub.example.com/pay/return?p=1",
        "cancel_url": "https://hub.example.com/pay/cancel",
    }
    return PaymentRequest(**{**given, **changed})


def query(**changed: Any) -> PaymentQuery:
    return PaymentQuery(**{"payment_id": PAYMENT, "provider_ref": TRACKING, "money": KES_1500, **changed})


def refund(**changed: Any) -> RefundRequest:
    given: dict[str, Any] = {
        "refund_id": "re_1",
        "idempotency_key": "k1",
        "payment_receipt": RECEIPT,
        "payment_provider_ref": TRACKING,
        "money": KES_1500,
        "callback_url": HOOK,
        "reason": "Order cancelled",
        "payment_id": PAYMENT,
        "capture_ref": RECEIPT,
        "captured": KES_1500,
        "method_name": "Visa",
    }
    return RefundRequest(**{**given, **changed})


def void(**changed: Any) -> VoidRequest:
    given: dict[str, Any] = {
        "operation_id": "op_1",
        "idempotency_key": "k1",
        "payment_id": PAYMENT,
        "payment_provider_ref": TRACKING,
        "hold_ref": "",
        "held": False,
    }
    return VoidRequest(**{**given, **changed})


def inbound(body: Any = b"", *, method: str = "POST", content_type: str = "application/json", **query: str) -> InboundRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return InboundRequest(method, "ipn", query, {"content-type": content_type}, raw, "203.0.113.9")


def origin(token_object: str = "", trust: Trust = Trust.TOKEN) -> Origin:
    return Origin(tenant_id=3, config_id=7, trust=trust, receipt_id=11, token_object=token_object)
