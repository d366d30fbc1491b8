"""What a link opens and what it does not, and what no page, header or log gives away."""

from __future__ import annotations

import io
import json
import logging
import re
from datetime import timedelta
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver
from gunicorn.config import Config as GunicornConfig

from integrations.models import Tenant
from integrations_site.access_log import AccessLog
from integrations_site.private_paths import mask_payer_pages, shown
from integrations_site.request_log import RequestLogMiddleware
from tests import factories
from tests.factories import MovableClock
from tests.webhooks.portal.conftest import (
    MakeClient,
    everything,
    make_dead,
    make_link,
    reading_pages,
    text_of,
    writing_pages,
)
from webhooks.outbound.models import Delivery, Endpoint, PortalLink
from webhooks.outbound.portal.urls import PAGES

pytestmark = pytest.mark.django_db
FOR = {"for": "springfield-school"}
GONE = "This link is no longer good"
ROTATE = {"scheme": "v1", "overlap": "0"}


# --- Links ------------------------------------------------------------------------------------------------------------------


def test_a_link_works_without_cookies_and_sets_none(tenant: Tenant, endpoint: Endpoint) -> None:
    _link, path = make_link(tenant, can_write=True)
    dead = make_dead(endpoint)
    browser = Client(enforce_csrf_checks=True)
    for page in reading_pages(endpoint, dead):
        answer = browser.get(path + page)
        assert answer.status_code == 200, page
        assert "csrfmiddlewaretoken" not in text_of(answer)
    answer = browser.post(f"{path}endpoints/{endpoint.pk}/test/")
    assert answer.status_code == 302
    assert answer.url.startswith(path)
    assert browser.get(answer.url).status_code == 200
    assert dict(browser.cookies) == {}


def test_every_address_on_a_links_pages_stays_with_the_link(tenant: Tenant, endpoint: Endpoint) -> None:
    _link, path = make_link(tenant, can_write=True)
    dead = make_dead(endpoint)
    for page in reading_pages(endpoint, dead):
        text = text_of(Client().get(path + page))
        found = re.findall(r'(?:href|action|hx-get|src)="([^"]*)"', text)
        ours = [each for each in found if each.startswith("/") and not each.startswith("/static/")]
        assert ours
        assert [each for each in ours if not each.startswith(path)] == []
        outside = {each for each in found if not each.startswith(("/", "?", "#", "data:,"))}
        assert outside <= {"https://www.standardwebhooks.com/"}


def test_expired_revoked_and_unknown_look_the_same(tenant: Tenant, endpoint: Endpoint, clock: MovableClock) -> None:
    _expired, short = make_link(tenant, expires_in=60, can_write=True, frame_ancestors=["https://app.example"])
    revoked, taken = make_link(tenant, can_write=True)
    PortalLink.unscoped.filter(pk=revoked.pk).update(revoked_at=clock())
    _good, other = make_link(tenant)
    assert Client().get(short).status_code == 200
    clock.advance(60)
    unknown = other[:-2] + ("a" if other[-2] != "a" else "b") + "/"
    malformed = ("/portal/l/nonsense/", "/portal/l/", "/portal/l/x/events/")
    answers = [Client().get(each) for each in (short, taken, unknown, *malformed)]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert GONE in text_of(answers[0])
    for answer in answers:
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    before = everything(tenant)
    for each in (short, taken, unknown):
        for page in (f"endpoints/{endpoint.pk}/test/", f"endpoints/{endpoint.pk}/delete/"):
            assert Client(enforce_csrf_checks=True).post(each + page).status_code == 404
    assert everything(tenant) == before
    assert Client().get(other).status_code == 200


def test_a_link_ends_with_its_tenant_and_with_its_endpoint(tenant: Tenant, endpoint: Endpoint, logged_in: MakeClient) -> None:
    _all, path = make_link(tenant)
    _one, narrow = make_link(tenant, endpoint=endpoint)
    logged_in().post(f"/portal/endpoints/{endpoint.pk}/delete/", FOR)
    assert (Client().get(path).status_code, Client().get(narrow).status_code) == (200, 404)
    Tenant.objects.filter(pk=tenant.pk).update(is_active=False)
    assert Client().get(path).status_code == 404


def test_a_link_shows_nothing_of_another_tenant(tenant: Tenant, endpoint: Endpoint, foreign: Endpoint) -> None:
    _link, path = make_link(tenant, can_write=True)
    mine, theirs = make_dead(endpoint), make_dead(foreign)
    before = everything(foreign.tenant)
    for page in reading_pages(foreign, theirs):
        answer = Client().get(path + page)
        assert "Foreign books" not in text_of(answer)
        assert foreign.pk not in text_of(answer)
        if foreign.pk in page:
            assert answer.status_code == 404
    for page in writing_pages(foreign, theirs):
        answer = Client().post(path + page, {**ROTATE, "delivery": [theirs.pk], "to": "off"})
        assert answer.status_code in (302, 400, 404), page
        if foreign.pk in page:
            assert answer.status_code == 404
    mixed = f"{path}endpoints/{endpoint.pk}/deliveries/{theirs.pk}/"
    assert (Client().get(mixed).status_code, Client().post(f"{mixed}resend/").status_code) == (404, 404)
    assert everything(foreign.tenant) == before
    assert Client().get(f"{path}endpoints/{endpoint.pk}/deliveries/{mine.pk}/").status_code == 200


def test_an_endpoints_own_link_knows_no_other_endpoint(tenant: Tenant, endpoint: Endpoint) -> None:
    other = factories.make_endpoint(tenant, name="Kitchen", events=["message.*"])
    Endpoint.unscoped.filter(pk=endpoint.pk).update(events=["payment.*"])
    mine, theirs = make_dead(endpoint), Delivery.unscoped.filter(endpoint=other).first()
    assert theirs is None  # it wants messages alone
    kitchen = factories.make_endpoint(tenant, name="Kitchen")
    theirs = make_dead(kitchen)
    _link, path = make_link(tenant, endpoint=endpoint, can_write=True)
    before = [row for row in everything(tenant) if row.get("endpoint_id") == kitchen.pk or row["id"] == kitchen.pk]
    for page in reading_pages(kitchen, theirs):
        answer = Client().get(path + page)
        assert "Kitchen" not in text_of(answer)
        assert theirs.pk not in text_of(answer)
        assert answer.status_code == (404 if kitchen.pk in page else 200)
    for page in writing_pages(kitchen, theirs):
        answer = Client().post(path + page, {**ROTATE, "delivery": [theirs.pk], "to": "off"})
        expected = {"endpoints/new/": 403, "dead-letters/resend/": 302}.get(page, 404)
        assert answer.status_code == expected, page
    assert [row for row in everything(tenant) if row.get("endpoint_id") == kitchen.pk or row["id"] == kitchen.pk] == before
    assert mine.pk in text_of(Client().get(f"{path}dead-letters/"))
    types = text_of(Client().get(f"{path}events/"))
    assert ("payment.completed" in types, "message.failed" in types) == (True, False)
    assert Client().get(f"{path}events/message.failed/").status_code == 404
    assert Client().get(f"{path}endpoints/new/").status_code == 403


def test_a_reading_link_has_no_forms_and_its_posts_are_refused(tenant: Tenant, endpoint: Endpoint) -> None:
    _link, path = make_link(tenant)
    dead = make_dead(endpoint)
    for page in reading_pages(endpoint, dead):
        assert re.findall(r'<form(?! method="get")(?![^>]*aria-label="Dead letters")', text_of(Client().get(path + page))) == []
    before = everything(tenant)
    for page in writing_pages(endpoint, dead):
        answer = Client().post(path + page, {**ROTATE, "delivery": [dead.pk], "to": "off"})
        assert answer.status_code == 403, page
    assert everything(tenant) == before


def test_links_are_for_people_to_hand_out(tenant: Tenant) -> None:
    link, path = make_link(tenant, can_write=True)
    assert Client().get(f"{path}links/").status_code == 404
    assert Client().post(f"{path}links/{link.pk}/revoke/").status_code == 404
    names = {pattern.name for pattern in _link_patterns()}
    assert names == {each.name for each in PAGES if not each.people}


def _link_patterns() -> list[URLPattern]:
    portal = next(each for each in get_resolver().url_patterns if isinstance(each, URLResolver) and each.app_name == "portal")
    links = next(each for each in portal.url_patterns if isinstance(each, URLResolver))
    return list(links.url_patterns)


def test_only_the_links_pages_need_no_csrf_token(logged_in: MakeClient, endpoint: Endpoint) -> None:
    portal = next(each for each in get_resolver().url_patterns if isinstance(each, URLResolver) and each.app_name == "portal")
    by_login = [each for each in portal.url_patterns if isinstance(each, URLPattern) and each.name]
    assert len(by_login) == len(PAGES) + 1
    assert [each.name for each in by_login if getattr(each.callback, "csrf_exempt", False)] == []
    assert all(each.callback.csrf_exempt for each in _link_patterns())
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = logged_in().cookies
    assert strict.post(f"/portal/endpoints/{endpoint.pk}/delete/", FOR).status_code == 403


# --- Headers ----------------------------------------------------------------------------------------------------------------


def test_the_headers_of_a_link_that_may_be_embedded(tenant: Tenant) -> None:
    _link, path = make_link(tenant, frame_ancestors=["https://app.example", "http://127.0.0.1:3000"])
    answer = Client().get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert "frame-ancestors https://app.example http://127.0.0.1:3000" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "X-Frame-Options" not in answer.headers
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "noindex" in answer.headers["X-Robots-Tag"]


def test_nobody_embeds_the_rest(tenant: Tenant, logged_in: MakeClient) -> None:
    _link, path = make_link(tenant)
    for answer in (Client().get(path), logged_in().get("/portal/"), Client().get("/portal/l/nonsense/")):
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cache-Control"] == "no-store"


def test_refusals_have_the_headers_too(tenant: Tenant, endpoint: Endpoint) -> None:
    _link, path = make_link(tenant)
    for answer in (Client().post(f"{path}endpoints/{endpoint.pk}/test/"), Client().get(f"{path}endpoints/{endpoint.pk}/edit/")):
        assert answer.status_code in (403, 404)
        assert (answer.headers["Referrer-Policy"], answer.headers["Cache-Control"]) == ("no-referrer", "no-store")


# --- Text that others wrote ---------------------------------------------------------------------------------------------------


def test_hostile_text_is_text(tenant: Tenant, logged_in: MakeClient) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    endpoint = factories.make_endpoint(
        tenant, name=evil[:100], url=f"http://127.0.0.1:8999/{quote('x')}?a=<script>&b=\"'>", headers={"X-<b>": "1"}
    )
    headers = {"<script>": evil, "nested": [evil], evil: None}
    dead = make_dead(endpoint, response_head=evil, error=evil, request_headers=headers, response_headers=headers, address="<i>")
    Delivery.unscoped.filter(pk=dead.pk).update(last_error=evil)
    payload = json.dumps({"id": "evt", "type": evil, "created": evil, "data": {"object": {evil: evil, "half": "\ud800"}}})
    type(dead.event).unscoped.filter(pk=dead.event_id).update(payload=payload, type=evil, object_type=evil[:40], object_id=evil)
    _link, path = make_link(tenant, label=evil[:100], can_write=True)
    jane = logged_in()
    pages = [*reading_pages(endpoint, dead), f"endpoints/{endpoint.pk}/edit/", f"endpoints/{endpoint.pk}/delete/"]
    for address in (*(f"/portal/{page}" for page in (*pages, "links/")), *(path + page for page in pages)):
        answer = jane.get(address)
        assert answer.status_code == 200, address
        text = text_of(answer)
        assert "<script>alert" not in text
        assert "<img" not in text
        assert "<i>" not in text


# --- Logs ---------------------------------------------------------------------------------------------------------------------


def test_tokens_never_stand_in_a_log(tenant: Tenant, endpoint: Endpoint) -> None:
    _link, path = make_link(tenant)
    token = path.split("/")[3]
    spread = (
        f"{path}endpoints/{endpoint.pk}/?state=failed",
        f"https://hub.example{path}",
        f"/staff/login/?next={quote(path)}",
        f"/staff/login/?next={quote(path, safe='')}",
        f"/x?next={quote(quote(path, safe=''), safe='')}",
        f"/portal/%6C/{token}/",
        f"/elsewhere?t={token}",
    )
    for address in spread:
        assert token[4:] not in shown(address), address
        line = mask_payer_pages(None, "info", {"event": f"Not Found: {address}", "exc_info": None})
        assert token[4:] not in line["event"]
    assert shown(spread[0]) == f"/portal/l/••••/endpoints/{endpoint.pk}/?state=failed"
    assert shown("/portal/l/guess-of-another-shape/events/") == "/portal/l/••••/events/"
    assert shown("/portal/links/?page=2") == "/portal/links/?page=2"
    assert token[4:] not in RequestLogMiddleware.format_request(RequestFactory().get(path))
    environ = {
        "REQUEST_METHOD": "GET",
        "RAW_URI": path,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_REFERER": f"https://hub.example{path}",
    }
    response = SimpleNamespace(status="200 OK", sent=10, headers=[])
    request = SimpleNamespace(headers=[("REFERER", environ["HTTP_REFERER"])])
    found = AccessLog(GunicornConfig()).atoms(response, request, environ, timedelta(milliseconds=5))
    assert token[4:] not in str({name: value for name, value in found.items() if name != "{raw_uri}e"})


def test_what_the_hub_really_logs_of_a_visit(tenant: Tenant, endpoint: Endpoint) -> None:
    _good, path = make_link(tenant, can_write=True)
    _other, dead_path = make_link(tenant)
    PortalLink.unscoped.filter(pk=_other.pk).update(revoked_at=_other.created)
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    root = logging.getLogger()
    handler.setFormatter(root.handlers[0].formatter)
    loggers = [root, *(logging.getLogger(name) for name in ("django", "django.request", "django_structlog"))]
    for each in loggers:
        each.addHandler(handler)
    try:
        Client().get(path)
        Client().post(f"{path}endpoints/{endpoint.pk}/test/")
        Client().get(f"{path}nothing-here/")
        Client().get(dead_path)
    finally:
        for each in loggers:
            each.removeHandler(handler)
    assert "GET /portal/l/" in written.getvalue()
    for each in (path, dead_path):
        assert each.split("/")[3][4:] not in written.getvalue()
