"""Storing a payer for later: the API, the state table, lost answers, notices, and removing him again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import transaction
from django_scopes import scope
from rest_framework.test import APIClient

from integrations import events, registry
from integrations.contracts.errors import InvalidRequest, OutcomeUnknown, ProviderUnavailable, Undecided
from integrations.contracts.failures import Failure
from integrations.contracts.inbound import SetupTouched, Trust
from integrations.contracts.payment import PaymentResult, PaymentState, SetupResult, StoredMethod
from integrations.models import Alert, Config, ExternalReference, QueueItem, QueueState, Tenant
from integrations.models import Provider as ProviderRow
from integrations.secrets import open_sealed
from integrations.simulators import running_simulators
from payments.models import Operation, PayerMethod, SetupIntent
from payments.setups import TRANSITIONS, apply_setup
from tests.factories import MovableClock, make_config, make_payer_method, make_setup, work_off
from tests.payments.fake_gateway import SLUG, FakeGateway, fake_provider

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/api/v1/payments/setup-intent"
TOKEN = "tok-from-the-form-93"
CARD = StoredMethod(token="card-secret-51", customer_ref="cus-1", brand="Visa", last4="4242", expires="12/2030")
PAGE = {"type": "redirect", "url": "https://pay.example/card"}
BODY = {
    "method": {"type": "card", "token": TOKEN},
    "customer": {"id": "student-7", "name": "Jane"},
    "metadata": {"class": "4b"},
}


def said(state: str, ref: str = "si-1", **fields: Any) -> SetupResult:
    return SetupResult(PaymentState(state), provider_ref=ref, **fields)


def stored(ref: str = "si-1") -> SetupResult:
    return said("succeeded", ref, customer_ref="cus-1", stored=CARD, references=(("setup", ref), ("card", CARD.token)))


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeGateway]]:
    known, declared = registry.providers(), fake_provider()
    monkeypatch.setattr(registry, "providers", lambda: {**known, SLUG: declared})
    FakeGateway.answers.clear()
    FakeGateway.asked.clear()
    yield FakeGateway
    assert {name: left for name, left in FakeGateway.answers.items() if left} == {}, "never asked for"


@pytest.fixture
def config(tenant: Tenant, gateway: Any) -> Config:
    ProviderRow.objects.get_or_create(slug=SLUG, defaults={"name": "Sample Pay", "categories": ["payment"]})
    row = Config(tenant=tenant, provider_id=SLUG, environment="production", values={})
    row.set_secrets({"api_key": "sample-key-0123456789"})
    row.save()
    return row


Begin = Callable[..., Any]


@pytest.fixture
def begin(admin_api: APIClient, config: Config, gateway: type[FakeGateway], clock: MovableClock) -> Begin:
    """`begin(answer, **body)`: ask for a setup which the gateway answers with that; returns the API's answer."""

    def make(*answers: Any, key: str = "", **body: Any) -> Any:
        gateway.answers["setup"] += answers
        headers = {"HTTP_IDEMPOTENCY_KEY": key} if key else {}
        return admin_api.post(URL, {**BODY, **body}, format="json", **headers)

    return make


def read(tenant: Tenant, setup_id: str) -> SetupIntent:
    with scope(tenant=tenant):
        return SetupIntent.objects.select_related("payer_method").get(pk=setup_id)


def methods(tenant: Tenant) -> list[PayerMethod]:
    return list(PayerMethod.unscoped.filter(tenant=tenant).order_by("created", "pk"))


def operations(gateway: type[FakeGateway]) -> list[str]:
    return [operation for operation, _ in gateway.asked]


@pytest.fixture
def emitted(monkeypatch: pytest.MonkeyPatch) -> list[events.DomainEvent]:
    seen: list[events.DomainEvent] = []
    monkeypatch.setitem(events._handlers, events.DomainEvent, [*events._handlers[events.DomainEvent], seen.append])
    return seen


def test_a_card_token_is_stored_at_once(
    begin: Begin, tenant: Tenant, gateway: type[FakeGateway], admin_api: APIClient, emitted: list[events.DomainEvent]
) -> None:
    answer = begin(stored())
    assert answer.status_code == 201, answer.content
    body = answer.json()
    (method,) = methods(tenant)
    shown = {
        "id": method.pk, "provider": SLUG, "customer": "student-7", "type": "card", "brand": "Visa", "last4": "4242",
        "expires": "12/2030", "payer": "", "created": "2026-11-20T09:00:00.000Z",
    }  # fmt: skip
    assert body == {
        "id": body["id"], "status": "succeeded", "provider": SLUG, "provider_ref": "si-1", "type": "card", "method": shown,
        "next_action": None, "failure": None, "customer": {"id": "student-7", "name": "Jane"}, "metadata": {"class": "4b"},
        "expires": "2026-11-21T09:00:00.000Z", "created": "2026-11-20T09:00:00.000Z", "updated": "2026-11-20T09:00:00.000Z",
    }  # fmt: skip
    ((operation, request),) = gateway.asked
    assert (operation, request.setup_id, request.token) == ("setup", body["id"], TOKEN)
    assert admin_api.get(f"{URL}/{body['id']}").json() == body
    listed = admin_api.get("/api/v1/payments/methods?customer=student-7")
    assert listed.json()["results"] == [shown]
    assert admin_api.get("/api/v1/payments/methods?customer=student-8").json()["results"] == []
    assert [(event.type, event.object) for event in emitted] == [("payer.stored", body)]
    for text in (answer.content.decode(), listed.content.decode(), str(emitted[0].object)):
        assert CARD.token not in text
        assert TOKEN not in text
    assert (open_sealed(tenant.pk, method.sealed_token), method.customer_ref) == (CARD.token, "cus-1")
    row = Operation.unscoped.get(setup_id=body["id"])
    assert (row.kind, row.amount, row.status, row.sealed_token, row.payment_id) == ("setup", 0, "succeeded", "", None)
    assert not ExternalReference.unscoped.filter(external_id=CARD.token).exists()
    assert work_off() == []


def test_a_payer_on_a_page_is_asked_about_until_he_has_agreed(
    begin: Begin, tenant: Tenant, gateway: type[FakeGateway], clock: MovableClock
) -> None:
    body = begin(said("requires_action", next_action=PAGE), method={"type": "redirect"}).json()
    assert (body["status"], body["next_action"], body["method"]) == ("requires_action", PAGE, None)
    gateway.answers["setup_status"] += [said("requires_action"), said("approved")]
    gateway.answers["complete_setup"] += [stored()]
    assert work_off() == []
    clock.advance(30)
    work_off()
    setup = read(tenant, body["id"])
    assert (setup.status, setup.next_action) == ("requires_action", PAGE)
    clock.advance(30)
    work_off()
    setup = read(tenant, body["id"])
    assert (setup.status, setup.next_action, setup.payer_method.brand) == ("succeeded", None, "Visa")
    assert operations(gateway) == ["setup", "setup_status", "setup_status", "complete_setup"]
    first, _, _, last = [request for _, request in gateway.asked]
    assert (first.provider_ref, last.provider_ref) == ("", "si-1")
    assert last.idempotency_key == f"{first.idempotency_key}-complete"


def test_nobody_came_in_a_day(
    begin: Begin, tenant: Tenant, gateway: type[FakeGateway], clock: MovableClock, emitted: Any
) -> None:
    setup_id = begin(said("requires_action", next_action=PAGE)).json()["id"]
    gateway.answers["setup_status"] += [said("requires_action")] * 2
    clock.advance(hours=23)
    work_off()
    assert read(tenant, setup_id).status == "requires_action"
    clock.advance(hours=1)
    work_off()
    setup = read(tenant, setup_id)
    assert (setup.status, setup.failure["code"], setup.next_action) == ("expired", "payment_expired", None)
    assert [event.type for event in emitted] == ["payer.setup_failed"]
    clock.advance(hours=30)
    assert work_off() == []
    assert methods(tenant) == []


def test_a_refusal_is_a_failed_setup(begin: Begin, tenant: Tenant, emitted: Any) -> None:
    body = begin(said("failed", failure=Failure.of("expired_card"))).json()
    assert (body["status"], body["failure"]["code"], body["method"]) == ("failed", "expired_card", None)
    assert [(event.type, event.object["status"]) for event in emitted] == [("payer.setup_failed", "failed")]
    assert methods(tenant) == []
    assert work_off() == []


def test_a_refusal_that_names_a_field_is_raised(begin: Begin, tenant: Tenant) -> None:
    answer = begin(InvalidRequest("No such token.", attr="method.token"))
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["attr"] == "method.token"
    assert SetupIntent.unscoped.get(tenant=tenant).status == "failed"


def test_a_lost_answer_is_unknown_and_asked_for_never_repeated(
    begin: Begin, tenant: Tenant, gateway: type[FakeGateway], clock: MovableClock
) -> None:
    body = begin(OutcomeUnknown("cut off")).json()
    assert (body["status"], body["provider_ref"]) == ("unknown", "")
    gateway.answers["setup_status"] += [ProviderUnavailable("away"), stored()]
    clock.advance(30)
    work_off()
    clock.advance(30)
    work_off()
    setup = read(tenant, body["id"])
    assert (setup.status, setup.provider_ref, len(methods(tenant))) == ("succeeded", "si-1", 1)
    assert operations(gateway).count("setup") == 1


def test_an_undecided_request_is_made_again_with_the_same_key(
    begin: Begin, tenant: Tenant, gateway: type[FakeGateway], clock: MovableClock
) -> None:
    body = begin(Undecided("cut off")).json()
    assert body["status"] == "processing"
    gateway.answers["setup"] += [stored()]
    clock.advance(10)
    work_off()
    assert read(tenant, body["id"]).status == "succeeded"
    assert operations(gateway) == ["setup", "setup"]
    assert len({request.idempotency_key for _, request in gateway.asked}) == 1


def test_a_request_that_never_arrived_fails_only_once_that_is_certain(
    begin: Begin, tenant: Tenant, gateway: type[FakeGateway], clock: MovableClock
) -> None:
    setup_id = begin(OutcomeUnknown("cut off")).json()["id"]
    gateway.answers["setup_status"] += [said("absent", "")] * 2
    clock.advance(30)
    work_off()
    assert read(tenant, setup_id).status == "unknown"
    clock.advance(gateway.features.validity + gateway.features.arrives_within)
    work_off()
    setup = read(tenant, setup_id)
    assert (setup.status, setup.failure["code"]) == ("failed", "never_arrived")


def test_the_same_key_stores_once(begin: Begin, tenant: Tenant, gateway: type[FakeGateway]) -> None:
    first = begin(stored(), key="k-1")
    again = begin(key="k-1")
    assert (again.status_code, again.json()) == (201, first.json())
    assert operations(gateway) == ["setup"]
    assert begin(key="k-1", metadata={"class": "5a"}).status_code == 422
    assert SetupIntent.unscoped.filter(tenant=tenant).count() == 1


@pytest.mark.parametrize(
    ("body", "status", "attr"),
    [
        ({"method": {"type": "mobile_money"}}, 422, "method.type"),
        ({"method": {"type": "card", "token": "pm_" + "0" * 26}}, 400, "method.token"),
        ({"provider": "nobody"}, 422, "provider"),
        ({"amount": 5}, 400, "amount"),
        ({"method": {"type": "card", "number": "4242424242424242"}}, 400, "method.number"),
    ],
)
def test_what_can_not_be_done_leaves_nothing(begin: Begin, tenant: Tenant, body: Any, status: int, attr: str) -> None:
    answer = begin(**body)
    assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (status, attr)
    assert not SetupIntent.unscoped.filter(tenant=tenant).exists()
    assert not QueueItem.unscoped.filter(tenant=tenant).exists()


def test_a_gateway_without_it_refuses(begin: Begin, tenant: Tenant, gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "features", gateway.features.without("setup"))
    assert begin().status_code == 422
    assert not SetupIntent.unscoped.filter(tenant=tenant).exists()


@pytest.mark.django_db
@pytest.mark.parametrize("status", list(TRANSITIONS))
@pytest.mark.parametrize("state", ["requires_action", "processing", "failed", "cancelled", "expired", "unknown"])
def test_only_what_is_in_the_table_happens(tenant: Tenant, config: Config, status: str, state: str) -> None:
    setup = make_setup(config, status=status)
    with scope(tenant=tenant), transaction.atomic():
        Operation.objects.create(
            id="op_1", tenant=tenant, setup=setup, kind="setup", amount=0, idempotency_key="k", hook_token="t",
            created=setup.created, updated=setup.created,
        )  # fmt: skip
        apply_setup(setup.pk, said(state))
    expected = state if state in {target.value for target in TRANSITIONS[status]} else status
    assert read(tenant, setup.pk).status == expected


def test_success_is_final_stored_once_and_comes_late_too(
    begin: Begin, tenant: Tenant, config: Config, emitted: list[events.DomainEvent]
) -> None:
    setup_id = begin(said("cancelled")).json()["id"]
    with scope(tenant=tenant), transaction.atomic():
        for answer in (stored(), stored(), said("failed"), said("succeeded")):
            apply_setup(setup_id, answer)
    assert read(tenant, setup_id).status == "succeeded"
    assert len(methods(tenant)) == 1
    assert [event.type for event in emitted] == ["payer.setup_failed", "payer.stored"]


def test_a_word_on_another_id_is_not_believed(begin: Begin, tenant: Tenant) -> None:
    setup_id = begin(said("requires_action", next_action=PAGE)).json()["id"]
    with scope(tenant=tenant), transaction.atomic():
        apply_setup(setup_id, stored("si-other"))
    assert (read(tenant, setup_id).status, methods(tenant)) == ("requires_action", [])
    assert Alert.objects.filter(tenant_id=tenant.pk, kind="setup_mismatch", subject=setup_id).count() == 1


def touched(tenant: Tenant, config: Config, **fields: Any) -> SetupTouched:
    given = {"trust": Trust.SIGNED, "receipt_id": 1, **fields}
    return SetupTouched(provider=SLUG, tenant_id=tenant.pk, config_id=config.pk, **given)


@pytest.mark.parametrize("by", ["setup_id", "provider_ref", "token_object"])
def test_a_notice_leads_to_a_question_at_once(
    begin: Begin, tenant: Tenant, config: Config, gateway: type[FakeGateway], by: str
) -> None:
    setup_id = begin(said("requires_action", next_action=PAGE, references=(("setup", "si-1"),))).json()["id"]
    named = {"setup_id": setup_id, "provider_ref": "si-1", "token_object": f"setup:{setup_id}"}[by]
    gateway.answers["setup_status"] += [stored()]
    with scope(tenant=tenant), transaction.atomic():
        events.emit(touched(tenant, config, **{by: named}))
    assert read(tenant, setup_id).status == "requires_action"
    work_off()
    assert read(tenant, setup_id).status == "succeeded"


def test_a_signed_notice_tells_the_id_that_a_lost_answer_did_not(
    begin: Begin, tenant: Tenant, config: Config, gateway: type[FakeGateway]
) -> None:
    setup_id = begin(OutcomeUnknown("cut off")).json()["id"]
    with scope(tenant=tenant), transaction.atomic():
        events.emit(touched(tenant, config, setup_id=setup_id, provider_ref="si-hint", trust=Trust.HINT))
        assert read(tenant, setup_id).provider_ref == ""
        events.emit(touched(tenant, config, setup_id=setup_id, provider_ref="si-1", receipt_id=2))
    gateway.answers["setup_status"] += [stored()]
    work_off()
    assert gateway.asked[1][1].provider_ref == "si-1"
    assert read(tenant, setup_id).status == "succeeded"


def test_a_notice_on_nothing_of_ours_is_unmatched(tenant: Tenant, other_tenant: Tenant, config: Config) -> None:
    with scope(tenant=tenant), transaction.atomic(), pytest.raises(events.Unmatched):
        events.emit(touched(tenant, config, setup_id="seti_" + "0" * 26, provider_ref="si-9"))


def test_a_stored_card_is_charged_without_the_payer_and_a_removed_one_is_not(
    begin: Begin, tenant: Tenant, gateway: type[FakeGateway], admin_api: APIClient
) -> None:
    method_id = begin(stored()).json()["method"]["id"]
    gateway.answers["authorize"] += [PaymentResult(PaymentState.SUCCEEDED, provider_ref="ch-1")]
    charge = {"amount": 5000, "currency": "KES", "method": {"type": "card", "token": method_id}}
    answer = admin_api.post("/api/v1/payments/authorize", charge, format="json")
    assert (answer.status_code, answer.json()["status"]) == (201, "succeeded")
    _, request = gateway.asked[-1]
    assert (request.token, request.customer_ref, request.off_session) == (CARD.token, "cus-1", True)

    gateway.answers["forget"] += [None]
    url = f"/api/v1/payments/methods/{method_id}"
    assert admin_api.delete(url).status_code == 204
    assert admin_api.delete(url).status_code == 204
    assert [(name, what.token) for name, what in gateway.asked if name == "forget"] == [("forget", CARD.token)]
    assert admin_api.get("/api/v1/payments/methods").json()["results"] == []
    refused = admin_api.post("/api/v1/payments/authorize", charge, format="json")
    assert (refused.status_code, refused.json()["errors"][0]["attr"]) == (400, "method.token")
    assert operations(gateway).count("authorize") == 1


def test_removing_goes_on_when_the_gateway_is_away(
    tenant: Tenant, config: Config, gateway: type[FakeGateway], admin_api: APIClient, clock: MovableClock
) -> None:
    method = make_payer_method(config)
    gateway.answers["forget"] += [ProviderUnavailable("away"), OutcomeUnknown("cut off"), None]
    assert admin_api.delete(f"/api/v1/payments/methods/{method.pk}").status_code == 204
    clock.advance(60)
    work_off()
    assert operations(gateway) == ["forget"] * 3
    (row,) = methods(tenant)
    assert (row.is_active, row.removed_at is not None) == (False, True)
    assert not QueueItem.unscoped.filter(tenant=tenant).exclude(state=QueueState.COMPLETED).exists()


def test_what_the_gateway_would_not_remove_is_told_to_people(
    tenant: Tenant, config: Config, gateway: type[FakeGateway], admin_api: APIClient
) -> None:
    method = make_payer_method(config)
    gateway.answers["forget"] += [InvalidRequest("not now")]
    assert admin_api.delete(f"/api/v1/payments/methods/{method.pk}").status_code == 204
    assert Alert.objects.filter(tenant_id=tenant.pk, kind="payer_method_not_removed", subject=method.pk).count() == 1
    assert [each.is_active for each in methods(tenant)] == [False]


def test_the_gateways_customer_is_used_again(begin: Begin, gateway: type[FakeGateway], config: Config) -> None:
    make_payer_method(config, customer_id="student-7", customer_ref="cus-7")
    make_payer_method(config, customer_id="student-8", customer_ref="cus-8")
    begin(stored())
    assert gateway.asked[0][1].customer_ref == "cus-7"


def test_a_real_gateway_stores_and_removes_a_card(
    tenant: Tenant, simulators: running_simulators, admin_api: APIClient, transactional_db: None
) -> None:
    make_config(tenant, "stripe")
    answer = admin_api.post(URL, {**BODY, "method": {"type": "card", "token": "pm_card_visa"}}, format="json")
    assert (answer.status_code, answer.json()["status"]) == (201, "succeeded"), answer.content
    method = answer.json()["method"]
    assert (method["last4"], method["customer"]) == ("4242", "student-7")
    (row,) = methods(tenant)
    assert open_sealed(tenant.pk, row.sealed_token) not in answer.content.decode()
    assert admin_api.delete(f"/api/v1/payments/methods/{method['id']}").status_code == 204
    assert QueueItem.unscoped.get(tenant=tenant, kind="payment.forget_method").state == QueueState.COMPLETED
