"""`/api/webhooks/portal-links`: made, listed, revoked; the address is told once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from integrations.models import ApiKey, AuditEntry, IdempotencyRecord, Role, Tenant
from integrations.tenancy import keys
from integrations.tenancy.authentication import create_api_key
from tests.access.conftest import bearer, codes
from tests.factories import MovableClock
from tests.webhooks.portal.conftest import MakeClient, text_of
from webhooks.outbound.models import Endpoint, PortalLink

pytestmark = pytest.mark.django_db
URL = "/api/v1/webhooks/portal-links"


def token_of(address: str) -> str:
    return address.rstrip("/").rpartition("/")[2]


def attrs(answer: Any) -> set[str]:
    assert answer.status_code == 400, answer.content
    return {each["attr"] for each in answer.json()["errors"]}


def test_a_link_is_made_and_its_address_told_once(admin_api: APIClient, clock: MovableClock, settings: Any) -> None:
    settings.PUBLIC_BASE_URL = "https://hub.example"
    answer = admin_api.post(URL, {"label": "Ann"})
    made = answer.json()
    assert answer.status_code == 201
    assert made["url"].startswith("https://hub.example/portal/l/plt_")
    token = token_of(made["url"])
    assert len(token) == len("plt_") + 43
    link = PortalLink.unscoped.get(pk=made["id"])
    assert link.token_hash == hashlib.sha256(token.encode()).hexdigest()
    assert link.expires_at == clock() + timedelta(hours=1)
    assert (link.can_write, link.endpoint, link.frame_ancestors, link.created_by) == (False, None, [], "key test admin")
    for shown in (admin_api.get(URL), admin_api.get(f"{URL}/{link.pk}")):
        assert shown.status_code == 200
        assert token not in shown.content.decode()
        assert link.token_hash not in shown.content.decode()
    assert admin_api.get(URL).json()["results"][0]["id"] == link.pk
    (entry,) = AuditEntry.unscoped.filter(object_id=link.pk)
    assert (entry.action, entry.actor, entry.object_name) == ("portal_link.created", "key test admin", "Ann")
    assert token not in str(entry.changes)


def test_all_that_can_be_asked_for(admin_api: APIClient, tenant: Tenant, clock: MovableClock) -> None:
    from tests.factories import make_endpoint

    endpoint = make_endpoint(tenant)
    origins = ["https://App.Example:443", "https://b.example:8443/", "http://127.0.0.1:3000", "https://b.example:8443"]
    body = {"endpoint": endpoint.pk, "can_write": True, "expires_in": 60, "frame_ancestors": origins}
    made = admin_api.post(URL, body).json()
    assert made["endpoint"] == endpoint.pk
    assert made["can_write"] is True
    assert made["frame_ancestors"] == ["https://app.example", "https://b.example:8443", "http://127.0.0.1:3000"]
    assert PortalLink.unscoped.get(pk=made["id"]).expires_at == clock() + timedelta(seconds=60)
    assert [each["id"] for each in admin_api.get(URL, {"endpoint": endpoint.pk}).json()["results"]] == [made["id"]]
    assert len(admin_api.get(URL, {"good": "true"}).json()["results"]) == 1
    clock.advance(60)
    assert admin_api.get(URL, {"good": "true"}).json()["results"] == []
    assert len(admin_api.get(URL, {"good": "false"}).json()["results"]) == 1


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({"expires_in": 59}, "expires_in"),
        ({"expires_in": 86_401}, "expires_in"),
        ({"label": "x" * 101}, "label"),
        ({"endpoint": "we_00000000000000000000000000"}, "endpoint"),
        ({"endpoint": "nonsense"}, "endpoint"),
        ({"can_write": "perhaps"}, "can_write"),
        ({"frame_ancestors": "https://a.example"}, "frame_ancestors"),
        ({"frame_ancestors": [f"https://a{n}.example" for n in range(11)]}, "frame_ancestors"),
        ({"token": "plt_mine"}, "token"),
        *(
            ({"frame_ancestors": [text]}, "frame_ancestors.0")
            for text in (
                "*",
                "https://*.example.com",
                "http://a.example",
                "https://a.example/path",
                "https://a.example?q",
                "https://user@a.example",
                "https://a.example; script-src *",
                "https://a.example https://b.example",
                "https://a.example\nX-Evil: 1",
                "https://a.example:99999",
                "https://a_b.example",
                "https://[::1",
                "javascript:alert(1)",
                "data:",
                "'self'",
                "",
            )
        ),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], attr: str, admin_api: APIClient) -> None:
    assert attrs(admin_api.post(URL, body)) == {attr}
    assert not PortalLink.unscoped.exists()


def test_plain_http_may_embed_in_the_demo_alone(admin_api: APIClient, settings: Any) -> None:
    settings.DEMO = False
    assert attrs(admin_api.post(URL, {"frame_ancestors": ["http://127.0.0.1:3000"]})) == {"frame_ancestors.0"}


def test_another_tenants_endpoint_is_unknown(admin_api: APIClient, foreign: Endpoint) -> None:
    assert attrs(admin_api.post(URL, {"endpoint": foreign.pk})) == {"endpoint"}


def test_revoking(admin_api: APIClient, clock: MovableClock) -> None:
    made = admin_api.post(URL, {}).json()
    for _ in range(2):
        assert admin_api.delete(f"{URL}/{made['id']}").status_code == 204
        clock.advance(5)
    shown = admin_api.get(f"{URL}/{made['id']}").json()
    assert shown["revoked_at"] == "2026-11-20T09:00:00Z"
    actions = AuditEntry.unscoped.filter(object_id=made["id"]).order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["portal_link.created", "portal_link.revoked"]


def test_the_same_request_again_is_the_same_link(admin_api: APIClient) -> None:
    first, second = (admin_api.post(URL, {"label": "a"}, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert second.json() == first.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert PortalLink.unscoped.count() == 1
    stored = IdempotencyRecord.unscoped.get()
    assert token_of(first.json()["url"]) not in stored.sealed_response


def test_a_request_that_died_before_its_answer_gets_a_token_that_works(admin_api: APIClient) -> None:
    first = admin_api.post(URL, {"label": "a"}, headers={"Idempotency-Key": "k"}).json()
    died = {"status_code": None, "sealed_response": "", "lease": None}
    IdempotencyRecord.unscoped.update(**died)
    second = admin_api.post(URL, {"label": "a"}, headers={"Idempotency-Key": "k"})
    assert second.status_code == 201
    assert second.json()["id"] == first["id"]
    assert admin_api.get(f"/portal/l/{token_of(second.json()['url'])}/").status_code == 200
    assert admin_api.get(f"/portal/l/{token_of(first['url'])}/").status_code == 404

    IdempotencyRecord.unscoped.update(**died)
    admin_api.delete(f"{URL}/{first['id']}")
    third = admin_api.post(URL, {"label": "a"}, headers={"Idempotency-Key": "k"})
    assert (third.status_code, third.json()["url"]) == (201, None)
    assert PortalLink.unscoped.count() == 1


@pytest.mark.parametrize(
    ("role", "scopes", "reads", "makes"),
    [
        (Role.ADMIN, None, 200, 201),
        (Role.ADMIN, ["webhooks"], 200, 201),
        (Role.ADMIN, ["webhooks:read", "webhooks:write"], 200, 201),
        (Role.ADMIN, ["webhooks:write"], 403, 403),
        (Role.ADMIN, ["webhooks:read"], 200, 403),
        (Role.ADMIN, ["payments"], 403, 403),
        (Role.AUDITOR, None, 200, 403),
        (Role.STAFF, None, 403, 403),
    ],
)
def test_who_may(role: str, scopes: Any, reads: int, makes: int, tenant: Tenant, api: Callable[..., APIClient]) -> None:
    client = api(tenant, role, scopes)
    assert client.get(URL).status_code == reads
    assert client.post(URL, {"can_write": True}).status_code == makes
    assert PortalLink.unscoped.count() == (makes == 201)


# --- a link may no more than the key that made it


def made_with(tenant: Tenant, **fields: Any) -> tuple[ApiKey, dict[str, Any]]:
    """Return a fresh key and the link that it made, asking for the longest."""
    row, value = create_api_key(tenant=tenant, name="sis", **fields)
    answer = bearer(value).post(URL, {"expires_in": 86_400})
    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store"), answer.content
    return row, answer.json()


def opens(link: dict[str, Any], address: str = "127.0.0.1") -> bool:
    return APIClient().get(f"/portal/l/{token_of(link['url'])}/", REMOTE_ADDR=address).status_code == 200


def test_a_link_lives_no_longer_than_its_key(tenant: Tenant, clock: MovableClock) -> None:
    _row, made = made_with(tenant, expires_at=clock() + timedelta(minutes=2))
    assert made["expires_at"] == "2026-11-20T09:02:00Z"
    _row, made = made_with(tenant, expires_at=clock() + timedelta(days=2))
    assert made["expires_at"] == "2026-11-21T09:00:00Z"


def test_a_link_ends_with_its_key(admin_api: APIClient, tenant: Tenant, clock: MovableClock, logged_in: MakeClient) -> None:
    (revoked, first), (shortened, second), (rotated, third) = (made_with(tenant) for _ in range(3))
    keys.rotate_key(key=rotated, grant=keys.grant_of(rotated), grace=timedelta(0))
    assert [opens(each) for each in (first, second, third)] == [True, True, True]
    keys.revoke_key(key=revoked)
    ApiKey.unscoped.filter(pk=shortened.pk).update(expires_at=clock())
    assert [opens(each) for each in (first, second, third)] == [False, False, True]
    listed = {each: {row["id"] for row in admin_api.get(URL, {"good": each}).json()["results"]} for each in ("true", "false")}
    assert listed == {"true": {third["id"]}, "false": {first["id"], second["id"]}}
    page = text_of(logged_in().get("/portal/links/"))
    assert (page.count("ended with its key"), page.count(">good<")) == (2, 1)
    ApiKey.unscoped.filter(pk=rotated.pk).delete()
    assert not opens(third)


def test_a_link_is_held_to_its_keys_addresses(tenant: Tenant) -> None:
    row, made = made_with(tenant, allowed_ips=["127.0.0.0/8"])
    assert (opens(made), opens(made, "203.0.113.9")) == (True, False)
    ApiKey.unscoped.filter(pk=row.pk).update(allowed_ips=["203.0.113.0/24"])
    assert (opens(made), opens(made, "203.0.113.9")) == (False, True)


def test_the_value_before_a_rotation_makes_and_revokes_no_link(tenant: Tenant, admin_api: APIClient) -> None:
    row, before = create_api_key(tenant=tenant, name="sis")
    keys.rotate_key(key=row, grant=keys.grant_of(row))
    made = admin_api.post(URL, {}).json()
    for answer in (bearer(before).post(URL, {}), bearer(before).delete(f"{URL}/{made['id']}")):
        assert (answer.status_code, codes(answer)) == (403, [("previous_key", None)])
    assert bearer(before).get(URL).status_code == 200
    assert PortalLink.unscoped.get().revoked_at is None
