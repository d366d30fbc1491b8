"""`/api/webhooks/portal-links`: made, listed, revoked; the address is told once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from integrations.models import AuditEntry, IdempotencyRecord, Role, Tenant
from tests.factories import MovableClock
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
        (Role.ADMIN, ["webhooks:write"], 403, 201),
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
