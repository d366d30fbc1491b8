"""The same matrix through the API: what an account can't do is answered 422 `unsupported_operation`; no row, nothing sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.contracts.clock import stopped_at
from integrations.contracts.payment_features import GatewayOperation, MethodType
from integrations.models import Config, QueueItem, Tenant
from payments.models import Operation, OperationKind, OperationStatus, Payment, SetupIntent
from payments.routing import new_operation
from tests.contracts.payments.bench import Bench
from tests.contracts.payments.drivers import FULL, LESSER, Account, features_of
from tests.contracts.payments.flow import AMOUNT, new_phone
from tests.factories import make_client, make_config, make_payer_method, make_payment

pytestmark = pytest.mark.django_db(transaction=True)
O = GatewayOperation  # noqa: E741
WITHOUT_ROUTE = {O.AUTHORIZE, O.SYNC, O.TRANSACTIONS, O.RECEIPT, O.DISPUTES}
"""Every gateway can do the first two; the others have no route by which a caller asks for them."""


@dataclass
class Hub:
    """A tenant with one account at the gateway, and what the gateway sees."""

    tenant: Tenant
    api: APIClient
    config: Config
    bench: Bench

    @property
    def features(self) -> frozenset[str]:
        return self.bench.features.operations

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self.api.post(f"/api/v1/payments/{path}", body or {}, format="json")

    def ask(self, *, token: str = "", **more: Any) -> Any:
        driver = self.bench.driver
        details: dict[str, Any] = {"type": driver.main.value}
        if driver.main is MethodType.MOBILE_MONEY:
            details["phone"] = new_phone()
        if token or driver.card_token:
            details["token"] = token or driver.card_token
        body = {
            "amount": AMOUNT,
            "currency": driver.currency,
            "method": details,
            "provider": driver.slug,
            "customer": {"name": "Jane Doe", "email": "jane@example.com"},
            "return_url": "https://school.example/thanks",
            **more,
        }
        return self.post("authorize", body)

    def paid(self) -> Payment:
        """Return a paid payment, as a row only."""
        driver = self.bench.driver
        return make_payment(
            self.tenant, provider=driver.slug, config=self.config, amount=AMOUNT, amount_authorized=AMOUNT,
            amount_captured=AMOUNT, currency=driver.currency, method_type=driver.main.value, provider_ref=driver.unknown_ref,
            receipt="UGA3K7P2QX", method_name="Visa",
        )  # fmt: skip

    def rows(self) -> list[Any]:
        """Return everything that asking for something might have left behind."""
        with scope(tenant=self.tenant):
            return [list(model.unscoped.order_by("pk").values()) for model in (Payment, Operation, SetupIntent, QueueItem)]


@pytest.fixture
def hub(bench: Bench, tenant: Tenant, settings: Any, monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> Iterator[Hub]:
    settings.SIMULATOR_URL = bench.running.url
    monkeypatch.setenv("SIMULATOR_STATE_DIR", str(bench.running.store.state_dir))
    with stopped_at(bench.now):
        values = {**bench.driver.config, **bench.account.config}
        config = make_config(tenant, bench.driver.slug, values, account=bench.driver.account)
        yield Hub(tenant, make_client(tenant), config, bench)


# --- asking for what can't be done: each returns the call, everything before it done


def hold(hub: Hub) -> Callable[[], Any]:
    return lambda: hub.ask(capture="manual")


def capture(hub: Hub, **more: Any) -> Callable[[], Any]:
    """Where nothing can be held, holding is what is refused."""
    if O.CAPTURE not in hub.features:
        return hold(hub)
    payment = hub.ask(capture="manual").json()
    assert payment["status"] == "authorized"
    return lambda: hub.post("capture", {"payment": payment["id"], "amount": 30_000, **more})


def call_off(hub: Hub) -> Callable[[], Any]:
    answer = hub.ask()
    assert answer.json()["status"] in ("requires_action", "processing")
    return lambda: hub.post(f"{answer.json()['id']}/cancel")


def refund(hub: Hub, amount: int) -> Callable[[], Any]:
    payment = hub.paid()
    return lambda: hub.post("refund", {"payment": payment.pk, "amount": amount})


def refund_again(hub: Hub) -> Callable[[], Any]:
    payment = hub.paid()
    with scope(tenant=hub.tenant):
        first = new_operation(payment, OperationKind.REFUND, 40_000, status=OperationStatus.SUCCEEDED)
        first.save(force_insert=True)
    return lambda: hub.post("refund", {"payment": payment.pk, "amount": 30_000})


def store(hub: Hub) -> Callable[[], Any]:
    driver = hub.bench.driver
    token = {"token": driver.card_token} if driver.card_token else {}
    body = {"provider": driver.slug, "method": {"type": driver.main.value, **token}, "return_url": "https://school.example/x"}
    return lambda: hub.post("setup-intent", body)


def charge_stored(hub: Hub) -> Callable[[], Any]:
    method = make_payer_method(hub.config, method_type=hub.bench.driver.main.value)
    return lambda: hub.ask(token=method.pk)


ASK: Mapping[GatewayOperation, Callable[[Hub], Callable[[], Any]]] = {
    O.CAPTURE: hold,
    O.PARTIAL_CAPTURE: capture,
    O.MULTIPLE_CAPTURE: lambda hub: capture(hub, final=False),
    O.VOID: hold,
    O.CANCEL: call_off,
    O.REFUND: lambda hub: refund(hub, AMOUNT),
    O.PARTIAL_REFUND: lambda hub: refund(hub, 40_000),
    O.MULTIPLE_REFUND: refund_again,
    O.SETUP: store,
    O.OFF_SESSION: charge_stored,
}
UNDECLARED = [
    (account, operation)
    for account in FULL
    for operation in GatewayOperation
    if operation not in features_of(account.driver.slug).operations and operation not in WITHOUT_ROUTE
] + [(account, operation) for account in LESSER for operation in sorted(account.lacks - WITHOUT_ROUTE)]


def test_every_operation_has_a_way_to_be_asked_for_or_none_at_all() -> None:
    assert set(ASK) | WITHOUT_ROUTE == set(GatewayOperation)
    assert set(ASK) & WITHOUT_ROUTE == set()
    assert {operation for _account, operation in UNDECLARED} == set(ASK)


def name_of(value: object) -> str:
    return value.name if isinstance(value, Account) else str(value)


@pytest.mark.parametrize(("bench", "operation"), UNDECLARED, ids=name_of, indirect=["bench"])
def test_what_an_account_can_not_do_is_answered_so(hub: Hub, operation: GatewayOperation) -> None:
    call = ASK[operation](hub)
    rows, mark = hub.rows(), hub.bench.mark()
    answer = call()
    assert (answer.status_code, [each["code"] for each in answer.json()["errors"]]) == (422, ["unsupported_operation"])
    assert answer.json()["errors"][0]["detail"]
    assert hub.bench.since(mark) == []
    assert hub.rows() == rows


@pytest.mark.parametrize("bench", [*FULL, *LESSER], ids=name_of, indirect=True)
def test_an_account_shows_its_whole_matrix(hub: Hub) -> None:
    shown = hub.api.get(f"/api/v1/integrations/payment-providers/{hub.config.pk}").json()["features"]
    assert shown["operations"] == {each.value: each.value in hub.features for each in GatewayOperation}
    assert shown["methods"] == sorted(each.value for each in hub.bench.features.methods)
    assert set(shown["currencies"]) == set(hub.bench.features.currencies)
