"""An adapter whose HTTP answers are written down beforehand, and the documented bodies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from integrations.contracts.adapter import ConfigView, Reply
from integrations.contracts.capabilities import Environment
from integrations.providers.paypal.adapter import PaypalPayments
from integrations.providers.paypal.tests.hub import MemoryTokens

NOW = datetime(2026, 7, 10, 9, 15, 26, tzinfo=UTC)
FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
VALUES: dict[str, Any] = {
    "client_id": "AeA1QIZXiflr1_-client",
    "webhook_id": "4JH86294D6297924G",
    "vault": False,
    "brand_name": None,
    "soft_descriptor": None,
    "merchant_country": None,
    "simulator_ca": None,
}


def fixture(name: str) -> Any:
    return json.loads((FIXTURES / name).read_text("utf-8"))


def view(environment: Environment = Environment.SANDBOX, **changed: Any) -> ConfigView:
    return ConfigView(
        id=7,
        tenant_id=3,
        provider="paypal",
        environment=environment,
        base_url="https://api-m.sandbox.paypal.com",
        values={**VALUES, **changed},
        secrets={"client_secret": "EC-canary-secret-of-the-tests"},
    )


@dataclass
class ScriptedHttp:
    """Gives the answers in order and keeps what was sent."""

    answers: list[Reply | Exception]
    sent: list[dict[str, Any]] = field(default_factory=list)

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
        self.sent.append(
            {
                "method": method, "url": url, "operation": operation, "safe": safe, "query": query, "json": json, "form": form,
                "headers": dict(headers or {}), "auth": auth,
            }
        )  # fmt: skip
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def answer(value: Any, status: int = 200, **headers: str) -> Reply:
    """Return a reply with a JSON body; bytes are sent as they are."""
    return Reply(status, headers, value if isinstance(value, bytes) else json.dumps(value).encode(), 12)


def error(status: int, issue: str = "", name: str = "UNPROCESSABLE_ENTITY", **more: Any) -> Reply:
    details = [{"issue": issue, "description": "Some text that may change."}] if issue else []
    return answer(
        {"name": name, "message": "The requested action failed.", "debug_id": "b1d1f06c7246c", "details": details, **more},
        status,
    )


def adapter(*answers: Reply | Exception, **changed: Any) -> tuple[PaypalPayments, ScriptedHttp]:
    http = ScriptedHttp(list(answers))
    made = PaypalPayments(config=view(**changed), http=http, tokens=MemoryTokens("stored-token"), clock=lambda: NOW)
    return made, http


def order(status: str = "COMPLETED", *, intent: str = "CAPTURE", **payments: Any) -> dict[str, Any]:
    """Return an order as PayPal writes it in full."""
    unit: dict[str, Any] = {
        "reference_id": "default",
        "amount": {"currency_code": "USD", "value": "100.00"},
        "custom_id": "pay_1",
        "invoice_id": "op_1",
    }
    if payments:
        unit["payments"] = payments
    return {"id": "5O190127TN364715T", "intent": intent, "status": status, "purchase_units": [unit], "links": []}


def capture(status: str = "COMPLETED", value: str = "100.00", **more: Any) -> dict[str, Any]:
    amount = {"currency_code": "USD", "value": value}
    return {"id": "29Y24445UY2083144", "status": status, "amount": amount, "final_capture": True, **more}


def hold(status: str = "CREATED", **more: Any) -> dict[str, Any]:
    return {
        "id": "0VF52814937998046",
        "status": status,
        "amount": {"currency_code": "USD", "value": "100.00"},
        "create_time": "2026-07-09T09:15:26Z",
        "expiration_time": "2026-08-07T09:15:26Z",
        **more,
    }
