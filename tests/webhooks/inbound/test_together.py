"""Requests that come at once, over connections of their own: nobody waits for a counter, and each count is right."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.utils import DatabaseError

from integrations.models import QueueItem, Tenant
from tests.factories import make_source
from tests.webhooks.inbound.support import body_of, path_of, plain, post, receipts, stripe_like
from webhooks.inbound import afterwards
from webhooks.inbound.models import InboundEndpoint

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _by_hand(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is owed is settled by the test, not by a thread beside it."""
    monkeypatch.setattr(afterwards._owed, "_begin", lambda: None)
    yield
    afterwards.settle()


def send(path: str, body: bytes, headers: dict[str, str]) -> int:
    try:
        return int(post(path, body, headers).status_code)
    finally:
        connection.close()


def count_of(source: InboundEndpoint) -> int:
    source.refresh_from_db()
    return int(source.received)


def test_all_of_one_source_are_stored_and_counted(tenant: Tenant) -> None:
    source, secret = make_source(tenant, dedupe_path="body:id")
    bodies = [body_of({"id": f"o{number % 60}"}) for number in range(80)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: send(path_of(source), body, plain(secret, body)), bodies))
    assert answers == [200] * 80
    afterwards.settle()
    assert count_of(source) == len(receipts()) == QueueItem.unscoped.count() == 60
    assert sum(each.duplicates for each in receipts()) == 20


def test_one_signature_has_one_effect_among_many_at_once(tenant: Tenant) -> None:
    source, secret = make_source(tenant, scheme="timestamped", dedupe_path="header:X-Event-Id")
    body = body_of()
    signed = stripe_like(secret, body)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: send(path_of(source), body, {**signed, "X-Event-Id": str(n)}), range(16)))
    assert answers == [200] * 16
    assert [each.duplicates for each in receipts()] == [15]


def test_a_request_does_not_wait_for_whoever_holds_the_counter(tenant: Tenant) -> None:
    source, secret = make_source(tenant)
    body = body_of()
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        InboundEndpoint.unscoped.select_for_update().get(pk=source.pk)
        # In another thread, so on another connection; it would wait here for ever.
        assert pool.submit(send, path_of(source), body, plain(secret, body)).result(30) == 200
        assert count_of(source) == 0
    assert len(receipts()) == 1
    afterwards.settle()
    assert count_of(source) == 1
    assert source.last_received_at == receipts()[0].received_at


def test_counts_outlive_a_failure_of_the_database(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    source, secret = make_source(tenant)
    body = body_of()
    post(path_of(source), body, plain(secret, body))
    at = receipts()[0].received_at
    afterwards.count(source.pk, at)
    afterwards.count(source.pk, at)

    def down(*_: Any) -> None:
        raise DatabaseError("gone for a moment")

    with monkeypatch.context() as patch:
        patch.setattr(afterwards, "_add", down)
        assert afterwards.settle() is False
    afterwards.count(source.pk, at)
    assert afterwards.settle() is True
    assert count_of(source) == 1 + 3


def test_workers_are_woken_by_the_first_and_then_for_all_that_came(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[int] = []
    monkeypatch.setattr(afterwards, "nudge", lambda: woken.append(len(receipts())))
    monkeypatch.setattr(afterwards, "PAUSE", 3600.0)
    monkeypatch.setattr(afterwards._owed, "_woken", float("-inf"))
    source, secret = make_source(tenant)
    for number in range(3):
        body = body_of({"id": number})
        assert post(path_of(source), body, plain(secret, body)).status_code == 200
    assert woken == [1], "after its commit"
    afterwards.settle()
    assert woken == [1, 3]
    afterwards.settle()
    assert woken == [1, 3], "nothing came since"
