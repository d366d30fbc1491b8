"""What differs from gateway to gateway when one suite drives them all: accounts, how the payer pays, who tells the outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from integrations.contracts.capabilities import Capability
from integrations.contracts.inbound import PaymentReported, RefundReported
from integrations.contracts.payment import (
    PaymentState,
    RefundRequest,
    RefundResult,
    RefundState,
    SetupResult,
)
from integrations.contracts.payment_adapter import PaymentAdapter
from integrations.contracts.payment_features import GatewayOperation, MethodType, PaymentFeatures
from integrations.registry import get_provider
from tests.contracts.payments.bench import Bench
from tests.contracts.payments.flow import Flow, Truth

PIN = "1234"
RUNNING = (PaymentState.PROCESSING, PaymentState.UNKNOWN)


class Driver:
    """A gateway whose payer pays on a page and whose answers tell everything; the others say where they differ.

    `search`: what asking by our own id alone brings: `found`, `absent` (where such a payment can't have moved money), or
    `unsupported`. `repeatable`: the steps (see `test_lost_answers`) that may be made again after a lost answer.
    `tells_cancelled`: whether asking shows that an unpaid payment was called off.
    """

    slug: ClassVar[str]
    account: ClassVar[str] = "school"
    currency: ClassVar[str] = "KES"
    config: ClassVar[Mapping[str, Any]] = {}
    main: ClassVar[MethodType] = MethodType.REDIRECT
    card_token: ClassVar[str] = ""
    declined_token: ClassVar[str] = ""
    search: ClassVar[str] = "found"
    repeatable: ClassVar[frozenset[str]] = frozenset()
    operations: ClassVar[Mapping[str, str]] = {}
    completes: ClassVar[bool] = False
    tells_cancelled: ClassVar[bool] = True
    unknown_ref: ClassVar[str]
    setup_kind: ClassVar[str] = ""
    has_dashboard: ClassVar[bool] = True

    def prepare(self, bench: Bench) -> None:
        """Set the simulated account up as the config says."""

    def fault_name(self, operation: str) -> str:
        """Return the simulator's name of an operation."""
        return self.operations.get(operation, operation)

    def pay(self, flow: Flow) -> None:
        """The payer pays."""
        match flow.request.method:
            case MethodType.REDIRECT:
                flow.bench.own("POST", "payer", {"ref": flow.id, "action": "approve"})
            case MethodType.MOBILE_MONEY:
                self.answer_phone(flow, "pin")

    def decline(self, flow: Flow) -> None:
        """The payer, or his bank, says no."""
        match flow.request.method:
            case MethodType.REDIRECT:
                flow.bench.own("POST", "payer", {"ref": flow.id, "action": "fail"})
            case MethodType.MOBILE_MONEY:
                self.answer_phone(flow, "cancel")

    def answer_phone(self, flow: Flow, action: str) -> None:
        found = flow.bench.control("GET", f"phone/prompts?msisdn={flow.request.phone}")
        (prompt,) = [each for each in found if each["slug"] == self.slug]
        flow.bench.control("POST", f"phone/prompts/{prompt['id']}", {"action": action, "pin": PIN})
        flow.bench.wait(lambda: flow.ref == "" or flow.ask().state not in RUNNING)

    def approve_setup(self, bench: Bench, begun: SetupResult) -> None:
        """The payer agrees to be stored, where he must."""

    def setups(self, bench: Bench) -> int:
        """Return how many begun or done setups the gateway has."""
        return len(bench.running.store.find(self.slug, self.setup_kind, limit=10_000))

    def truth(self, flow: Flow) -> Truth:
        """Return what is known of the payment, asked for now."""
        said = flow.ask()
        flow.known = replace(said, hold_ref=said.hold_ref or flow.hold_ref)
        return Truth.of(said)

    def refunded(self, flow: Flow, request: RefundRequest, first: RefundResult) -> RefundResult:
        """Return how a refund that was taken ends, people at the gateway having done their part."""
        return flow.bench.adapter().refund_status(request)

    def settle_lost_refund(self, flow: Flow, request: RefundRequest) -> None:
        """What happens at the gateway to a refund of which it alone knows, until the money is back."""

    def rows(self, flow: Flow) -> list[dict[str, Any]]:
        """Return what the gateway's books have of the payment: a row per payment object, ISO minor units."""
        found = flow.bench.own("GET", "money")["payments"]
        return [row for row in found if row["payment_id"] == flow.id]

    def dashboard(self, flow: Flow, action: str, **more: Any) -> None:
        flow.bench.own("POST", "dashboard", {"ref": flow.id, "action": action, **more})


class Stripe(Driver):
    slug = "stripe"
    config = {"multicapture": True}
    main = MethodType.CARD
    card_token, declined_token = "pm_card_visa", "pm_card_chargeDeclined"
    repeatable = frozenset({"card", "page", "capture", "void", "cancel", "refund", "setup"})
    setup_kind = "setup_intent"
    unknown_ref = "pi_3Nnobodyknowsthis"

    def prepare(self, bench: Bench) -> None:
        bench.own("PUT", f"accounts/{self.account}", {"multicapture": bool(bench.view().get("multicapture"))})


class Paypal(Driver):
    """Only the account `studio` may store payers. USD: PayPal takes no East African currency."""

    slug = "paypal"
    account = "studio"
    currency = "USD"
    search = "unsupported"
    repeatable = frozenset({"page", "complete", "capture", "void", "refund", "setup", "complete_setup"})
    setup_kind = "setup_token"
    completes = True
    unknown_ref = "5O190127TN364715T"

    def approve_setup(self, bench: Bench, begun: SetupResult) -> None:
        bench.own("POST", "payer", {"ref": begun.provider_ref, "action": "approve"})


class Flutterwave(Driver):
    slug = "flutterwave"
    repeatable = frozenset({"page"})
    unknown_ref = "pay_01jd8k0000000000000000zzzz"


class Pesapal(Driver):
    """A refund is a request that a person at the merchant approves, and then shows as a reversed payment."""

    slug = "pesapal"
    search = "absent"
    repeatable = frozenset({"page", "cancel"})
    tells_cancelled = False
    unknown_ref = "96a5e1d9-f711-4423-82ce-dd758f972713"

    def refunded(self, flow: Flow, request: RefundRequest, first: RefundResult) -> RefundResult:
        if first.state is not RefundState.PROCESSING:
            return first
        assert flow.bench.adapter().refund_status(request).state is RefundState.PROCESSING
        self.dashboard(flow, "settle_refund")
        return flow.bench.adapter().refund_status(request)

    def settle_lost_refund(self, flow: Flow, request: RefundRequest) -> None:
        self.dashboard(flow, "settle_refund")


class Mpesa(Driver):
    """Receipt and amount come by callback, and so does the end of a reversal; only the outcome can be asked for."""

    slug = "mpesa"
    main = MethodType.MOBILE_MONEY
    search = "unsupported"
    operations = {"authorize": "stk_push", "refund": "reversal"}
    has_dashboard = False
    unknown_ref = "ws_CO_10072026091526171708374149"

    def pay(self, flow: Flow) -> None:
        self.answer_phone(flow, "pin")
        flow.bench.wait(lambda: self._reported(flow))

    def truth(self, flow: Flow) -> Truth:
        said, told = flow.ask(), self._reported(flow)
        paid = [each for each in told if each.state is PaymentState.SUCCEEDED and each.money is not None]
        back = [each for each in flow.refunds if self._result(flow, each).state is RefundState.SUCCEEDED]
        return Truth(
            said.state,
            paid[0].money if paid else None,
            tuple(each.money.minor_units for each in paid if each.money is not None),
            tuple(each.money.minor_units for each in back),
            None,
            said.disputes,
            paid[0].receipt if paid else "",
            tuple(each.refund_id for each in back),
        )

    def refunded(self, flow: Flow, request: RefundRequest, first: RefundResult) -> RefundResult:
        told = flow.bench.wait(lambda: self._told(flow.bench, request))[-1]
        return RefundResult(told.state, told.provider_ref, told.receipt, told.failure)

    def settle_lost_refund(self, flow: Flow, request: RefundRequest) -> None:
        (told,) = flow.bench.wait(lambda: self._told(flow.bench, request))
        assert told.state is RefundState.SUCCEEDED

    def rows(self, flow: Flow) -> list[dict[str, Any]]:
        state = flow.bench.own("GET", "state")
        reversals = [each for each in state["transactions"] if each["kind"] == "reversal"]
        return [
            {
                "ref": push["checkout"],
                "payment_id": flow.id,
                "currency": "KES",
                "asked": push["amount"] * 100,
                "held": 0,
                "captured": push["amount"] * 100 if push["receipt"] else 0,
                "refunded": sum(each["amount"] * 100 for each in reversals if each["original"] == push["receipt"]),
                "disputed": 0,
            }
            for push in state["pushes"]
            if flow.token in push["url"]
        ]

    def _reported(self, flow: Flow) -> list[PaymentReported]:
        return [each for each in flow.bench.events(flow.token) if isinstance(each, PaymentReported)]

    def _told(self, bench: Bench, request: RefundRequest) -> list[RefundReported]:
        token = request.callback_url.rpartition("/")[2]
        return [each for each in bench.events(token) if isinstance(each, RefundReported)]

    def _result(self, flow: Flow, request: RefundRequest) -> RefundReported:
        (told,) = self._told(flow.bench, request)
        return told


DRIVERS: Mapping[str, Driver] = {each.slug: each for each in (Stripe(), Paypal(), Flutterwave(), Pesapal(), Mpesa())}


@dataclass(frozen=True)
class Account:
    """An account at a gateway: what its config says beyond the driver's, and what it lacks beside what its gateway lacks.

    `demo` names another of the simulator's accounts than the driver's.
    """

    driver: Driver
    label: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    lacks: frozenset[GatewayOperation] = frozenset()
    demo: str = ""

    @property
    def name(self) -> str:
        return f"{self.driver.slug}-{self.label}" if self.label else self.driver.slug


def features_of(slug: str) -> PaymentFeatures:
    """Return what a gateway can do at most."""
    adapter = get_provider(slug).adapter_class(Capability.PAYMENT)
    assert issubclass(adapter, PaymentAdapter)
    return adapter.features


FULL = tuple(Account(driver) for driver in DRIVERS.values())
"""One account of each gateway that may do all that the gateway can."""

_O = GatewayOperation
LESSER = (
    Account(DRIVERS["stripe"], "single-capture", {"multicapture": False}, frozenset({_O.MULTIPLE_CAPTURE})),
    Account(DRIVERS["paypal"], "no-vault", {"vault": False}, frozenset({_O.SETUP, _O.OFF_SESSION})),
    Account(DRIVERS["pesapal"], "no-refund-user", {"refund_username": ""}, frozenset({_O.REFUND, _O.PARTIAL_REFUND})),
    Account(
        DRIVERS["mpesa"],
        "no-initiator",
        {"initiator_name": "", "initiator_password": "", "certificate": ""},
        frozenset({_O.REFUND, _O.PARTIAL_REFUND, _O.MULTIPLE_REFUND}),
    ),
)
"""Accounts that lack something, which their matrix must say."""
