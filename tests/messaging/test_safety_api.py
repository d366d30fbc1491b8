"""Suppressions, preferences and balances over the API."""

from __future__ import annotations

from typing import Any

import pytest
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.messaging.models import BalanceReading, Preference, Suppression
from integrations.messaging.safety.screening import suppress
from integrations.models import QueueItem, Role
from tests.factories import MovableClock, make_config
from tests.messaging.conftest import Account
from tests.messaging.test_api import BASE, client, person

LIST, WISHES = f"{BASE}/suppressions", f"{BASE}/preferences"
NUMBER = "+254712345678"


@pytest.fixture
def staff(school: Account) -> APIClient:
    return client(school)


@pytest.fixture
def admin(school: Account) -> APIClient:
    return client(school, Role.ADMIN)


def results(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.content
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def test_an_address_is_listed_once(staff: APIClient, clock: MovableClock) -> None:
    body = {"channel": "sms", "address": "0712 345 678", "detail": "rang to say so"}
    first = staff.post(LIST, body)
    assert first.status_code == 201
    row = first.json()
    assert row == {
        "id": Suppression.objects.get().pk,
        "channel": "sms",
        "address": NUMBER,
        "reason": "manual",
        "detail": "rang to say so",
        "source": "key test",
        "created": "2026-11-20T09:00:00Z",
        "released_at": None,
        "released_by": "",
        "release_reason": "",
    }
    again = staff.post(LIST, {"channel": "sms", "address": NUMBER, "reason": "invalid"})
    assert (again.status_code, again.json()) == (200, row)
    assert staff.get(f"{LIST}/{row['id']}").json() == row
    assert Suppression.objects.count() == 1


def test_the_same_key_lists_once_and_answers_the_same(staff: APIClient) -> None:
    body = {"channel": "email", "address": "Jane@Example.com", "reason": "complaint"}
    first = staff.post(LIST, body, headers={"Idempotency-Key": "k"})
    again = staff.post(LIST, body, headers={"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    assert first.json()["address"] == "jane@example.com"


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"channel": None}, "channel"),
        ({"channel": "fax"}, "channel"),
        ({"address": ""}, "address"),
        ({"address": "12"}, "address"),
        ({"address": "jane@example.com"}, "address"),
        ({"address": ["+254712345678"]}, "address"),
        ({"address": "+2547\u0000"}, "address"),
        ({"channel": "email"}, "address"),
        ({"channel": "push", "address": "x" * 513}, "address"),
        ({"reason": "because"}, "reason"),
        ({"detail": "x" * 201}, "detail"),
        ({"released_at": None}, "released_at"),
    ],
)
def test_a_bad_entry_names_the_field(staff: APIClient, changes: dict[str, Any], attr: str) -> None:
    answer = staff.post(LIST, {"channel": "sms", "address": NUMBER, **changes})
    assert answer.status_code == 400
    assert [error["attr"] for error in answer.json()["errors"]] == [attr]
    assert not Suppression.objects.exists()


def test_only_admins_release(staff: APIClient, admin: APIClient, school: Account, clock: MovableClock) -> None:
    row = staff.post(LIST, {"channel": "sms", "address": NUMBER}).json()
    url = f"{LIST}/{row['id']}"
    for role in (Role.STAFF, Role.AUDITOR):
        assert client(school, role).delete(url).status_code == 403
    assert client(school, Role.ADMIN, ["messages:read"]).delete(url).status_code == 403
    assert Suppression.objects.get().released_at is None
    assert admin.delete(f"{url}?reason={'x' * 201}").status_code == 400
    released = admin.delete(f"{url}?reason=rang+again")
    assert released.status_code == 200
    assert {name: released.json()[name] for name in ("released_at", "released_by", "release_reason")} == {
        "released_at": "2026-11-20T09:00:00Z",
        "released_by": "key test",
        "release_reason": "rang again",
    }
    clock.advance(60)
    assert admin.delete(url).json() == released.json()
    assert staff.get(url).json() == released.json()


def test_the_list_and_its_filters(staff: APIClient, admin: APIClient, school: Account) -> None:
    for channel, address, reason in (
        ("sms", NUMBER, "manual"),
        ("sms", "+254712345679", "opt_out"),
        ("email", "jane@example.com", "hard_bounce"),
        ("sms", "+254712345670", "invalid"),
    ):
        suppress(tenant_id=school.tenant.pk, channel=channel, address=address, reason=reason)
    gone = Suppression.objects.get(reason="invalid").pk
    admin.delete(f"{LIST}/{gone}")

    def found(query: str) -> list[str]:
        return [row["address"] for row in results(staff.get(f"{LIST}{query}"))]

    assert found("") == ["jane@example.com", "+254712345679", NUMBER]
    assert found("?released=true") == ["+254712345670"]
    assert found("?released=false") == found("")
    assert found("?channel=email") == ["jane@example.com"]
    assert found("?reason=opt_out") == ["+254712345679"]
    for spelled in ("0712345678", "%2B254712345678", "+254712345678", "254712345678"):
        assert found(f"?address={spelled}") == [NUMBER], spelled
    assert found("?address=JANE@example.com") == ["jane@example.com"]
    assert found("?address=nobody") == []
    assert staff.get(f"{LIST}?channel=fax").status_code == 400
    assert found("?released=maybe") == found("")
    page = staff.get(f"{LIST}?page_size=2").json()
    assert len(page["results"]) == 2
    assert len(results(staff.get(page["next"]))) == 1


def test_another_tenants_entries_are_not_there(staff: APIClient, studio: Account) -> None:
    with scope(tenant=studio.tenant):
        suppress(tenant_id=studio.tenant.pk, channel="sms", address=NUMBER, reason="manual")
    theirs = Suppression.unscoped.get().pk
    assert results(staff.get(LIST)) == []
    assert staff.get(f"{LIST}/{theirs}").status_code == 404
    assert staff.get(f"{LIST}/{10**30}").status_code == 404
    assert staff.post(LIST, {"channel": "sms", "address": NUMBER}).status_code == 201


def test_a_released_e_mail_address_is_released_at_the_provider_too(staff: APIClient, admin: APIClient, school: Account) -> None:
    config = make_config(school.tenant, "sendgrid", account="school")
    row = staff.post(LIST, {"channel": "email", "address": "jane@example.com", "reason": "hard_bounce"}).json()
    admin.delete(f"{LIST}/{row['id']}")
    assert [item.config_id for item in QueueItem.objects.filter(kind="suppression.release")] == [config.pk]


def test_wishes_are_written_and_read(staff: APIClient, clock: MovableClock) -> None:
    answer = staff.put(WISHES, {"channel": "sms", "address": "0712345678", "category": "bulk", "allowed": False})
    assert answer.status_code == 200
    row = answer.json()
    assert {name: value for name, value in row.items() if name != "id"} == {
        "channel": "sms",
        "address": NUMBER,
        "category": "bulk",
        "allowed": False,
        "source": "key test",
        "updated": "2026-11-20T09:00:00Z",
    }
    clock.advance(60)
    changed = staff.put(WISHES, {"channel": "sms", "address": NUMBER, "category": "bulk", "allowed": True}).json()
    assert (changed["id"], changed["allowed"], changed["updated"]) == (row["id"], True, "2026-11-20T09:01:00Z")
    everything = staff.put(WISHES, {"channel": "email", "address": "Jane@example.com", "allowed": False}).json()
    assert everything["category"] == ""
    assert not Suppression.objects.exists()

    def found(query: str) -> list[str]:
        return [each["address"] for each in results(staff.get(f"{WISHES}{query}"))]

    assert sorted(found("")) == [NUMBER, "jane@example.com"]
    assert found("?channel=email") == ["jane@example.com"]
    assert found("?address=0712345678") == [NUMBER]
    assert found("?category=bulk&allowed=true") == [NUMBER]
    assert found("?allowed=false") == ["jane@example.com"]


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"allowed": None}, "allowed"),
        ({"allowed": "perhaps"}, "allowed"),
        ({"category": "x" * 31}, "category"),
        ({"address": "12"}, "address"),
        ({"channel": "fax"}, "channel"),
        ({"why": "x"}, "why"),
    ],
)
def test_a_bad_wish_names_the_field(staff: APIClient, changes: dict[str, Any], attr: str) -> None:
    answer = staff.put(WISHES, {"channel": "sms", "address": NUMBER, "allowed": False, **changes})
    assert (answer.status_code, [error["attr"] for error in answer.json()["errors"]]) == (400, [attr])
    assert not Preference.objects.exists()


def test_a_wish_is_obeyed_by_the_next_text(staff: APIClient) -> None:
    staff.put(WISHES, {"channel": "sms", "address": NUMBER, "category": "bulk", "allowed": False})
    sent = staff.post(f"{BASE}/sms/send", {"to": NUMBER, "message": "Karibu", "category": "bulk"}).json()
    assert (sent["recipients"][0]["status"], sent["recipients"][0]["provider_status"]) == ("failed", "unsubscribed")
    assert sent["recipients"][0]["error"] == "does not want bulk messages"


@pytest.mark.parametrize(
    ("said", "category", "status"),
    [
        ({"bulk": False}, "bulk", 403),
        ({"": False}, "", 403),
        ({"": False}, "bulk", 403),
        ({"": False, "bulk": False}, "bulk", 403),
        ({"": False, "bulk": True}, "bulk", 200),
        ({"bulk": False}, "", 200),
        ({"bulk": False}, "notice", 200),
        ({"bulk": True}, "bulk", 200),
        ({}, "bulk", 200),
    ],
)
def test_the_staff_do_not_talk_over_a_no(school: Account, said: dict[str, bool], category: str, status: int) -> None:
    for name, allowed in said.items():
        Preference.objects.create(
            tenant=school.tenant, channel="sms", address=NUMBER, category=name, allowed=allowed, source="unsubscribe page"
        )
    body = {"channel": "sms", "address": "0712345678", "category": category, "allowed": True}
    assert person(school).put(WISHES, body).status_code == status
    if status == 403:
        assert dict(Preference.objects.values_list("category", "allowed")) == said
    for api in (person(school, Role.ADMIN), client(school)):
        assert api.put(WISHES, body).status_code == 200
    assert person(school).put(WISHES, {**body, "allowed": False}).status_code == 200


def test_a_no_of_another_address_is_in_nobodys_way(school: Account, studio: Account) -> None:
    Preference.unscoped.create(tenant=school.tenant, channel="sms", address="+254712345679", category="bulk", allowed=False)
    Preference.unscoped.create(tenant=school.tenant, channel="whatsapp", address=NUMBER, category="bulk", allowed=False)
    with scope(tenant=studio.tenant):
        Preference.objects.create(tenant=studio.tenant, channel="sms", address=NUMBER, category="bulk", allowed=False)
    body = {"channel": "sms", "address": NUMBER, "category": "bulk", "allowed": True}
    assert person(school).put(WISHES, body).status_code == 200


def test_auditors_read_and_write_nothing(school: Account, staff: APIClient) -> None:
    auditor = client(school, Role.AUDITOR)
    for url in (LIST, WISHES, f"{BASE}/balances"):
        assert auditor.get(url).status_code == 200
    assert auditor.post(LIST, {"channel": "sms", "address": NUMBER}).status_code == 403
    assert auditor.put(WISHES, {"channel": "sms", "address": NUMBER, "allowed": False}).status_code == 403


def test_balances_of_the_own_accounts(staff: APIClient, school: Account, studio: Account, clock: MovableClock) -> None:
    BalanceReading.objects.create(
        tenant=school.tenant, config=school.config, channel="sms", amount="1785.5000", currency="KES", at=clock.moment
    )
    with scope(tenant=studio.tenant):
        BalanceReading.objects.create(tenant=studio.tenant, config=studio.config, channel="sms", amount="9", currency="KES")
    assert results(staff.get(f"{BASE}/balances")) == [
        {
            "config": school.config.pk,
            "label": "",
            "provider": "africastalking",
            "channel": "sms",
            "value": "1785.5",
            "currency": "KES",
            "unit": "",
            "at": "2026-11-20T09:00:00Z",
        }
    ]
    assert results(staff.get(f"{BASE}/balances?channel=email")) == []
    assert results(staff.get(f"{BASE}/balances?config={studio.config.pk}")) == []
