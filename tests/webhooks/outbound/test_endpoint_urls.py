"""Where an endpoint leads: its own headers do not follow to another address, and what may be a token in a URL is masked."""

from __future__ import annotations

import pytest
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.contracts.errors import InvalidRequest
from integrations.models import AuditEntry, Tenant
from tests.factories import make_tenant
from tests.webhooks.outbound.test_api import GOOD, URL, client_of
from webhooks.outbound.endpoints import services
from webhooks.outbound.endpoints.serializers import EndpointInput
from webhooks.outbound.endpoints.urls import masked_url
from webhooks.outbound.models import Endpoint

pytestmark = pytest.mark.django_db
SECRET = "canary-value-0001"
MOVED = "https://evil.example/hook"


@pytest.fixture
def school(db: None) -> Tenant:
    return make_tenant("school")


@pytest.fixture
def client(school: Tenant) -> APIClient:
    return client_of(school)


@pytest.mark.parametrize("headers", [None, {"X-Token": "••••0001"}, {"x-token": "••••", "X-New": "of my own"}])
@pytest.mark.parametrize("url", [MOVED, GOOD["url"].replace("https://", "https://x."), "https://a.example:8443/hook"])
def test_stored_headers_follow_to_no_other_address(client: APIClient, headers: dict[str, str] | None, url: str) -> None:
    made = client.post(URL, {**GOOD, "headers": {"X-Token": SECRET}}, format="json").json()
    change = {"url": url, **({"headers": headers} if headers is not None else {})}
    answer = client.patch(f"{URL}/{made['id']}", change, format="json")
    [error] = answer.json()["errors"]
    assert (answer.status_code, error["attr"]) == (400, "headers")
    assert error["detail"] == "Enter the headers again: the address changed."
    stored = Endpoint.unscoped.get()
    assert (stored.url, stored.headers()) == (GOOD["url"], {"X-Token": SECRET})


@pytest.mark.parametrize("headers", [{}, {"X-Token": SECRET}, {"X-Other": "value"}])
def test_headers_written_again_go_to_the_new_address(client: APIClient, headers: dict[str, str]) -> None:
    made = client.post(URL, {**GOOD, "headers": {"X-Token": SECRET}}, format="json").json()
    answer = client.patch(f"{URL}/{made['id']}", {"url": MOVED, "headers": headers}, format="json")
    assert answer.status_code == 200, answer.content
    stored = Endpoint.unscoped.get()
    assert (stored.url, stored.headers()) == (MOVED, headers)


def test_an_address_at_the_same_place_keeps_them(client: APIClient) -> None:
    made = client.post(URL, {**GOOD, "headers": {"X-Token": SECRET}}, format="json").json()
    for n, change in enumerate(({}, {"headers": {"x-token": "••••"}})):
        url = GOOD["url"] + f"/{n}?token=2"
        assert client.patch(f"{URL}/{made['id']}", {"url": url, **change}, format="json").status_code == 200
        stored = Endpoint.unscoped.get()
        assert (stored.url, list(stored.headers().values())) == (url, [SECRET])


def test_masked_headers_are_filled_in_from_the_row_as_it_is_then(client: APIClient, school: Tenant) -> None:
    """Another request has moved the endpoint since this one was checked: what was stored before goes nowhere."""
    made = client.post(URL, {**GOOD, "headers": {"X-Token": SECRET}}, format="json").json()
    given = EndpointInput(data={"headers": {"X-Token": "••••"}}, partial=True, context={"stored": Endpoint.unscoped.get()})
    assert given.is_valid()
    assert SECRET not in str(given.validated_data)
    assert client.patch(f"{URL}/{made['id']}", {"url": MOVED, "headers": {}}, format="json").status_code == 200
    with scope(tenant=school), pytest.raises(InvalidRequest, match="no stored value"):
        services.update_endpoint(endpoint_id=made["id"], changes=given.validated_data)
    assert Endpoint.unscoped.get().headers() == {}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@a.example/hook?token=abc#x", "https://••••@a.example/hook?token=••••#••••"),
        ("https://u:p@ss@a.example/", "https://••••@a.example/"),
        ("https://a.example", "https://a.example"),
        ("https://a.example:8443/payment-notifications/v2/", "https://a.example:8443/payment-notifications/v2/"),
        (
            "https://hooks-1234567890123456.example/services/T0AB/B0CD",
            "https://hooks-1234567890123456.example/services/T0AB/B0CD",
        ),
        ("https://a.example/services/T00000000/xX1bC2dE3fG4hI5j", "https://a.example/services/T00000000/••••"),
        ("https://a.example/0123456789abcdef/in", "https://a.example/••••/in"),
        ("https://a.example/9f1c2f6e-0b7a-4a55-9a53-3c1f6f0f6a11", "https://a.example/••••"),
        ("https://a.example/YWJjZGVmZ2hpamtsbW5vcA==", "https://a.example/••••"),
        ("https://a.example/bot123456:AbCdEfGhIjKlMnOp/x", "https://a.example/••••/x"),
        ("https://a.example/12345678901234567890", "https://a.example/••••"),
    ],
)
def test_what_may_be_a_token_is_masked(url: str, shown: str) -> None:
    assert masked_url(url) == shown


def test_a_token_in_the_path_is_neither_on_record_nor_shown_to_readers(client: APIClient, school: Tenant) -> None:
    tokens = ("canaryCanary0001canary", "canaryCanary0002canary")
    made = client.post(URL, {**GOOD, "url": f"https://a.example/{tokens[0]}"}, format="json").json()
    client.patch(f"{URL}/{made['id']}", {"url": f"https://a.example/{tokens[1]}"}, format="json")
    assert "Canary" not in str(list(AuditEntry.unscoped.values_list("changes", flat=True)))
    reader = client_of(school, scopes=["webhooks:read"])
    assert reader.get(f"{URL}/{made['id']}").json()["url"] == "https://a.example/••••"
    assert client.get(f"{URL}/{made['id']}").json()["url"].endswith(tokens[1])
