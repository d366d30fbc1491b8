"""Idempotency-Key over the payments API: the same key and body give the stored answer, whatever happened to the first."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.db import IntegrityError
from rest_framework.test import APIClient

from integrations.contracts import clock as hub_clock
from integrations.models import Config, IdempotencyRecord, Tenant
from integrations.runtime import idempotency
from integrations.runtime.worker import claim_and_run
from integrations.secrets import generate_key, open_sealed
from integrations.simulators import running_simulators
from integrations.tenancy.authentication import create_api_key
from payments.models import Operation, Payment
from payments.services import start
from tests.factories import make_client, make_config
from tests.runtime.support import together

pytestmark = pytest.mark.django_db(transaction=True)
BODY = {
    "amount": 150_000,
    "currency": "KES",
    "method": {"type": "mobile_money", "phone": "0712345678"},
    "reference": {"type": "invoice", "id": "INV-7"},
}


class Crash(BaseException):
    """The process dies here: nothing of ours may catch this."""


@pytest.fixture
def mpesa(tenant: Tenant, simulators: running_simulators) -> Config:
    return make_config(tenant, "mpesa")


@pytest.fixture
def pushes(simulators: running_simulators) -> Callable[[], int]:
    def count() -> int:
        seen = requests.get(f"{simulators.url}/control/mpesa/requests", timeout=10).json()
        return sum(request["operation"] == "stk_push" for request in seen)

    return count


def post(
    client: APIClient, key: str = "k-1", body: dict[str, Any] | None = None, path: str = "/api/v1/payments/authorize"
) -> Any:
    return client.post(path, body or BODY, format="json", headers={"Idempotency-Key": key})


def kind(answer: Any) -> str:
    return str(answer.json()["errors"][0]["code"])


def test_the_same_key_and_body_give_the_same_answer_and_one_push(
    mpesa: Config, admin_api: APIClient, pushes: Callable[[], int]
) -> None:
    first, second = post(admin_api), post(admin_api)

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert (pushes(), Payment.unscoped.count()) == (1, 1)


def test_members_in_another_order_and_the_unversioned_route_are_the_same_request(
    mpesa: Config, admin_api: APIClient, pushes: Callable[[], int]
) -> None:
    first = post(admin_api)
    second = post(admin_api, body=dict(reversed(BODY.items())), path="/api/payments/authorize")
    assert first.json() == second.json()
    assert pushes() == 1


def test_another_body_or_route_under_the_same_key_is_refused(
    mpesa: Config, admin_api: APIClient, pushes: Callable[[], int]
) -> None:
    post(admin_api)
    for answer in (
        post(admin_api, body={**BODY, "amount": 150_100}),
        post(admin_api, path="/api/v1/payments/refund"),
    ):
        assert (answer.status_code, kind(answer)) == (422, "idempotency_key_reused")
    assert (pushes(), Payment.unscoped.count(), Operation.unscoped.filter(kind="refund").count()) == (1, 1, 0)


def test_without_a_key_each_request_is_its_own(mpesa: Config, admin_api: APIClient) -> None:
    for phone in ("0712345678", "0712345679"):
        body = {**BODY, "method": {"type": "mobile_money", "phone": phone}}
        assert admin_api.post("/api/v1/payments/authorize", body, format="json").status_code == 201
    assert Payment.unscoped.count() == 2
    assert IdempotencyRecord.unscoped.count() == 0


@pytest.mark.parametrize("key", ["x" * 256, "tab\tin it"])
def test_a_key_that_is_none(mpesa: Config, admin_api: APIClient, key: str) -> None:
    assert post(admin_api, key).status_code == 400
    assert Payment.unscoped.count() == 0


def test_twenty_at_once_make_one_payment(mpesa: Config, tenant: Tenant, pushes: Callable[[], int]) -> None:
    _row, value = create_api_key(tenant=tenant, name="sis")
    clients = [APIClient(headers={"Authorization": f"Bearer {value}"}) for _ in range(20)]

    answers = together(20, lambda number: post(clients[number]))

    assert {answer.status_code for answer in answers} <= {201, 409}
    made = [answer for answer in answers if answer.status_code == 201]
    assert len({answer.json()["id"] for answer in made}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in made) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert kind(answer) == "idempotency_key_in_use"
            assert answer.headers["Retry-After"] == "1"
    assert (pushes(), Payment.unscoped.count()) == (1, 1)


def test_the_same_key_of_another_tenant_is_another_key(mpesa: Config, admin_api: APIClient, other_tenant: Tenant) -> None:
    make_config(other_tenant, "mpesa", account="studio")
    other = post(make_client(other_tenant), body={**BODY, "method": {"type": "mobile_money", "phone": "0712345671"}})
    mine = post(admin_api)
    assert (mine.status_code, other.status_code) == (201, 201)
    assert mine.json()["id"] != other.json()["id"]
    assert set(Payment.unscoped.values_list("tenant__slug", flat=True)) == {"springfield-school", "lens-and-light"}


def test_a_crash_after_the_payment_was_recorded_is_answered_with_that_payment_and_no_second_push(
    mpesa: Config, admin_api: APIClient, pushes: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_item: Any) -> None:
        raise Crash

    monkeypatch.setattr(start, "claim_and_run", die)
    with pytest.raises(Crash):
        post(admin_api)
    monkeypatch.setattr(start, "claim_and_run", claim_and_run)
    payment = Payment.unscoped.get()
    assert pushes() == 0

    waiting = post(admin_api)
    assert (waiting.status_code, kind(waiting)) == (409, "idempotency_key_in_use")
    IdempotencyRecord.unscoped.update(lease_until=hub_clock.now() - timedelta(seconds=1))
    answer = post(admin_api)

    assert (answer.status_code, answer.json()["id"], answer.json()["status"]) == (201, payment.pk, "processing")
    assert (pushes(), Payment.unscoped.count()) == (0, 1)
    again = post(admin_api)
    assert again.json() == answer.json()
    assert again.headers["Idempotent-Replayed"] == "true"


def test_a_crash_after_the_push_is_answered_with_that_payment_and_no_second_push(
    mpesa: Config, admin_api: APIClient, pushes: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def push_and_die(item: Any) -> None:
        claim_and_run(item)
        raise Crash

    monkeypatch.setattr(start, "claim_and_run", push_and_die)
    with pytest.raises(Crash):
        post(admin_api)
    monkeypatch.setattr(start, "claim_and_run", claim_and_run)
    IdempotencyRecord.unscoped.update(lease_until=hub_clock.now() - timedelta(seconds=1))

    answer = post(admin_api)

    assert answer.status_code == 201
    assert answer.json()["id"] == Payment.unscoped.get().pk
    assert answer.json()["provider_ref"].startswith("ws_CO_")
    assert pushes() == 1


def test_a_bug_after_the_payment_was_recorded_is_answered_with_that_payment_at_once(
    mpesa: Config, admin_api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(_item: Any) -> None:
        raise RuntimeError("bug")

    admin_api.raise_request_exception = False
    monkeypatch.setattr(start, "claim_and_run", break_down)
    broken = post(admin_api)
    monkeypatch.setattr(start, "claim_and_run", claim_and_run)

    assert broken.status_code == 500
    answer = post(admin_api)
    assert (answer.status_code, answer.json()["id"]) == (201, Payment.unscoped.get().pk)


def test_refusals_of_the_request_are_stored(mpesa: Config, admin_api: APIClient) -> None:
    bad = {**BODY, "amount": 150_050}
    first, second = post(admin_api, body=bad), post(admin_api, body=bad)
    assert (first.status_code, second.status_code) == (400, 400)
    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert Payment.unscoped.count() == 0


@pytest.mark.parametrize("status", [401, 403, 404, 409, 429, 500, 503])
def test_passing_troubles_are_not_stored(
    mpesa: Config, admin_api: APIClient, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    from rest_framework.exceptions import APIException

    class Trouble(APIException):
        status_code = status

    def trouble(**_values: Any) -> None:
        raise Trouble

    admin_api.raise_request_exception = False
    monkeypatch.setattr("payments.api.start_payment", trouble)
    assert post(admin_api).status_code == status
    assert IdempotencyRecord.unscoped.count() == 0
    monkeypatch.undo()
    assert IdempotencyRecord.unscoped.count() == 0


def test_what_only_the_settings_refuse_is_made_under_the_same_key_once_they_are_right(
    mpesa: Config, admin_api: APIClient, pushes: Callable[[], int]
) -> None:
    Config.unscoped.filter(pk=mpesa.pk).update(is_active=False)
    assert kind(post(admin_api)) == "not_configured"
    Config.unscoped.filter(pk=mpesa.pk).update(is_active=True)
    assert post(admin_api).status_code == 201
    assert pushes() == 1


def test_after_a_day_a_key_is_new(mpesa: Config, admin_api: APIClient, pushes: Callable[[], int]) -> None:
    first = post(admin_api)
    other = {**BODY, "method": {"type": "mobile_money", "phone": "0712345671"}}
    IdempotencyRecord.unscoped.update(created=hub_clock.now() - timedelta(hours=23, minutes=59))
    assert post(admin_api, body=other).status_code == 422
    IdempotencyRecord.unscoped.update(created=hub_clock.now() - timedelta(hours=24, seconds=1))

    second = post(admin_api, body=other)

    assert second.status_code == 201
    assert second.json()["id"] != first.json()["id"]
    assert (pushes(), IdempotencyRecord.unscoped.count()) == (2, 1)
    assert post(admin_api, body=other).json() == second.json()


def test_a_record_that_vanishes_meanwhile_is_a_conflict_and_no_error(
    mpesa: Config, admin_api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first request met a passing trouble and freed the key just as the second found it taken."""

    class Taken:
        def create(self, **_fields: Any) -> None:
            raise IntegrityError("duplicate key")

        def __getattr__(self, name: str) -> Any:
            return getattr(IdempotencyRecord._base_manager, name)

    class Model:
        unscoped = Taken()
        DoesNotExist = IdempotencyRecord.DoesNotExist

    monkeypatch.setattr(idempotency, "IdempotencyRecord", Model)
    answer = post(admin_api)
    assert (answer.status_code, kind(answer)) == (409, "idempotency_key_in_use")
    assert Payment.unscoped.count() == 0


def test_a_request_that_lost_its_turn_makes_nothing(
    mpesa: Config, admin_api: APIClient, pushes: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It slept so long that another took its place: what it would make now would be a second payment."""
    real = start.candidates

    def sleepy(**values: Any) -> Any:
        IdempotencyRecord.unscoped.update(lease="00000000-0000-0000-0000-000000000001")
        return real(**values)

    monkeypatch.setattr(start, "candidates", sleepy)
    answer = post(admin_api)
    assert (answer.status_code, kind(answer)) == (409, "idempotency_key_in_use")
    assert (Payment.unscoped.count(), pushes()) == (0, 0)
    assert IdempotencyRecord.unscoped.count() == 1


def test_the_stored_answer_is_sealed(mpesa: Config, admin_api: APIClient) -> None:
    first = post(admin_api)
    record = IdempotencyRecord.unscoped.get()
    assert open_sealed(record.tenant_id, record.sealed_response) == json.loads(first.content)
    assert first.json()["id"] not in record.sealed_response


def test_an_answer_that_can_not_be_read_any_more_is_not_made_anew(mpesa: Config, admin_api: APIClient, settings: Any) -> None:
    first = post(admin_api)
    settings.ENCRYPTION_KEYS = generate_key("t2")

    again = post(admin_api)

    assert (first.status_code, again.status_code) == (201, 422)
    assert again.json()["errors"][0]["code"] == "idempotency_key_reused"
    assert Payment.unscoped.count() == 1
