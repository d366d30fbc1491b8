"""What the Flutterwave tests share: a config, a scripted HttpPort, requests and fixtures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from integrations.contracts.adapter import ConfigView, FetchedToken, Reply
from integrations.contracts.capabilities import Environment
from integrations.contracts.inbound import InboundRequest, Origin, Trust
from integrations.contracts.money import Money
from integrations.contracts.payment import PaymentQuery, PaymentRequest, RefundRequest
from integrations.contracts.payment_features import MethodType
from integrations.providers.flutterwave.adapter import FlutterwavePayments

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def fixture(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


NOW = datetime(2026, 7, 10, 9, 15, 16, tzinfo=UTC)
PAYMENT = "pay_01jd8k0123456789abcdefgh12"
REFUND = "re_01jd8k0123456789abcdefgh12"
KES_1500 = Money(150_000, "KES")
SECRETS = {"secret_key": "FLWSECK_TEST-canary-secret-key-X", "secret_hash": "canary-secret-hash"}
M_PESA = fixture("verify_mpesa")["data"]["payment_type"]
BEARER = {"Authorization": f"Bearer {SECRETS['secret_key']}"}


def config(**changed: Any) -> ConfigView:
    """Return an opened config as the registry makes it: every field there, None where empty."""
    values = {"public_key": None, "plain_signature": False}
    given = {**values, **SECRETS, **changed}
    return ConfigView(
        7,
        3,
        "flutterwave",
        Environment.SANDBOX,
        "https://api.flutterwave.com",
        {name: given[name] for name in values},
        {name: given[name] for name in SECRETS},
    )


@dataclass(frozen=True)
class Sent:
    """One request as the adapter made it."""

    method: str
    url: str
    operation: str
    safe: bool | None
    query: Mapping[str, str] | None
    json: Any
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
        assert (form, body, auth) == (None, None, None)
        self.sent.append(Sent(method, url, operation, safe, query, json, dict(headers or {})))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class NoTokens:
    """Flutterwave v3 has none."""

    def access_token(self, fetch: Any, *, rejected: str | None = None) -> str:
        raise AssertionError(FetchedToken)


def answer(value: Any, status: int = 200, **headers: str) -> Reply:
    """Return a reply with a JSON body; bytes are sent as they are."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Reply(status, headers, body, 12)


def error(message: str, status: int = 400) -> Reply:
    return answer({"status": "error", "message": message, "data": None}, status)


NOTHING = error("No transaction was found for this id")


def adapter(*answers: Reply | Exception, now: datetime = NOW, **changed: Any) -> tuple[FlutterwavePayments, ScriptedHttp]:
    http = ScriptedHttp(list(answers))
    return FlutterwavePayments(config=config(**changed), http=http, tokens=NoTokens(), clock=lambda: now), http


def transaction(**changed: Any) -> dict[str, Any]:
    """Return the documented transaction as ours; None removes a member."""
    data = {**fixture("verify_mpesa")["data"], "tx_ref": PAYMENT, **changed}
    return {name: value for name, value in data.items() if value is not None}


def refund_data(**changed: Any) -> dict[str, Any]:
    data = {**fixture("refund")["data"], **changed}
    return {name: value for name, value in data.items() if value is not None}


def verified(**changed: Any) -> Reply:
    return answer({"status": "success", "message": "Transaction fetched successfully", "data": transaction(**changed)})


def listed(*entries: Mapping[str, Any], page: int = 1, pages: int = 1) -> Reply:
    info = {"total": len(entries), "current_page": page, "total_pages": pages}
    return answer({"status": "success", "message": "fetched", "data": list(entries), "meta": {"page_info": info}})


def request(method: MethodType = MethodType.MOBILE_MONEY, **changed: Any) -> PaymentRequest:
    given: dict[str, Any] = {
        "payment_id": PAYMENT,
        "idempotency_key": "op_1",
        "money": KES_1500,
        "method": method,
        "callback_url": "https://hub.example/hooks/0123456789abcdef",
        "phone": "0708 374 149",
        "reference": "INV-0042",
        "description": "School fee",
        "customer_name": "Jane Doe",
        "customer_email": "jane@example.com",
        "return_url": "https://hub.example/pay/return",
    }
    return PaymentRequest(**{**given, **changed})


def query(method: MethodType = MethodType.MOBILE_MONEY, **changed: Any) -> PaymentQuery:
    given: dict[str, Any] = {
        "payment_id": PAYMENT,
        "provider_ref": PAYMENT,
        "money": KES_1500,
        "method": method,
        "asked_at": NOW,
    }
    return PaymentQuery(**{**given, **changed})


def refund(**changed: Any) -> RefundRequest:
    given: dict[str, Any] = {
        "refund_id": REFUND,
        "idempotency_key": "op_2",
        "payment_receipt": "2993238342",
        "payment_provider_ref": PAYMENT,
        "money": Money(50_000, "KES"),
        "callback_url": "https://hub.example/hooks/0123456789abcdef",
        "reason": "Out of stock",
        "payment_id": PAYMENT,
        "capture_ref": "4193428",
        "captured": KES_1500,
        "asked_at": NOW,
    }
    return RefundRequest(**{**given, **changed})


def inbound(body: Any, **headers: str) -> InboundRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return InboundRequest("POST", "events", {}, {"Content-Type": "application/json", **named}, raw)


def origin(token_object: str = "", trust: Trust = Trust.TOKEN) -> Origin:
    return Origin(tenant_id=3, config_id=7, trust=trust, receipt_id=11, token_object=token_object)
