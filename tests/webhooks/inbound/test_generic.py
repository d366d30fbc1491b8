"""Generic sources: what is taken in once, what is turned away, and the event that comes of it."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest

from integrations.models import Alert, CallLog, IdempotencyRecord, QueueItem, Tenant
from tests.factories import MovableClock, make_endpoint, make_source
from tests.webhooks.inbound.support import (
    ORDER,
    basic,
    body_of,
    github,
    path_of,
    plain,
    post,
    published,
    receipts,
    rejected,
    settle,
    slack,
    stripe_like,
)
from webhooks.inbound.models import InboundEndpoint
from webhooks.inbound.services import reprocess

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]


def test_a_signed_request_becomes_an_event_once(tenant: Tenant, clock: MovableClock) -> None:
    source, secret = make_source(tenant, dedupe_path="body:id", event_types={"*": "order.created"})
    make_endpoint(tenant, events=["order.created"])
    body = body_of()
    first = post(path_of(source), body, plain(secret, body))
    again = post(f"{path_of(source)}/any/thing.php", body, plain(secret, body))
    assert (first.status_code, first.content) == (again.status_code, again.content) == (200, b"{}")
    settle()
    (receipt,) = receipts()
    assert (receipt.provider, receipt.status, receipt.duplicates, receipt.trust) == ("generic", "processed", 1, "signed")
    assert (receipt.tenant_id, receipt.token_object, bytes(receipt.body)) == (tenant.pk, f"inbound_endpoint:{source.pk}", body)
    (event,) = published()
    assert (event.type, event.object_type, event.object_id) == ("order.created", "order", "ord_1")
    assert json.loads(event.payload)["data"]["object"] == ORDER
    log = CallLog.unscoped.get(tenant=tenant)
    assert (log.direction, log.reference_id, log.external_reference) == ("inbound", source.pk, str(receipt.pk))
    source.refresh_from_db()
    assert (source.received, source.last_received_at, source.rejected) == (1, clock.moment, 0)


def test_a_wrong_signature_is_counted_and_nothing_else(tenant: Tenant, clock: MovableClock) -> None:
    source, secret = make_source(tenant)
    body = body_of()
    for headers in ({}, {"X-Signature": "v1"}, plain("another-secret", body), plain(secret, body + b" ")):
        answer = post(path_of(source), body, headers, REMOTE_ADDR="198.51.100.7")
        assert answer.status_code == 401
        assert answer.json()["errors"][0]["code"] == "bad_signature"
    assert receipts() == [] == published()
    assert not QueueItem.unscoped.exists()
    assert rejected() == {(source.pk, "bad_signature"): 4}
    row = source.rejections.get()
    assert (row.tenant_id, row.day, row.last_ip, row.last_at) == (tenant.pk, clock.moment.date(), "198.51.100.7", clock.moment)
    assert row.last_detail == "no signature holds"
    source.refresh_from_db()
    assert (source.received, source.rejected, source.last_rejected_at) == (0, 4, clock.moment)
    clock.advance(days=1)
    post(path_of(source), body)
    assert source.rejections.count() == 2, "a row for each day"


def test_a_signed_time_must_be_ours(tenant: Tenant, clock: MovableClock) -> None:
    source, secret = make_source(tenant, scheme="timestamped", tolerance=60)
    body = body_of()
    headers = stripe_like(secret, body)
    clock.advance(61)
    answer = post(path_of(source), body, headers)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (401, "replay_window")
    assert rejected() == {(source.pk, "replay_window"): 1}
    assert source.rejections.get().last_detail == "signed 61 seconds ago"
    assert post(path_of(source), body, stripe_like(secret, body)).status_code == 200


def test_the_same_signature_and_time_have_one_effect_whatever_the_id_says(tenant: Tenant, clock: MovableClock) -> None:
    """The id stands in a header that is not signed: who recorded the request may change it."""
    source, secret = make_source(tenant, scheme="timestamped", dedupe_path="header:X-Event-Id")
    body = body_of()
    first = stripe_like(secret, body)
    assert post(path_of(source), body, {**first, "X-Event-Id": "1"}).status_code == 200
    assert post(path_of(source), body, {**first, "X-Event-Id": "2"}).content == b"{}"
    clock.advance(5)
    retry = stripe_like(secret, body)
    assert post(path_of(source), body, {**retry, "X-Event-Id": "1"}).status_code == 200, "the sender's own retry"
    assert post(path_of(source), body, {**retry, "X-Event-Id": "3"}).status_code == 200, "and that one replayed"
    settle()
    (receipt,) = receipts()
    assert receipt.duplicates == 3
    assert len(published()) == 1
    assert IdempotencyRecord.unscoped.filter(tenant=tenant, object_id=str(receipt.pk)).count() == 2
    clock.advance(1)
    other = {**stripe_like(secret, body), "X-Event-Id": "4"}
    assert post(path_of(source), body, other).status_code == 200
    assert len(receipts()) == 2, "another id, newly signed, is another event"


@pytest.mark.parametrize(
    ("fields", "first", "second", "same"),
    [
        ({"dedupe_path": "header:X-Event-Id"}, ({"X-Event-Id": "1"}, ORDER), ({"X-Event-Id": "1"}, {"a": 1}), True),
        ({"dedupe_path": "body:data.0.id"}, ({}, {"data": [{"id": 7}], "n": 1}), ({}, {"data": [{"id": 7}], "n": 2}), True),
        ({"dedupe_path": "data.id"}, ({}, {"data": {"id": 7}}), ({}, {"data": {"id": 8}}), False),
        ({"dedupe_path": "body:missing"}, ({}, ORDER), ({}, ORDER), True),
        ({"dedupe_path": "body:missing"}, ({}, ORDER), ({}, {"a": 1}), False),
        ({"dedupe_path": "body:id"}, ({}, {"id": "x" * 500}), ({}, {"id": "x" * 500 + "y"}), False),
        ({"dedupe_path": "body:id"}, ({}, {"id": "\ud800\x00"}), ({}, {"id": "\ud800\x00"}), True),
        ({}, ({}, ORDER), ({}, {**ORDER, "note": "more"}), False),
    ],
)
def test_what_makes_a_request_the_same(tenant: Tenant, fields: Any, first: Any, second: Any, same: bool) -> None:
    source, secret = make_source(tenant, **fields)
    for headers, content in (first, second):
        body = body_of(content)
        assert post(path_of(source), body, {**plain(secret, body), **headers}).status_code == 200
    assert len(receipts()) == (1 if same else 2)
    settle()


def test_schemes_bring_their_own_ids_and_types(tenant: Tenant) -> None:
    hub, secret = make_source(tenant, scheme="github", event_types={"push": "code.pushed"}, fields={"by": "sender.login"})
    body = body_of({"sender": {"login": "mona"}})
    other, third = body_of({"sender": {"login": "mona"}, "n": 2}), body_of({"n": 3})
    sent = ((body, "d-1", "push"), (body, "d-1", "push"), (other, "d-2", "push"), (third, "d-3", "star"))
    for content, delivery, event in sent:
        assert post(path_of(hub), content, github(secret, content, event, delivery)).status_code == 200
    chat, secret = make_source(tenant, scheme="slack", secret="slack-gave-this", event_types={"app_mention": "chat.mentioned"})
    said = body_of({"type": "event_callback", "event_id": "Ev1", "event": {"type": "app_mention"}})
    assert post(path_of(chat), said, slack(secret, said)).status_code == 200
    settle()
    assert [(each.provider_event_type, each.status) for each in receipts()] == [
        ("push", "processed"),
        ("push", "processed"),
        ("star", "ignored"),
        ("app_mention", "processed"),
    ]
    assert [each.type for each in published()] == ["code.pushed", "code.pushed", "chat.mentioned"]
    assert json.loads(published()[0].payload)["data"]["object"] == {"by": "mona"}
    assert (published()[0].object_type, published()[0].object_id) == ("inbound_endpoint", hub.pk)


def test_fields_build_the_object(tenant: Tenant) -> None:
    fields = {
        "id": "data.order.no",
        "customer.name": "data.who.0",
        "customer.email": "body:data.mail",
        "source": "=shop",
        "trace": "header:X-Trace",
        "items": "data.lines",
        "missing": "data.nothing.here",
    }
    source, secret = make_source(tenant, fields=fields, type_path="header:X-Topic", event_types={"orders/paid": "parcel.sent"})
    body = body_of({"data": {"order": {"no": 12}, "who": ["Jane"], "mail": "j@x.ke", "lines": [{"a": 1}]}})
    headers = {**plain(secret, body), "X-Topic": "orders/paid", "X-Trace": "t-1"}
    assert post(path_of(source), body, headers).status_code == 200
    settle()
    (event,) = published()
    assert json.loads(event.payload)["data"]["object"] == {
        "id": 12,
        "customer": {"name": "Jane", "email": "j@x.ke"},
        "source": "shop",
        "trace": "t-1",
        "items": [{"a": 1}],
    }
    assert (event.type, event.object_type, event.object_id) == ("parcel.sent", "parcel", "12")


def test_a_form_becomes_an_object_and_a_key_is_not_kept(tenant: Tenant) -> None:
    source, secret = make_source(tenant, scheme="api_key", options={"header": "X-Shop-Key"})
    form = b"id=7&name=J%C3%A4ne&id=8"
    answer = post(path_of(source), form, {"X-Shop-Key": secret}, kind="application/x-www-form-urlencoded")
    assert answer.status_code == 200
    settle()
    assert json.loads(published()[0].payload)["data"]["object"] == {"id": "8", "name": "Jäne"}
    (receipt,) = receipts()
    assert receipt.trust == "token"
    assert "x-shop-key" not in receipt.headers
    assert secret not in str(CallLog.unscoped.values())
    guarded, password = make_source(tenant, scheme="basic", options={"username": "shop"})
    assert post(path_of(guarded), b"{}", basic("shop", password)).status_code == 200
    assert "authorization" not in receipts()[1].headers


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (gzip.compress(body_of()), {"Content-Encoding": "gzip"}, 200),
        (zlib.compress(body_of()), {"Content-Encoding": "deflate"}, 200),
        (zlib.compress(body_of())[2:-4], {"Content-Encoding": "deflate"}, 200),
        (gzip.compress(body_of())[:-4], {"Content-Encoding": "gzip"}, 400),
        (b"\x1f\x8bnonsense", {"Content-Encoding": "gzip"}, 400),
        (gzip.compress(b"[" + b"0," * 5_000_000 + b"0]"), {"Content-Encoding": "gzip"}, 413),
        (gzip.compress(b'{"a": "' + b"a" * 4_000_000 + b'"}'), {"Content-Encoding": "gzip"}, 413),
        (body_of(), {"Content-Encoding": "br"}, 415),
        (body_of(), {"Content-Encoding": "gzip, gzip"}, 415),
        (b"", {}, 400),
        (b"\xff\xfe", {}, 400),
        (b'"text"', {}, 400),
        (b"12", {}, 400),
        (b"[" * 100_000, {}, 400),
        (b'{"a":' * 51 + b"1" + b"}" * 51, {}, 400),
        (b'{"a": NaN}', {}, 400),
        (b'{"a": 1e999}', {}, 400),
        (b'{"a": ' + b"9" * 5000 + b"}", {}, 400),
        (b"<order/>", {}, 400),
        (b'\xef\xbb\xbf{"bom": 1}', {}, 200),
        (b"[1, 2]", {}, 200),
        (b'{"a": "\\ud800 \\u0000"}', {}, 200),
    ],
    ids=range(22),
)
def test_bodies(tenant: Tenant, body: bytes, headers: dict[str, str], status: int) -> None:
    """The signature is over what came, before any decompression."""
    source, secret = make_source(tenant)
    answer = post(path_of(source), body, {**plain(secret, body), **headers})
    assert answer.status_code == status, answer.content
    settle()
    assert (len(receipts()), len(published())) == ((1, 1) if status == 200 else (0, 0))
    if status != 200:
        assert sum(rejected().values()) == 1


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json; charset=latin-1", b'{"a": "\xe9"}', 200),
        ("application/json; charset=no-such", b"{}", 400),
        ("application/json; charset=utf-8", b'{"a": "\xe9"}', 400),
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % number for number in range(501)), 400),
        ("multipart/form-data; boundary=x", b"--x", 400),
    ],
)
def test_character_sets_and_kinds(tenant: Tenant, kind: str, body: bytes, status: int) -> None:
    source, secret = make_source(tenant)
    assert post(path_of(source), body, plain(secret, body), kind=kind).status_code == status


def test_an_event_that_may_not_be_is_kept_told_and_can_be_worked_off_later(tenant: Tenant) -> None:
    source, secret = make_source(tenant)
    InboundEndpoint.unscoped.filter(pk=source.pk).update(event_types={"*": "payment.completed"})  # as no service would let it
    body = body_of()
    assert post(path_of(source), body, plain(secret, body)).status_code == 200
    settle()
    (receipt,) = receipts()
    assert receipt.status == "failed"
    assert receipt.detail.startswith("payment.completed: ")
    assert published() == []
    alert = Alert.objects.get(tenant=tenant, kind="webhook_failed")
    assert source.pk in alert.subject
    InboundEndpoint.unscoped.filter(pk=source.pk).update(event_types={"*": "order.created"})
    reprocess(receipt=receipt)
    reprocess(receipt=receipt)
    settle()
    assert receipts()[0].status == "processed"
    assert len(published()) == 1


def test_what_is_not_asked_for_is_kept_and_can_be_worked_off_later(tenant: Tenant) -> None:
    source, secret = make_source(tenant, type_path="type", events=["order.*"])
    for number, kind in enumerate(("order.made", "stock.changed")):
        body = body_of({"type": kind, "id": number})
        assert post(path_of(source), body, plain(secret, body)).status_code == 200
    settle()
    assert [each.status for each in receipts()] == ["processed", "ignored"]
    reprocess(receipt=receipts()[1])
    settle()
    assert [each.status for each in receipts()] == ["processed", "processed"]
    assert len(published()) == 2


def test_two_sources_and_two_tenants_do_not_share_ids(tenant: Tenant, other_tenant: Tenant) -> None:
    made = [make_source(who, dedupe_path="id") for who in (tenant, tenant, other_tenant)]
    for source, secret in made:
        body = body_of()
        assert post(path_of(source), body, plain(secret, body)).status_code == 200
    mine, _other, theirs = made
    body = body_of()
    assert post(path_of(theirs[0]), body, plain(mine[1], body)).status_code == 401
    settle()
    assert len(receipts()) == 3
    assert sorted(each.tenant_id for each in published()) == sorted([tenant.pk, tenant.pk, other_tenant.pk])
