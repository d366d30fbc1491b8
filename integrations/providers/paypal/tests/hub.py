"""One simulated merchant seen from the hub: the real adapter, http client and webhook class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests

from integrations.contracts import clock as hub_clock
from integrations.contracts.adapter import ConfigView, FetchedToken
from integrations.contracts.capabilities import Environment
from integrations.contracts.inbound import InboundEvent, InboundRequest, Origin, Trust
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    CaptureRequest,
    PaymentQuery,
    PaymentRequest,
    PaymentResult,
    PaymentState,
    RefundRequest,
    SetupRequest,
    VoidRequest,
)
from integrations.contracts.payment_features import MethodType
from integrations.http.client import HttpClient, SilentRecorder
from integrations.http.masking import Mask
from integrations.providers.paypal.adapter import PaypalPayments
from integrations.providers.paypal.provider import CONFIG, PROVIDER
from integrations.providers.paypal.webhook import PaypalWebhook
from integrations.simulators import DemoAccount, ManualClock, running_simulators
from tests.simulators.support import Receiver, at_rest, let_pass, wait_for

DAY = 86_400.0
PAYMENT = "pay_01jd8k0123456789abcdefgh12"
RETURN = "https://hub.example/payments/return/abc"
CANCEL = "https://hub.example/payments/cancel/abc"


@dataclass
class MemoryTokens:
    """A `TokenPort` that holds one token."""

    token: str = ""
    rejected: list[str] = field(default_factory=list)

    def access_token(self, fetch: Callable[[], FetchedToken], *, rejected: str | None = None) -> str:
        if rejected is not None:
            self.rejected.append(rejected)
        if not self.token or self.token == rejected:
            self.token = fetch().access_token
        return self.token


def config(account: DemoAccount, base_url: str, environment: Environment = Environment.SIMULATOR, **changed: Any) -> ConfigView:
    """Return an account as a stored config: cleaned by the schema, every field there."""
    plain, secrets = CONFIG.clean({**account.values, **account.secrets, **changed})
    names = {each.name: each.secret for each in CONFIG}
    return ConfigView(
        id=7,
        tenant_id=3,
        provider="paypal",
        environment=environment,
        base_url=base_url,
        values={**{name: None for name, secret in names.items() if not secret}, **plain},
        secrets={**{name: None for name, secret in names.items() if secret}, **secrets},
    )


def payment(minor: int = 10_000, currency: str = "USD", **changed: Any) -> PaymentRequest:
    given: dict[str, Any] = {
        "payment_id": PAYMENT,
        "idempotency_key": "op_1",
        "money": Money(minor, currency),
        "method": MethodType.REDIRECT,
        "callback_url": "https://hub.example/hooks/0123456789abcdef",
        "return_url": RETURN,
        "cancel_url": CANCEL,
        "reference": "INV-0042",
    }
    return PaymentRequest(**{**given, **changed})


def refund(capture_ref: str, minor: int, currency: str = "USD", **changed: Any) -> RefundRequest:
    given: dict[str, Any] = {
        "refund_id": "re_1",
        "idempotency_key": "re_1",
        "payment_receipt": "",
        "payment_provider_ref": "",
        "money": Money(minor, currency),
        "callback_url": "",
        "payment_id": PAYMENT,
        "capture_ref": capture_ref,
        "reason": "Paid  twice",
    }
    return RefundRequest(**{**given, **changed})


@dataclass
class Hub:
    """One merchant's adapter, the simulator behind it, and a server that takes the webhooks."""

    running: running_simulators
    clock: ManualClock
    hooks: Receiver
    account: DemoAccount
    tokens: MemoryTokens = field(default_factory=MemoryTokens)
    webhook: PaypalWebhook = field(default_factory=PaypalWebhook)

    @property
    def base_url(self) -> str:
        return f"{self.running.url}/paypal"

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now(), UTC)

    def view(self, **changed: Any) -> ConfigView:
        return config(self.account, self.base_url, **changed)

    def adapter(self, **changed: Any) -> PaypalPayments:
        view = self.view(**changed)
        http = HttpClient(
            provider="paypal",
            base_url=view.base_url,
            mask=Mask(keys=PROVIDER.masked_keys),
            recorder=SilentRecorder(),
            timeout=(2.0, 10.0),
        )
        return PaypalPayments(config=view, http=http, tokens=self.tokens, clock=self.now)

    def control(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        answer = requests.request(method, f"{self.running.url}/control/paypal{path}", json=body, timeout=5)
        assert answer.status_code == status, answer.text
        return answer.json()

    def fault(self, operation: str, kind: str, **more: Any) -> None:
        self.control("POST", "/faults", {"operation": operation, "fault": kind, **more})

    def payer(self, ref: str, action: str = "approve") -> Any:
        return self.control("POST", "/payer", {"ref": ref, "action": action})

    def dashboard(self, ref: str, action: str, **more: Any) -> Any:
        return self.control("POST", "/dashboard", {"ref": ref, "action": action, **more})

    def money(self) -> list[Any]:
        rows: list[Any] = self.control("GET", "/money")["payments"]
        return rows

    def asked(self, operation: str) -> list[Any]:
        """Return the requests of this kind that the simulator has seen."""
        rows: list[Any] = self.control("GET", f"/requests?operation={operation}")
        return rows

    def point(self) -> str:
        """Let the account's webhook come here; return its path."""
        path = "/hooks/0123456789abcdef0123456789abcdef/events"
        self.control("PUT", f"/accounts/{self.account.label}", {"webhook_url": f"{self.hooks.url}{path}"})
        return path

    # --- whole steps

    def approved(self, minor: int = 10_000, currency: str = "USD", **changed: Any) -> PaymentRequest:
        """Start a payment and let the payer approve it; return the request to complete."""
        request = payment(minor, currency, **changed)
        started = self.adapter().authorize(request)
        assert started.state is PaymentState.REQUIRES_ACTION
        self.payer(started.provider_ref)
        return PaymentRequest(**{**_fields(request), "provider_ref": started.provider_ref})

    def paid(self, minor: int = 10_000, currency: str = "USD", **changed: Any) -> PaymentResult:
        return self.adapter().complete(self.approved(minor, currency, **changed))

    def held(self, minor: int = 10_000, currency: str = "USD") -> PaymentResult:
        found = self.adapter().complete(self.approved(minor, currency, capture=False))
        assert found.state is PaymentState.AUTHORIZED
        return found

    def status(self, ref: str, **more: Any) -> PaymentResult:
        return self.adapter().payment_status(PaymentQuery(PAYMENT, ref, Money(10_000, "USD"), **more))

    def capture_of(self, held: PaymentResult, minor: int, *, final: bool = True, **changed: Any) -> CaptureRequest:
        assert held.money is not None
        assert held.capturable is not None
        currency = held.money.currency
        given: dict[str, Any] = {
            "operation_id": "op_2",
            "idempotency_key": "op_2",
            "payment_id": PAYMENT,
            "payment_provider_ref": held.provider_ref,
            "hold_ref": held.hold_ref,
            "money": Money(minor, currency),
            "capturable": held.capturable,
            "captured": Money(held.money.minor_units - held.capturable.minor_units, currency),
            "final": final,
        }
        return CaptureRequest(**{**given, **changed})

    def void_of(self, held: PaymentResult, **changed: Any) -> VoidRequest:
        given: dict[str, Any] = {
            "operation_id": "op_3",
            "idempotency_key": "op_3",
            "payment_id": PAYMENT,
            "payment_provider_ref": held.provider_ref,
            "hold_ref": held.hold_ref,
            "held": True,
        }
        return VoidRequest(**{**given, **changed})

    def setup(self, **changed: Any) -> SetupRequest:
        given: dict[str, Any] = {
            "setup_id": "seti_1",
            "idempotency_key": "seti_1",
            "method": MethodType.REDIRECT,
            "return_url": RETURN,
            "cancel_url": CANCEL,
        }
        return SetupRequest(**{**given, **changed})

    # --- webhooks

    def received(self, event_type: str, count: int = 1) -> list[InboundRequest]:
        """Let time pass until so many webhooks of this type came; return them as the hub's view would hand them over."""

        def look() -> list[InboundRequest]:
            found = [each for each in self.hooks.received if each.json()["event_type"] == event_type]
            return [InboundRequest("POST", "events", {}, each.headers, each.body, "127.0.0.1") for each in found]

        return let_pass(self.running, self.clock, 0.5, look, count)

    def quiet(self) -> None:
        """Wait until all that is due by now has been sent and booked."""
        wait_for(lambda: at_rest(self.running))

    def event(self, event_type: str) -> InboundEvent:
        """Return the one fact of the newest webhook of this type, after checking its signature."""
        request = self.received(event_type)[-1]
        with hub_clock.stopped_at(self.now):
            verified = self.webhook.verify(request, self.view(), by_token=True)
        assert verified.trust is Trust.SIGNED
        (event,) = self.webhook.parse(request, Origin(3, 7, verified.trust, 11))
        return event


def _fields(request: Any) -> dict[str, Any]:
    return {name: getattr(request, name) for name in request.__dataclass_fields__}
