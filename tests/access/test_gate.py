"""A key in an address: refused, reported to whose it is, and in no log."""

from __future__ import annotations

import logging
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from django.test import RequestFactory
from gunicorn.config import Config as GunicornConfig
from rest_framework.test import APIClient

from integrations.models import Alert, ApiKey, ApiKeyUsage, AuditEntry, Tenant
from integrations.tenancy.authentication import create_api_key
from integrations.tenancy.key_shape import keys_in
from integrations_site.access_log import AccessLog
from integrations_site.private_paths import mask_payer_pages, shown
from integrations_site.request_log import RequestLogMiddleware
from tests.access.conftest import KEYS, bearer, codes
from tests.factories import MovableClock
from webhooks.inbound.models import Receipt

PAYMENTS = "/api/v1/payments"
SAMPLE = "hub_" + "0a1f9" * 8
QUOTED = "".join(f"%{ord(char):02X}" for char in SAMPLE)
SPELLINGS = [SAMPLE, SAMPLE.upper(), QUOTED, QUOTED.lower(), quote(QUOTED), f"hub%5F{SAMPLE[4:]}", f"%2568ub_{SAMPLE[4:]}"]


@pytest.mark.parametrize("text", SPELLINGS)
def test_a_key_is_recognised_however_it_is_quoted(text: str) -> None:
    assert keys_in(f"/api/v1/x?y={text}&z") == [SAMPLE]


@pytest.mark.parametrize("text", ["hub_", SAMPLE[:-1], SAMPLE.replace("0", "g"), "hub-" + SAMPLE[4:], f"hub_{'%' * 40}"])
def test_what_is_no_key_is_left_alone(text: str) -> None:
    assert keys_in(text) == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    "address",
    [
        f"{PAYMENTS}?api_key={{}}",
        f"{PAYMENTS}?apikey={{}}&page_size=1",
        f"{PAYMENTS}?access_token=Bearer%20{{}}",
        f"{PAYMENTS}?x-api-key={{}}",
        f"{PAYMENTS}?anything={{}}",
        f"{PAYMENTS}?{{}}",
        "/api/payments?api_key={}",
        "/api/v1/payments/{}",
        "/api/v1/{}/payments",
        "/api/v1/nowhere?key={}",
        "/api/docs?key={}",
    ],
)
def test_it_is_refused_and_reported(address: str, tenant: Tenant) -> None:
    row, value = create_api_key(tenant=tenant, name="Accounting")
    answer = bearer(value).get(address.format(value))
    assert (answer.status_code, codes(answer)) == (400, [("key_in_url", None)])
    assert value not in answer.content.decode()
    alert = Alert.objects.get()
    assert (alert.tenant, alert.kind, alert.subject) == (tenant, "key_in_url", row.pk)
    assert "“Accounting”" in alert.message
    entry = AuditEntry.unscoped.get()
    assert (entry.tenant, entry.action, entry.object_id, entry.ip) == (tenant, "api_key.seen_in_url", row.pk, "127.0.0.1")
    assert value not in f"{alert.message} {entry.changes}"
    assert ApiKey.unscoped.get().last_used_at is None
    assert not ApiKeyUsage.unscoped.exists()


@pytest.mark.django_db
def test_nothing_is_done_for_it(admin_api: APIClient, tenant: Tenant) -> None:
    _row, value = create_api_key(tenant=tenant, name="Accounting")
    before = ApiKey.unscoped.count()
    assert admin_api.post(f"{KEYS}?api_key={value}", {"name": "x"}).status_code == 400
    assert ApiKey.unscoped.count() == before


@pytest.mark.django_db
def test_the_key_before_a_rotation_is_told_of_too_and_a_strange_one_is_only_refused(
    tenant: Tenant, clock: MovableClock
) -> None:
    assert APIClient().get(f"{PAYMENTS}?k={SAMPLE}").status_code == 400
    assert not Alert.objects.exists()
    row, value = create_api_key(tenant=tenant, name="Accounting")
    admin = bearer(create_api_key(tenant=tenant, name="admin")[1])
    admin.put(f"{KEYS}/{row.pk}/rotate")
    assert APIClient().get(f"{PAYMENTS}?k={value}").status_code == 400
    assert Alert.objects.get().subject == row.pk


@pytest.mark.django_db
def test_a_system_that_does_it_always_is_noted_once_an_hour(tenant: Tenant, clock: MovableClock) -> None:
    _row, value = create_api_key(tenant=tenant, name="Accounting")
    for minutes in (0, 10, 49, 2):
        clock.advance(minutes=minutes)
        assert APIClient().get(f"{PAYMENTS}?k={value}").status_code == 400
    assert Alert.objects.get().count == 4
    noted = list(AuditEntry.unscoped.order_by("id").values_list("created", flat=True))
    assert noted == [clock.moment - timedelta(minutes=61), clock.moment]


@pytest.mark.django_db
def test_the_names_alone_are_no_offence(admin_api: APIClient) -> None:
    assert admin_api.get(f"{PAYMENTS}?api_key=mine&access_token=x").status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("/?key={}", "text/plain; charset=utf-8"),
        ("/staff/?next={}", "text/plain; charset=utf-8"),
        ("/staff/{}/", "text/plain; charset=utf-8"),
        ("/admin/login/?next=/x%3Fkey%3D{}", "text/plain; charset=utf-8"),
        ("/portal/l/plt_x/?k={}", "text/plain; charset=utf-8"),
        ("/pay/0123456789abcdef0123456789abcdef?k={}", "text/plain; charset=utf-8"),
        ("/hooks/0123456789abcdef/dlr?k={}", "application/json"),
        ("/webhooks/sms/delivery?k={}", "application/json"),
        ("//api/v1/payments?k={}", "text/plain; charset=utf-8"),
    ],
)
def test_so_it_is_outside_of_the_api(address: str, kind: str, method: str, tenant: Tenant) -> None:
    row, value = create_api_key(tenant=tenant, name="Accounting")
    answer = getattr(APIClient(), method)(address.format(value))
    assert (answer.status_code, answer["Content-Type"], answer["Cache-Control"]) == (400, kind, "no-store")
    assert value not in answer.content.decode()
    assert Alert.objects.get().subject == row.pk
    assert not Receipt.unscoped.exists()


@pytest.mark.django_db
def test_static_files_are_not_judged(db: None) -> None:
    assert APIClient().get(f"/static/nothing.css?v={SAMPLE}").status_code == 404


# --- logs


@pytest.mark.parametrize("text", SPELLINGS)
@pytest.mark.parametrize(
    "place", ["/api/v1/payments/{}", "/api/v1/payments?k={}&page=2", "/staff/?next=%2Fx%3Fk%3D{}", "/{}/x"]
)
def test_no_log_of_ours_keeps_it(place: str, text: str) -> None:
    address = place.format(text)
    query = address.partition("?")[2]
    environ = {
        "REQUEST_METHOD": "GET",
        "RAW_URI": address,
        "PATH_INFO": address.partition("?")[0],
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_REFERER": f"https://hub.example{address}",
    }
    response = SimpleNamespace(status="400 Bad Request", sent=10, headers=[])
    asked = SimpleNamespace(headers=[("REFERER", environ["HTTP_REFERER"])])
    atoms = AccessLog(GunicornConfig()).atoms(response, asked, environ, timedelta(milliseconds=5))
    line = RequestLogMiddleware.format_request(RequestFactory().get(address))
    event = mask_payer_pages(None, "", {"event": f"Bad Request: {address}"})
    for kept in (shown(address), line, str(dict(atoms)), str(event)):
        assert keys_in(kept) == []
        assert SAMPLE[4:] not in kept.lower()
    assert shown("/api/v1/payments?page=2") == "/api/v1/payments?page=2"


@pytest.mark.django_db
def test_the_whole_refusal_writes_no_key(tenant: Tenant, caplog: Any, capfd: Any) -> None:
    _row, value = create_api_key(tenant=tenant, name="Accounting")
    with caplog.at_level(logging.DEBUG):
        APIClient().get(f"{PAYMENTS}/{value}?k={value}", headers={"Referer": f"https://x.ke/?k={value}"})
    written = capfd.readouterr()
    assert value not in written.out + written.err
    structured = [record for record in caplog.records if record.name != "django.request"]
    assert value not in str([record.__dict__ for record in structured])
