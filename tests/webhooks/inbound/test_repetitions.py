"""What is the same request of a generic source, and for how long: by id, by body, by what is signed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django_scopes import scope

from integrations.models import Tenant
from tests.factories import MovableClock, make_source
from tests.webhooks.inbound.support import body_of, github, path_of, plain, post, published, receipts, settle, stripe_like
from webhooks.inbound import services
from webhooks.inbound.endpoints.services import rotate
from webhooks.inbound.models import Receipt

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]


def test_the_tail_of_the_path_makes_no_other_request(tenant: Tenant) -> None:
    source, secret = make_source(tenant)
    body = body_of()
    for tail in ("", "/a", "/b"):
        assert post(f"{path_of(source)}{tail}", body, plain(secret, body)).status_code == 200
    (receipt,) = receipts()
    assert receipt.duplicates == 2


def test_githubs_id_is_not_signed_so_that_its_body_counts_for_a_day(tenant: Tenant, clock: MovableClock) -> None:
    source, secret = make_source(tenant, scheme="github")
    body = body_of()
    for delivery in ("d-1", "forged-1", "d-1", ""):
        assert post(path_of(source), body, github(secret, body, delivery=delivery)).status_code == 200
    assert [each.duplicates for each in receipts()] == [3]
    clock.advance(days=1, seconds=1)
    post(path_of(source), body, github(secret, body, delivery="d-1"))
    assert [each.duplicates for each in receipts()] == [4], "GitHub's own redelivery"
    post(path_of(source), body, github(secret, body, delivery="d-2"))
    assert [each.duplicates for each in receipts()] == [5], "its body was seen just now"
    clock.advance(days=1, seconds=1)
    post(path_of(source), body, github(secret, body, delivery="d-2"))
    assert [each.duplicates for each in receipts()] == [5, 0]


def test_equal_bodies_without_an_id_are_the_same_for_a_day(tenant: Tenant, clock: MovableClock) -> None:
    said = body_of({"event": "stock.low", "sku": "A"})
    made = [make_source(tenant), make_source(tenant, scheme="timestamped"), make_source(tenant, dedupe_path="header:X-Id")]
    signs = [plain, stripe_like, lambda *args: {**plain(*args), "X-Id": "1"}]

    def send() -> None:
        for (source, secret), sign in zip(made, signs, strict=True):
            assert post(path_of(source), said, sign(secret, said)).status_code == 200

    def seen(number: int) -> list[int]:
        source = made[number][0]
        return [each.duplicates for each in receipts() if each.token_object.endswith(source.pk)]

    send()
    clock.advance(days=1)
    send()
    assert (seen(0), seen(1), seen(2)) == ([1], [1], [1])
    clock.advance(seconds=1)
    send()
    clock.advance(hours=23)
    send()
    assert (seen(0), seen(1), seen(2)) == ([1, 1], [1, 1], [3]), "an id is the same for good"
    clock.advance(hours=1, seconds=1)
    send()
    send()
    assert (seen(0), seen(1), seen(2)) == ([1, 1, 1], [1, 1, 1], [5])
    settle()
    assert len(published()) == 7


def test_two_at_once_begin_one_new_day(tenant: Tenant, clock: MovableClock, monkeypatch: pytest.MonkeyPatch) -> None:
    source, secret = make_source(tenant)
    body = body_of()
    post(path_of(source), body, plain(secret, body))
    clock.advance(days=2)
    ready, sent = services._make_ready, []

    def while_another_comes(*args: Any) -> bool:
        again = ready(*args)
        if not sent:
            sent.append(True)
            post(path_of(source), body, plain(secret, body))
        return again

    monkeypatch.setattr(services, "_make_ready", while_another_comes)
    assert post(path_of(source), body, plain(secret, body)).status_code == 200
    assert [each.duplicates for each in receipts()] == [0, 1]


def test_a_replay_is_acknowledged_after_its_receipt_is_gone(tenant: Tenant) -> None:
    source, secret = make_source(tenant, scheme="timestamped", dedupe_path="header:X-Event-Id")
    body = body_of()
    headers = {**stripe_like(secret, body), "X-Event-Id": "1"}
    post(path_of(source), body, headers)
    Receipt.unscoped.all().delete()
    assert post(path_of(source), body, headers).content == b"{}"
    assert receipts() == []


def test_two_signatures_of_one_request_have_one_effect(tenant: Tenant) -> None:
    """In the overlap of a rotation a sender signs with both secrets: either alone is the same request."""
    source, old = make_source(tenant, scheme="timestamped", dedupe_path="header:X-Event-Id")
    with scope(tenant=tenant):
        new = rotate(endpoint_id=source.pk, overlap=timedelta(days=1)).secret
    body = body_of()
    for number, secret in enumerate((old, new)):
        assert post(path_of(source), body, {**stripe_like(secret, body), "X-Event-Id": str(number)}).status_code == 200
    assert [each.duplicates for each in receipts()] == [1]


def test_a_late_retry_uses_its_own_signature_up(tenant: Tenant, clock: MovableClock) -> None:
    source, secret = make_source(tenant, scheme="timestamped", dedupe_path="header:X-Event-Id")
    body = body_of()
    post(path_of(source), body, {**stripe_like(secret, body), "X-Event-Id": "1"})
    clock.advance(days=2)
    retry = stripe_like(secret, body)
    for number in ("1", "2"):
        assert post(path_of(source), body, {**retry, "X-Event-Id": number}).status_code == 200
    assert [each.duplicates for each in receipts()] == [2]
