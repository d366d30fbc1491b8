"""Who is turned away, with what, and that it is counted: addresses, sizes, methods, paths, floods. Handshakes too."""

from __future__ import annotations

from datetime import timedelta
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client, RequestFactory
from django_scopes import scope
from gunicorn.config import Config as GunicornConfig
from gunicorn.http.parser import RequestParser

from integrations.contracts import clock as hub_clock
from integrations.models import ExternalReference, RateBucket, Tenant
from integrations.tenancy.network import address_of, is_listed
from tests.factories import MovableClock, make_config, make_source
from tests.webhooks.inbound.support import body_of, path_of, plain, post, receipts, rejected, slack
from webhooks.inbound import rejections, retention
from webhooks.inbound.endpoints import services
from webhooks.inbound.models import InboundEndpoint, Rejection
from webhooks.inbound.refusals import Reason, Refused
from webhooks.inbound.views import hook

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]
FORM = "application/x-www-form-urlencoded"
DLR = {"id": "ATXid_1", "status": "Success", "phoneNumber": "+254712345678"}


def report(path: str, **extra: Any) -> int:
    """Send a delivery report in its provider's form."""
    return int(post(path, urlencode(DLR).encode(), kind=FORM, **extra).status_code)


def way_in(config: Any) -> InboundEndpoint:
    services.ensure_rows(tenants=[config.tenant])
    found: InboundEndpoint = InboundEndpoint.unscoped.get(config=config)
    return found


# --- addresses


@pytest.mark.parametrize(
    ("ip", "networks", "listed"),
    [
        ("203.0.113.9", ["203.0.113.0/24"], True),
        ("203.0.114.9", ["203.0.113.0/24"], False),
        ("2001:db8::7", ["10.0.0.0/8", "2001:db8::/64"], True),
        ("2001:db8:1::7", ["2001:db8::/64"], False),
        ("203.0.113.9", ["2001:db8::/64"], False),
        ("203.0.113.9", ["::ffff:203.0.113.9"], True),
        ("203.0.113.9", ["::ffff:203.0.113.0/120"], True),
        ("203.0.114.9", ["::ffff:203.0.113.0/120"], False),
        ("::ffff:203.0.113.9", ["203.0.113.0/24"], True),
        ("", ["0.0.0.0/0", "::/0"], False),
        ("not an address", ["0.0.0.0/0"], False),
    ],
)
def test_lists_of_networks(ip: str, networks: list[str], listed: bool) -> None:
    assert is_listed(ip, networks) is listed


@pytest.mark.parametrize(
    ("hops", "forwarded", "found"),
    [
        (0, "198.51.100.1", "192.0.2.1"),
        (1, "198.51.100.1", "198.51.100.1"),
        (1, "6.6.6.6, 198.51.100.1", "198.51.100.1"),
        (2, "6.6.6.6, 198.51.100.1, 10.0.0.1", "198.51.100.1"),
        (2, "198.51.100.1", "192.0.2.1"),
        (1, "198.51.100.1:4711", "198.51.100.1"),
        (1, "[2001:db8::1]:4711", "2001:db8::1"),
        (1, "::ffff:198.51.100.1", "198.51.100.1"),
        (1, "[::ffff:198.51.100.1]:4711", "198.51.100.1"),
        (1, "fe80::1%eth0", "fe80::1"),
        (1, "unknown", ""),
        (1, "'; drop table", ""),
    ],
)
def test_the_callers_address(hops: int, forwarded: str, found: str, settings: Any) -> None:
    settings.TRUSTED_PROXY_HOPS = hops
    request = RequestFactory().get("/", headers={"X-Forwarded-For": forwarded}, REMOTE_ADDR="192.0.2.1")
    assert address_of(request) == found


def test_a_list_closes_all_of_a_provider_accounts_paths(tenant: Tenant) -> None:
    config = make_config(tenant, "africastalking")
    row = way_in(config)
    with scope(tenant=tenant):
        services.update_endpoint(endpoint_id=row.pk, changes={"allowed_ips": ["203.0.113.0/24", "2001:db8::/64"]})
    path = f"/hooks/{config.hook_token}/dlr"
    assert report(path, REMOTE_ADDR="198.51.100.1") == 403
    assert rejected() == {(row.pk, "ip_not_allowed"): 1}
    assert receipts() == []
    assert report(path, REMOTE_ADDR="203.0.113.80") == 200
    row.refresh_from_db()
    assert (row.received, row.rejected) == (1, 1)


def test_a_closed_list_of_a_source_comes_before_its_signature(tenant: Tenant) -> None:
    source, secret = make_source(tenant, allowed_ips=["203.0.113.9"])
    body = body_of()
    assert post(path_of(source), body, plain(secret, body), REMOTE_ADDR="203.0.113.10").status_code == 403
    assert post(path_of(source), body, plain(secret, body), REMOTE_ADDR="203.0.113.9").status_code == 200


# --- on and off, here and gone


def test_what_is_off_looks_like_what_never_was(tenant: Tenant) -> None:
    source, secret = make_source(tenant, is_active=False)
    body = body_of()
    off = post(path_of(source), body, plain(secret, body))
    unknown = post("/hooks/" + "0" * 40, body)
    assert (off.status_code, off.content) == (unknown.status_code, unknown.content)
    assert off.status_code == 404
    assert rejected() == {(source.pk, "inactive"): 1, ("hooks", "not_found"): 1}
    with scope(tenant=tenant):
        services.update_endpoint(endpoint_id=source.pk, changes={"is_active": True})
        assert post(path_of(source), body, plain(secret, body)).status_code == 200
        services.delete_endpoint(endpoint_id=source.pk)
    assert post(path_of(source), body, plain(secret, body)).status_code == 404
    assert len(receipts()) == 1, "what came is still there"


def test_a_tenant_that_is_off_has_no_paths(tenant: Tenant) -> None:
    source, secret = make_source(tenant)
    Tenant.objects.filter(pk=tenant.pk).update(is_active=False)
    assert post(path_of(source), body_of(), plain(secret, body_of())).status_code == 404


def test_a_providers_former_path_works_for_the_overlap(tenant: Tenant, clock: MovableClock) -> None:
    config = make_config(tenant, "africastalking")
    former, row = config.hook_token, way_in(config)
    with scope(tenant=tenant):
        services.rotate(endpoint_id=row.pk, overlap=timedelta(hours=2))
    config.refresh_from_db()
    assert config.hook_token != former
    clock.advance(hours=1, seconds=3599)
    assert report(f"/hooks/{former}/dlr") == 200
    assert report(f"/hooks/{config.hook_token}/dlr") == 200
    clock.advance(1)
    assert report(f"/hooks/{former}/dlr") == 404
    assert report(f"/hooks/{config.hook_token}/dlr") == 200
    with scope(tenant=tenant):
        services.rotate(endpoint_id=row.pk, overlap=timedelta(0))
    assert report(f"/hooks/{config.hook_token}/dlr") == 404, "at once, where no overlap is wanted"


def test_a_row_is_made_at_the_first_request(tenant: Tenant) -> None:
    config = make_config(tenant, "africastalking")
    assert report(f"/hooks/{config.hook_token}/dlr") == 200
    assert report(f"/hooks/{config.hook_token}/dlr") == 200
    row = InboundEndpoint.unscoped.get(config=config)
    assert (row.received, row.last_received_at, receipts()[0].duplicates) == (1, hub_clock.now(), 1)


def test_types_that_a_provider_account_does_not_ask_for(tenant: Tenant) -> None:
    config = make_config(tenant, "africastalking")
    InboundEndpoint.unscoped.filter(pk=way_in(config).pk).update(events=["nothing.*"])
    assert report(f"/hooks/{config.hook_token}/dlr") == 200
    assert [each.status for each in receipts()] == ["ignored"]


# --- what can't be read


def test_sizes_lengths_and_methods(tenant: Tenant) -> None:
    source, secret = make_source(tenant)
    body = b"[" + b"1," * (2 * 1024 * 1024) + b"1]"
    assert post(path_of(source), body, plain(secret, body)).status_code == 413
    for declared, status in (("5000000", 413), ("9" * 30, 413), ("abc", 400), ("-1", 400), ("\u0663", 400), ("12", 400)):
        lying = RequestFactory().generic("POST", path_of(source), b"{}", headers=plain(secret, b"{}"), CONTENT_LENGTH=declared)
        lying._stream = BytesIO(b"{}")  # type: ignore[assignment]  # Django's own would trip over the lie first
        assert hook(lying, source.token).status_code == status
    for method in ("GET", "DELETE", "HEAD", "OPTIONS", "TRACE"):
        answer = Client().generic(method, path_of(source))
        assert (answer.status_code, answer["Allow"]) == (405, "POST, PUT, PATCH")
    for method in ("PUT", "PATCH"):
        body = body_of({"by": method})
        assert Client().generic(method, path_of(source), body, headers=plain(secret, body)).status_code == 200
    assert rejected()[source.pk, "method_not_allowed"] == 5


@pytest.mark.parametrize(
    ("provider", "purpose", "allow"),
    [("africastalking", "dlr", "POST"), ("whatsapp", "events", "GET, POST"), ("pesapal", "ipn", "GET, POST")],
)
def test_a_provider_accounts_path_takes_what_its_provider_sends(
    tenant: Tenant, provider: str, purpose: str, allow: str
) -> None:
    config = make_config(tenant, provider)
    path, row = f"/hooks/{config.hook_token}/{purpose}", way_in(config)
    odd = {"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND" * 9} - set(allow.split(", "))
    for method in odd:
        answer = Client().generic(method, path, urlencode(DLR).encode(), content_type=FORM)
        assert (answer.status_code, answer["Allow"]) == (405, allow)
    assert rejected() == {(row.pk, "method_not_allowed"): len(odd)}
    assert "GET" in odd or Client().get(path).status_code in (400, 401), "its own affair"
    assert receipts() == []


def chunked(source: InboundEndpoint, signed: dict[str, str], sent: bytes, **environ: Any) -> Any:
    """Send a request in chunks, as gunicorn hands it on."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    came = next(RequestParser(GunicornConfig(), iter([head + sent]), ("127.0.0.1", 1)))
    server = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": came.body, "wsgi.input_terminated": True, **environ}
    return Client().generic("POST", path_of(source), headers=signed, **server)


def in_chunks(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in parts) + b"0\r\n\r\n"


def test_a_body_in_chunks(tenant: Tenant) -> None:
    source, secret = make_source(tenant)
    body = body_of()
    assert chunked(source, plain(secret, body), in_chunks(body, 7)).status_code == 200
    assert bytes(receipts()[0].body) == body
    for unusable in ({"wsgi.input_terminated": False}, {"HTTP_TRANSFER_ENCODING": "gzip, chunked"}):
        answer = chunked(source, plain(secret, body), in_chunks(body, 7), **unusable)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (411, "length_required")
    for broken in (b"5\r\nab", b"xyz\r\nab\r\n", b"2\r\nabcd"):
        assert chunked(source, plain(secret, body), broken).status_code == 400
    large = b"[" + b"1," * (2 * 1024 * 1024) + b"1]"
    assert chunked(source, plain(secret, large), in_chunks(large, 1 << 20)).status_code == 413
    counted = {"length_required": 2, "unreadable": 3, "too_large": 1}
    assert rejected() == {(source.pk, reason): count for reason, count in counted.items()}
    assert len(receipts()) == 1


def test_too_many_parameters_are_refused_and_counted(tenant: Tenant) -> None:
    source, secret = make_source(tenant)
    config = make_config(tenant, "africastalking")
    many = "&".join(f"a{number}=1" for number in range(1001))
    for path in (path_of(source), f"/hooks/{config.hook_token}/dlr", "/webhooks/sms/delivery"):
        answer = post(f"{path}?{many}", b"{}", plain(secret, b"{}"))
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "unreadable")
    assert [count for (_source, reason), count in rejected().items() if reason == "unreadable"] == [1, 1, 1]


@pytest.mark.parametrize("rest", ["", "/", "/a/b/c.php", "/" + "x" * 900, "/%00%ff", "/../..", "/dlr"])
def test_whatever_stands_behind_the_token(tenant: Tenant, rest: str) -> None:
    source, secret = make_source(tenant)
    assert post(f"{path_of(source)}{rest}?a=%00&b=%ff", b"{}", plain(secret, b"{}")).status_code == 200
    assert len(receipts()) == 1


def test_ids_that_no_row_can_hold_are_nobodys(tenant: Tenant) -> None:
    ExternalReference.unscoped.all().delete()
    for text in ("ATX%00", "%ED%A0%80"):
        assert post("/webhooks/sms/delivery", f"id={text}&status=Success".encode(), kind=FORM).status_code < 500


# --- floods


def test_an_address_that_is_refused_too_often_has_to_wait(
    tenant: Tenant, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejections, "STRANGERS_PER_MINUTE", 6)
    source, secret = make_source(tenant)
    body = body_of()
    answers = [post(path_of(source), body, REMOTE_ADDR=f"2001:db8::{number:x}") for number in range(8)]
    assert [each.status_code for each in answers] == [401] * 6 + [429] * 2, "one network is one address"
    assert answers[-1]["Retry-After"] == "10"
    assert rejected() == {(source.pk, "bad_signature"): 8}
    assert post(path_of(source), body, REMOTE_ADDR="2001:db8:0:1::1").status_code == 401
    good = post(path_of(source), body, plain(secret, body), REMOTE_ADDR="2001:db8::1")
    assert good.status_code == 200, "what holds is never held back"
    clock.advance(10)
    assert post(path_of(source), body, REMOTE_ADDR="2001:db8::1").status_code == 401


def test_strangers_on_a_shared_path_fill_no_disk(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejections, "STRANGERS_PER_MINUTE", 3)
    path = "/webhooks/sms/delivery"
    bodies = [urlencode({**DLR, "id": f"ATXid_{number}"}).encode() for number in range(5)]
    assert [post(path, body, kind=FORM).status_code for body in bodies] == [200] * 3 + [429] * 2
    assert [each.status for each in receipts()] == ["unmatched"] * 3
    monkeypatch.setattr(rejections, "STRANGERS_PER_MINUTE", 1000)
    RateBucket.objects.all().delete()
    assert post(path, b"", kind=FORM).status_code == 400
    assert RateBucket.objects.get().tokens == 999, "one request takes one"


def test_counting_never_fails_the_answer(tenant: Tenant, other_tenant: Tenant) -> None:
    refused = Refused(Reason.SIGNATURE, "odd \x00 \ud800" + "x" * 500)
    rejections.count(refused, owner=None, source="s" * 200, ip="")
    row = Rejection.objects.get()
    assert (len(row.source), len(row.last_detail), row.last_ip, row.tenant_id) == (60, 200, None, None)


def test_counts_are_removed_with_the_requests(tenant: Tenant, clock: MovableClock, settings: Any) -> None:
    source, _secret = make_source(tenant)
    post(path_of(source), b"{}")
    clock.advance(days=settings.RECEIPT_RETENTION_DAYS)
    assert retention.purge()["rejections"] == 0
    clock.advance(days=1)
    assert retention.purge()["rejections"] == 1
    source.refresh_from_db()
    assert source.rejected == 1


# --- handshakes


def ask(source: InboundEndpoint, method: str = "GET", **query: str) -> Any:
    return Client().generic(method, path_of(source), QUERY_STRING="&".join(f"{name}={value}" for name, value in query.items()))


def test_metas_handshake(tenant: Tenant) -> None:
    source, _secret = make_source(tenant, options={"handshake": "meta", "verify_token": "our-own-word"})
    asked = {"hub.mode": "subscribe", "hub.challenge": "115899"}
    answer = ask(source, **asked, **{"hub.verify_token": "our-own-word"})
    assert (answer.status_code, answer.content, answer["Content-Type"]) == (200, b"115899", "text/plain; charset=utf-8")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert ask(source, **asked, **{"hub.verify_token": "a-guess"}).status_code == 401
    assert ask(source, **asked).status_code == 401
    assert receipts() == []
    source.refresh_from_db()
    assert "our-own-word" not in str(source.options)


@pytest.mark.parametrize(
    ("handshake", "method", "name"),
    [("graph", "POST", "validationToken"), ("graph", "GET", "validationToken"), ("challenge", "GET", "challenge")],
)
def test_echoes_are_plain_text_and_only_where_they_are_wanted(tenant: Tenant, handshake: str, method: str, name: str) -> None:
    source, _secret = make_source(tenant, options={"handshake": handshake})
    answer = ask(source, method, **{name: "%3Cscript%3Ealert(1)%3C/script%3E"})
    assert (answer.status_code, answer.content) == (200, b"<script>alert(1)</script>")
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert ask(source, method, **{name: "a" * 2001}).status_code == 400
    assert ask(source, method, **{name: "a%0d%0ab"}).status_code == 400
    silent, _secret = make_source(tenant)
    assert ask(silent, method, **{name: "abc"}).status_code in (401, 405)
    assert receipts() == []


def test_slacks_handshake_needs_its_signature(tenant: Tenant) -> None:
    source, secret = make_source(tenant, scheme="slack", secret="slack-gave-this")
    body = body_of({"type": "url_verification", "challenge": "3eZbrw1aB"})
    answer = post(path_of(source), body, slack(secret, body))
    assert (answer.status_code, answer.json()) == (200, {"challenge": "3eZbrw1aB"})
    assert post(path_of(source), body, slack("another", body)).status_code == 401
    assert receipts() == []
