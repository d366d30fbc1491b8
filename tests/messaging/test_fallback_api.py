"""Fallback policies through the API, and recipients who name where else they can be reached."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.messaging.models import FallbackPolicy, FallbackStep, Message, Recipient
from integrations.models import Role, Tenant
from tests.factories import make_config, make_fallback_policy, make_template

pytestmark = pytest.mark.django_db
BASE = "/api/v1/integrations"
POLICIES = f"{BASE}/fallback-policies"
NUMBER = "+254711000123"
POLICY: dict[str, Any] = {
    "name": "Texts",
    "channel": "sms",
    "steps": [{"channel": "sms", "provider": "twilio"}, {"channel": "email"}],
}


def send(api: APIClient, **body: Any) -> Any:
    # Escaped by hand: a test client can't write down what a careless caller's can.
    text = json.dumps({"to": NUMBER, "message": "Karibu", **body})
    return api.post(f"{BASE}/sms/send", text, content_type="application/json")


@pytest.fixture
def sms(tenant: Tenant) -> Tenant:
    make_config(tenant, "africastalking")
    return tenant


def test_a_policy_is_written_shown_replaced_and_removed(admin_api: APIClient, tenant: Tenant) -> None:
    made = admin_api.post(POLICIES, POLICY, format="json")
    assert made.status_code == 201, made.json()
    policy = made.json()
    whole = {"category": "", "after_minutes": None, "tries": 2, "is_active": True}
    steps = [{"channel": "sms", "provider": "twilio"}, {"channel": "email", "provider": ""}]
    assert policy == {"id": policy["id"], **POLICY, **whole, "steps": steps}
    url = f"{POLICIES}/{policy['id']}"
    assert (admin_api.get(url).json(), admin_api.get(POLICIES).json()["results"]) == (policy, [policy])
    changed = {**POLICY, "category": "otp", "after_minutes": 3, "tries": 1, "steps": [{"channel": "whatsapp"}]}
    answer = admin_api.put(url, changed, format="json")
    assert answer.status_code == 200, answer.json()
    assert (answer.json()["after_minutes"], answer.json()["steps"]) == (3, [{"channel": "whatsapp", "provider": ""}])
    assert admin_api.put(url, POLICY, format="json").json() == policy
    assert admin_api.delete(url).status_code == 204
    assert (FallbackPolicy.unscoped.count(), FallbackStep.unscoped.count()) == (0, 0)


def test_the_same_key_writes_one(admin_api: APIClient, tenant: Tenant) -> None:
    first, again = (admin_api.post(POLICIES, POLICY, format="json", headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"channel": "fax"}, "channel"),
        ({"category": "c" * 31}, "category"),
        ({"after_minutes": 0}, "after_minutes"),
        ({"after_minutes": 10_081}, "after_minutes"),
        ({"tries": 0}, "tries"),
        ({"steps": []}, "steps"),
        ({"steps": [{"channel": "email"}] * 9}, "steps"),
        ({"steps": [{"channel": "email"}] * 2}, "steps.1"),
        ({"steps": [{"channel": "fax"}]}, "steps.0.channel"),
        ({"steps": [{"channel": "sms", "provider": "nobody"}]}, "steps.0.provider"),
        ({"steps": [{"channel": "sms", "provider": "smtp"}]}, "steps.0.provider"),
        ({"channel": "push", "steps": [{"channel": "push"}]}, "steps.0.channel"),
        ({"surplus": 1}, "surplus"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_written(
    admin_api: APIClient, tenant: Tenant, changes: dict[str, Any], attr: str
) -> None:
    answer = admin_api.post(POLICIES, {**POLICY, **changes}, format="json")
    assert answer.status_code == 400, answer.json()
    assert [each["attr"] for each in answer.json()["errors"]] == [attr]
    assert not FallbackPolicy.unscoped.exists()


def test_one_policy_for_a_channel_and_category(admin_api: APIClient, tenant: Tenant) -> None:
    make_fallback_policy(tenant, "email")
    assert admin_api.post(POLICIES, POLICY, format="json").status_code == 409
    assert FallbackStep.unscoped.count() == 1


def test_policies_are_for_admins(api: Callable[..., APIClient], tenant: Tenant) -> None:
    assert api(tenant, Role.STAFF).get(POLICIES).status_code == 403
    assert api(tenant, Role.AUDITOR).get(POLICIES).status_code == 200
    assert api(tenant, Role.AUDITOR).post(POLICIES, POLICY, format="json").status_code == 403


def test_one_recipient_names_where_else_he_is_reached(staff_api: APIClient, sms: Tenant) -> None:
    where = {"email": "Jane@example.org", "whatsapp": "0711 000 999", "push": "user-7"}
    assert send(staff_api, fallback=where).status_code == 202
    recipient = Recipient.unscoped.get()
    assert recipient.alternatives == {**where, "whatsapp": "+254711000999"}


def test_recipients_may_have_what_is_their_own(staff_api: APIClient, sms: Tenant) -> None:
    to = [
        {"to": "0711000123", "name": "Jane", "data": {"pupil": "Amina"}, "fallback": {"email": "j@example.org"}},
        {"to": "0711000124", "data": {"pupil": "Brian", "name": "John"}},
    ]
    answer = send(staff_api, to=to, message="Dear {{ name }}, {{ pupil }} is absent on {{ day }}.", data={"day": "Monday"})
    assert answer.status_code == 202, answer.json()
    message = Message.unscoped.get()
    first, second = Recipient.unscoped.order_by("id")
    assert (message.personal, message.data, message.segments) == (True, {"day": "Monday"}, 1)
    assert (first.address, first.name, first.data, first.alternatives) == (
        NUMBER, "Jane", {"pupil": "Amina"}, {"email": "j@example.org"},
    )  # fmt: skip
    assert second.data == {"pupil": "Brian", "name": "John"}


def test_a_template_is_kept_as_it_is_for_them(staff_api: APIClient, sms: Tenant) -> None:
    make_template(sms, name="absent", body="{{ pupil }} is absent.")
    to = [{"to": NUMBER, "data": {"pupil": "Amina"}}, "+254711000124"]
    body = {"to": to, "template": "absent", "message": ""}
    refused = send(staff_api, **body)
    assert (refused.status_code, refused.json()["errors"][0]["attr"]) == (400, "to")
    assert "pupil" in refused.json()["errors"][0]["detail"]
    assert send(staff_api, **body, data={"pupil": "A pupil"}).status_code == 202
    assert Message.unscoped.get().body == "{{ pupil }} is absent."


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({"to": [NUMBER, "+254711000124"], "fallback": {"email": "a@b.org"}}, "fallback"),
        ({"fallback": {"email": "nobody"}}, "fallback.email"),
        ({"fallback": {"fax": "1"}}, "fallback.fax"),
        ({"fallback": {"whatsapp": "12"}}, "fallback"),
        ({"fallback": {"push": " "}}, "fallback.push"),
        ({"fallback": "a@b.org"}, "fallback.non_field_errors"),
        ({"to": [{"number": NUMBER}]}, "to"),
        ({"to": [{"to": NUMBER, "surplus": 1}]}, "to.0.surplus"),
        ({"to": [{"to": NUMBER, "fallback": {"email": "x"}}]}, "to.0.fallback.email"),
        ({"to": [{"to": NUMBER, "data": {"a": "\0"}}]}, "to.0.data"),
        ({"to": [{"to": NUMBER, "data": {"a": "\ud800"}}]}, "to"),
        ({"to": [{"to": NUMBER, "data": {"a": 1}}, {"to": "0711000123", "data": {"a": 2}}]}, "to"),
        ({"to": [{"to": "12"}]}, "to"),
        ({"to": [{"to": NUMBER}] * 1001}, "to"),
        ({"to": [{"to": NUMBER, "data": {"a": 1}}], "message": "{{ a }} {{ b"}, "message"),
        ({"to": [{"to": NUMBER, "data": {"a": "x" * 1601}}], "message": "{{ a }}"}, "message"),
        ({"data": {"a": "\0"}}, "data"),
    ],
)
def test_bad_recipients_are_named_and_nothing_is_sent(
    staff_api: APIClient, sms: Tenant, body: dict[str, Any], attr: str
) -> None:
    answer = send(staff_api, **body)
    assert answer.status_code == 400, answer.json()
    assert attr in {each["attr"] for each in answer.json()["errors"]}
    assert not Message.unscoped.exists()


def test_variables_stay_as_they_are_where_nobody_has_values(staff_api: APIClient, sms: Tenant) -> None:
    assert send(staff_api, message="Use {{ braces }}").status_code == 202
    with scope(tenant=sms):
        message = Message.objects.get()
    assert (message.personal, message.body) == (False, "Use {{ braces }}")
