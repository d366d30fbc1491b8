"""The life of a key through the API: made, listed, changed, rotated, revoked; nobody hands on more than he has."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from integrations.models import ApiKey, AuditEntry, IdempotencyRecord, Role, Tenant
from integrations.tenancy.authentication import create_api_key, hash_key
from tests.access.conftest import KEYS, bearer, codes
from tests.factories import PASSWORD, MovableClock, make_user

pytestmark = pytest.mark.django_db
PAYMENTS = "/api/v1/payments"
WithKey = Callable[..., tuple[APIClient, ApiKey]]


def test_a_key_is_made_works_and_is_never_shown_again(admin_api: APIClient, tenant: Tenant, clock: MovableClock) -> None:
    body = {
        "name": " Accounting ",
        "role": "auditor",
        "scopes": ["payments:read", "payments:read", "audit"],
        "expires_at": (clock.moment + timedelta(days=90)).isoformat(),
        "allowed_ips": ["127.0.0.1", "10.1.0.0/16", "2001:DB8::/32"],
        "rate_per_minute": 60,
    }
    answer = admin_api.post(KEYS, body)
    assert answer.status_code == 201, answer.content
    assert answer["Cache-Control"] == "no-store"
    made = answer.json()
    value = made.pop("key")
    row = ApiKey.unscoped.get(pk=made["id"])
    assert (row.tenant, row.key_hash, row.prefix) == (tenant, hash_key(value), value[:12])
    assert made["scopes"] == ["payments:read", "audit"]
    assert made["allowed_ips"] == ["127.0.0.1", "10.1.0.0/16", "2001:db8::/32"]
    assert (made["name"], made["state"], made["created_by"]) == ("Accounting", "active", "key test admin")
    assert bearer(value).get(PAYMENTS).status_code == 200
    assert admin_api.get(f"{KEYS}/{row.pk}").json() == {
        **made,
        "last_used_at": "2026-11-20T09:00:00Z",
        "last_used_ip": "127.0.0.1",
    }
    everything = json.dumps(list(AuditEntry.unscoped.values()), default=str) + admin_api.get(KEYS).content.decode()
    assert value not in everything
    assert row.key_hash not in everything


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"role": "root"}, "role"),
        ({"scopes": ["payment"]}, "scopes"),
        ({"scopes": ["payments:delete"]}, "scopes"),
        ({"scopes": ["*:read"]}, "scopes"),
        ({"scopes": "payments"}, "scopes"),
        ({"allowed_ips": ["10.0.0.1/8"]}, "allowed_ips"),
        ({"allowed_ips": ["office"]}, "allowed_ips"),
        ({"allowed_ips": ["1.2.3"]}, "allowed_ips"),
        ({"allowed_ips": ["1.1.1.1"] * 101}, "allowed_ips"),
        ({"rate_per_minute": 0}, "rate_per_minute"),
        ({"rate_per_minute": 2**40}, "rate_per_minute"),
        ({"rate_per_minute": 2_000_000}, "rate_per_minute"),
        ({"expires_at": "2026-11-20T08:59:59Z"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"prefix": "hub_"}, "prefix"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_made(
    changes: dict[str, Any], attr: str, admin_api: APIClient, clock: MovableClock
) -> None:
    before = ApiKey.unscoped.count()
    answer = admin_api.post(KEYS, {"name": "x", **changes})
    assert answer.status_code == 400, answer.content
    assert {(found or "").partition(".")[0] for _code, found in codes(answer)} == {attr}
    assert ApiKey.unscoped.count() == before
    assert not AuditEntry.unscoped.exists()


# --- nobody hands on more than he has


@pytest.mark.parametrize(
    ("mine", "asked", "part"),
    [
        ({"scopes": ["apikeys"]}, {}, "scopes"),
        ({"scopes": ["apikeys"]}, {"scopes": ["*"]}, "scopes"),
        ({"scopes": ["apikeys"]}, {"scopes": ["payments:read"]}, "scopes"),
        ({"scopes": ["apikeys:write"]}, {"scopes": ["apikeys"]}, "scopes"),
        ({"scopes": ["apikeys:write"]}, {"scopes": ["apikeys:write"]}, ""),
        ({"scopes": ["apikeys", "payments:read", "payments:write"]}, {"scopes": ["payments"]}, ""),
        ({"scopes": ["apikeys", "payments"]}, {"scopes": ["payments:read"]}, ""),
        ({"scopes": ["*"]}, {}, ""),
        ({}, {"role": "staff"}, ""),
        ({}, {"role": "auditor", "scopes": ["*"]}, ""),
        ({"allowed_ips": ["127.0.0.0/8"]}, {}, "allowed_ips"),
        ({"allowed_ips": ["127.0.0.0/8"]}, {"allowed_ips": ["10.0.0.1"]}, "allowed_ips"),
        ({"allowed_ips": ["127.0.0.0/8"]}, {"allowed_ips": ["126.0.0.0/7"]}, "allowed_ips"),
        ({"allowed_ips": ["127.0.0.0/8"]}, {"allowed_ips": ["127.1.0.0/16", "127.0.0.1"]}, ""),
        ({"rate_per_minute": 30}, {}, "rate_per_minute"),
        ({"rate_per_minute": 30}, {"rate_per_minute": 31}, "rate_per_minute"),
        ({"rate_per_minute": 30}, {"rate_per_minute": 30}, ""),
        ({"expires_at": timedelta(days=2)}, {}, "expires_at"),
        ({"expires_at": timedelta(days=2)}, {"expires_at": timedelta(days=3)}, "expires_at"),
        ({"expires_at": timedelta(days=2)}, {"expires_at": timedelta(days=1)}, ""),
    ],
)
def test_a_key_makes_no_key_that_may_more(
    mine: dict[str, Any], asked: dict[str, Any], part: str, with_key: WithKey, clock: MovableClock
) -> None:
    def filled(values: dict[str, Any]) -> dict[str, Any]:
        return {name: clock.moment + each if isinstance(each, timedelta) else each for name, each in values.items()}

    client, own = with_key(**filled(mine))
    answer = client.post(KEYS, {"name": "child", **filled(asked)})
    assert answer.status_code == (403 if part else 201), answer.content
    if part:
        assert codes(answer) == [("exceeds_own_grant", None)]
        assert part in answer.json()["errors"][0]["detail"]
        assert not ApiKey.unscoped.exclude(pk=own.pk).exists()


@pytest.mark.parametrize("role", [Role.STAFF, Role.AUDITOR])
def test_who_is_no_admin_makes_none(role: Role, with_key: WithKey, tenant: Tenant) -> None:
    client, _row = with_key(role=role, scopes=["*"])
    assert client.post(KEYS, {"name": "x", "role": role}).status_code == 403
    person = APIClient()
    assert person.login(username=make_user("jane", tenant=tenant, role=role).username, password=PASSWORD)
    assert person.post(KEYS, {"name": "x", "role": role}).status_code == 403


def test_an_admin_in_person_makes_any(tenant: Tenant) -> None:
    person = APIClient()
    assert person.login(username=make_user("jane", tenant=tenant, role=Role.ADMIN).username, password=PASSWORD)
    answer = person.post(KEYS, {"name": "x", "scopes": ["*"]})
    assert (answer.status_code, answer.json()["created_by"]) == (201, "jane")
    entry = AuditEntry.unscoped.get()
    assert (entry.actor, entry.action, entry.ip, entry.object_name) == ("jane", "api_key.created", "127.0.0.1", "x")
    assert entry.changes == {"name": [None, "x"], "role": [None, "admin"], "scopes": [None, ["*"]]}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"name": "renamed"}, 200),
        ({"rate_per_minute": 10}, 200),
        ({"rate_per_minute": 31}, 403),
        ({"rate_per_minute": None}, 403),
        ({"allowed_ips": ["127.0.0.1"]}, 200),
        ({"allowed_ips": []}, 403),
        ({"expires_at": "2026-11-20T10:00:00Z"}, 200),
        ({"expires_at": "2026-11-25T10:00:00Z"}, 403),
        ({"expires_at": None}, 403),
        ({"scopes": ["*"]}, 400),
        ({"role": "admin"}, 400),
    ],
)
def test_a_key_can_not_widen_itself(changes: dict[str, Any], status: int, with_key: WithKey, clock: MovableClock) -> None:
    limits = {"rate_per_minute": 30, "allowed_ips": ["127.0.0.0/8"], "expires_at": clock.moment + timedelta(days=1)}
    client, row = with_key(scopes=["apikeys"], **limits)
    assert client.patch(f"{KEYS}/{row.pk}", changes).status_code == status
    fresh = ApiKey.unscoped.get(pk=row.pk)
    unchanged = (fresh.rate_per_minute, fresh.allowed_ips, fresh.expires_at, fresh.name) == (*limits.values(), "sis")
    assert unchanged == (status != 200)
    assert fresh.scopes == ["apikeys"]


def test_a_key_without_a_rate_of_its_own_can_not_raise_the_installations(with_key: WithKey, settings: Any) -> None:
    settings.API_RATE_PER_MINUTE = 100
    client, row = with_key()
    assert client.patch(f"{KEYS}/{row.pk}", {"rate_per_minute": 101}).status_code == 403
    assert client.patch(f"{KEYS}/{row.pk}", {"rate_per_minute": 99}).status_code == 200


def test_a_narrow_key_takes_over_no_wider_one(with_key: WithKey) -> None:
    client, _own = with_key(scopes=["apikeys"])
    _wide, other = with_key("wide")
    assert codes(client.put(f"{KEYS}/{other.pk}/rotate")) == [("exceeds_own_grant", None)]
    assert codes(client.patch(f"{KEYS}/{other.pk}", {"name": "mine"})) == [("exceeds_own_grant", None)]
    assert ApiKey.unscoped.get(pk=other.pk).key_hash == other.key_hash


def test_another_keys_idempotency_key_tells_nothing(with_key: WithKey, tenant: Tenant) -> None:
    owner, _row = with_key("owner")
    small, _row = with_key("small", scopes=["apikeys:write"])
    person = APIClient()
    assert person.login(username=make_user("jane", tenant=tenant, role=Role.ADMIN).username, password=PASSWORD)
    body, headers = {"name": "Big", "role": "admin"}, {"Idempotency-Key": "make-1"}
    made = owner.post(KEYS, body, headers=headers)
    for other in (small, person):
        answer = other.post(KEYS, body, headers=headers)
        assert (answer.status_code, codes(answer)) == (422, [("idempotency_key_reused", None)])
        assert made.json()["key"] not in answer.content.decode()
    again = owner.post(KEYS, body, headers=headers)
    assert (again.json(), again["Cache-Control"], again["Idempotent-Replayed"]) == (made.json(), "no-store", "true")


# --- rotating and revoking


def test_rotation_lets_the_key_before_work_for_its_grace(with_key: WithKey, tenant: Tenant, clock: MovableClock) -> None:
    admin, _row = with_key("admin")
    row, first = create_api_key(tenant=tenant, name="sis")
    url = f"{KEYS}/{row.pk}/rotate"
    answer = admin.put(url, {"grace_seconds": 3600})
    assert answer.status_code == 200, answer.content
    second = answer.json()["key"]
    assert answer.json()["previous"] == {"prefix": first[:12], "until": "2026-11-20T10:00:00Z"}
    assert [bearer(each).get(PAYMENTS).status_code for each in (first, second)] == [200, 200]
    clock.advance(minutes=30)
    third = admin.put(url).json()["key"]
    assert [bearer(each).get(PAYMENTS).status_code for each in (first, second, third)] == [401, 200, 200]
    clock.advance(hours=24)
    assert [bearer(each).get(PAYMENTS).status_code for each in (second, third)] == [401, 200]
    assert admin.get(f"{KEYS}/{row.pk}").json()["previous"] is None
    fourth = admin.put(url, {"grace_seconds": 0}).json()["key"]
    assert [bearer(each).get(PAYMENTS).status_code for each in (third, fourth)] == [401, 200]
    actions = list(AuditEntry.unscoped.filter(object_id=row.pk).order_by("id").values_list("action", "actor"))
    assert actions == [("api_key.rotated", "key admin")] * 3


def test_the_value_before_a_rotation_changes_no_key(tenant: Tenant) -> None:
    row, first = create_api_key(tenant=tenant, name="sis")
    other, _value = create_api_key(tenant=tenant, name="other")
    second = bearer(first).put(f"{KEYS}/{row.pk}/rotate").json()["key"]
    before = list(ApiKey.unscoped.order_by("pk").values("pk", "name", "key_hash", "revoked_at"))
    old = bearer(first)
    answers = [old.post(KEYS, {"name": "mine"})]
    for each in (row, other):
        url = f"{KEYS}/{each.pk}"
        answers += [old.put(f"{url}/rotate"), old.patch(url, {"name": "mine"}), old.delete(url)]
    assert [(answer.status_code, codes(answer)) for answer in answers] == [(403, [("previous_key", None)])] * 7
    assert list(ApiKey.unscoped.order_by("pk").values("pk", "name", "key_hash", "revoked_at")) == before
    assert [bearer(first).get(url).status_code for url in (KEYS, PAYMENTS)] == [200, 200]
    assert bearer(second).put(f"{KEYS}/{row.pk}/rotate").status_code == 200


@pytest.mark.parametrize("grace", [-1, 30 * 86400 + 1, "long", None])
def test_a_bad_grace_rotates_nothing(grace: Any, admin_api: APIClient, tenant: Tenant) -> None:
    row, value = create_api_key(tenant=tenant, name="sis")
    answer = admin_api.put(f"{KEYS}/{row.pk}/rotate", {"grace_seconds": grace})
    assert (answer.status_code, [attr for _code, attr in codes(answer)]) == (400, ["grace_seconds"])
    assert ApiKey.unscoped.get(pk=row.pk).key_hash == hash_key(value)


def test_revoking_is_at_once_and_twice_is_once(with_key: WithKey, tenant: Tenant, clock: MovableClock) -> None:
    admin, _row = with_key("admin")
    row, first = create_api_key(tenant=tenant, name="sis")
    second = admin.put(f"{KEYS}/{row.pk}/rotate").json()["key"]
    assert admin.delete(f"{KEYS}/{row.pk}").status_code == 204
    revoked = ApiKey.unscoped.get(pk=row.pk).revoked_at
    assert [bearer(each).get(PAYMENTS).status_code for each in (first, second)] == [401, 401]
    clock.advance(60)
    assert admin.delete(f"{KEYS}/{row.pk}").status_code == 204
    assert ApiKey.unscoped.get(pk=row.pk).revoked_at == revoked
    shown = admin.get(f"{KEYS}/{row.pk}").json()
    assert (shown["state"], shown["previous"]) == ("revoked", None)
    for answer in (admin.put(f"{KEYS}/{row.pk}/rotate"), admin.patch(f"{KEYS}/{row.pk}", {"name": "again"})):
        assert answer.status_code == 409
    assert AuditEntry.unscoped.filter(action="api_key.revoked").count() == 1


def test_an_expired_key_is_not_rotated(with_key: WithKey, tenant: Tenant, clock: MovableClock) -> None:
    admin, _row = with_key("admin")
    row, _value = create_api_key(tenant=tenant, name="sis", expires_at=clock.moment + timedelta(hours=1))
    clock.advance(hours=1)
    assert admin.put(f"{KEYS}/{row.pk}/rotate").status_code == 409
    later = (clock.moment + timedelta(hours=1)).isoformat()
    assert admin.patch(f"{KEYS}/{row.pk}", {"expires_at": later}).status_code == 200
    assert admin.put(f"{KEYS}/{row.pk}/rotate").status_code == 200


def test_the_list_is_filtered_by_state(with_key: WithKey, tenant: Tenant, clock: MovableClock) -> None:
    admin, own = with_key("admin")
    gone = create_api_key(tenant=tenant, name="gone", revoked_at=clock.moment)[0]
    over = create_api_key(tenant=tenant, name="over", expires_at=clock.moment)[0]
    later = create_api_key(tenant=tenant, name="later", expires_at=clock.moment + timedelta(seconds=1))[0]

    def listed(query: str) -> set[str]:
        return {each["id"] for each in admin.get(f"{KEYS}?{query}").json()["results"]}

    assert listed("") == {own.pk, gone.pk, over.pk, later.pk}
    assert listed("state=active") == {own.pk, later.pk}
    assert listed("state=expired") == {over.pk}
    assert listed("state=revoked") == {gone.pk}
    assert listed("name=LATER") == {later.pk}
    assert admin.get(f"{KEYS}?state=lost").status_code == 400


def test_the_same_idempotency_key_gives_the_same_key(admin_api: APIClient, tenant: Tenant) -> None:
    first, again = (admin_api.post(KEYS, {"name": "x"}, headers={"Idempotency-Key": "one"}) for _ in range(2))
    assert (again.status_code, again.json()) == (201, first.json())
    assert first.json()["key"] not in IdempotencyRecord.unscoped.get(key="one").sealed_response
    url = f"{KEYS}/{first.json()['id']}/rotate"
    rotated, again = (admin_api.put(url, {}, headers={"Idempotency-Key": "two"}) for _ in range(2))
    assert again.json()["key"] == rotated.json()["key"]
    assert bearer(first.json()["key"]).get(PAYMENTS).status_code == 200, "a repeated request does not rotate a second time"


@pytest.mark.parametrize("rotation", [False, True])
def test_who_died_before_answering_is_given_a_key_that_works(rotation: bool, admin_api: APIClient, tenant: Tenant) -> None:
    row, old = create_api_key(tenant=tenant, name="sis")
    headers = {"Idempotency-Key": "one"}

    def ask() -> Any:
        if rotation:
            return admin_api.put(f"{KEYS}/{row.pk}/rotate", {}, headers=headers)
        return admin_api.post(KEYS, {"name": "x"}, headers=headers)

    lost = ask().json()
    IdempotencyRecord.unscoped.update(status_code=None, sealed_response="", lease=None)
    again = ask()
    assert (again.status_code, again.json()["id"]) == (200 if rotation else 201, lost["id"])
    assert bearer(again.json()["key"]).get(PAYMENTS).status_code == 200
    assert bearer(old).get(PAYMENTS).status_code == 200, "the one that the caller still has"


def test_the_scopes_are_listed_with_what_they_open(admin_api: APIClient) -> None:
    found = {each["scope"]: each["routes"] for each in admin_api.get(f"{KEYS}/scopes").json()}
    assert {"*", "payments", "payments:read", "webhooks:write", "apikeys", "audit:read"} <= found.keys()
    assert "GET /api/v1/payments/{payment_id}" in found["payments:read"]
    assert "POST /api/v1/payments/refund" in found["payments:write"]
    assert "POST /api/v1/payments/refund" not in found["payments:read"]
    assert "PUT /api/v1/apikeys/{key_id}/rotate" in found["apikeys:write"]
    assert set(found["payments"]) == {*found["payments:read"], *found["payments:write"]}
