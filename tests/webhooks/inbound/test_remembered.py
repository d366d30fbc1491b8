"""Paths that a process remembers: a request takes one statement, and whatever has changed since counts at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_scopes import scope

from integrations.models import CallLog, Config, ExternalReference, IdempotencyRecord, QueueItem, Tenant
from tests.factories import MovableClock, make_config, make_source
from tests.webhooks.inbound.support import body_of, path_of, plain, post, receipts, rejected, slack, stripe_like
from webhooks.inbound import known, locate, storing, views
from webhooks.inbound.endpoints import services
from webhooks.inbound.models import InboundEndpoint

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    known._memory._owners.clear()
    yield
    known._memory._owners.clear()


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens that were looked up in the database."""
    asked: list[str] = []

    def noted(token: str) -> Any:
        asked.append(token)
        return locate.by_token(token)

    monkeypatch.setattr(views, "by_token", noted)
    return asked


def report(path: str, number: int = 1) -> int:
    said = {"id": f"ATXid_{number}", "status": "Success", "phoneNumber": "+254712345678"}
    return int(post(path, urlencode(said).encode(), kind=FORM).status_code)


def test_a_request_takes_one_statement_and_no_other_query(
    tenant: Tenant, lookups: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, secret = make_source(tenant, dedupe_path="body:id")
    config = make_config(tenant, "africastalking")
    made: list[str] = []
    executed = storing._executed

    def noted(statement: str, rows: str) -> Any:
        made.append(statement)
        return executed(statement, rows)

    monkeypatch.setattr(storing, "_executed", noted)
    for number in range(3):
        body = body_of({"id": f"o{number}"})
        with CaptureQueriesContext(connection) as asked:
            assert post(path_of(source), body, plain(secret, body)).status_code == 200
            assert report(f"/hooks/{config.hook_token}/dlr", number) == 200
    # A test is one transaction: a savepoint for each statement, and NOTIFY within it.
    rest = [each["sql"] for each in asked if not each["sql"].startswith(("SAVEPOINT", "RELEASE", "NOTIFY"))]
    assert rest == []
    assert lookups == [source.token, config.hook_token, config.hook_token], "its row was made by the first"
    assert len(made) == 6
    assert (QueueItem.unscoped.count(), CallLog.unscoped.count(), len(receipts())) == (6, 6, 6)
    for row in (source, InboundEndpoint.unscoped.get(config=config)):
        row.refresh_from_db()
        assert row.received == 3


def test_what_is_stored_is_the_same_remembered_or_not(tenant: Tenant) -> None:
    source, secret = make_source(tenant, scheme="timestamped", dedupe_path="body:id")
    for number in range(2):
        body = body_of({"id": f"o{number}", "pin": "1234"})
        assert post(path_of(source), body, stripe_like(secret, body)).status_code == 200
    first, second = receipts()
    for name in (
        "provider",
        "purpose",
        "trust",
        "token_object",
        "method",
        "query",
        "status",
        "detail",
        "remote_ip",
        "config_id",
    ):
        assert getattr(first, name) == getattr(second, name), name
    one, two = CallLog.unscoped.order_by("id")
    assert (one.external_reference, two.external_reference) == (str(first.pk), str(second.pk))
    assert "1234" not in two.request_body
    items = QueueItem.unscoped.order_by("id")
    assert [each.payload for each in items] == [{"receipt": first.pk}, {"receipt": second.pk}]
    assert {(each.kind, each.priority, each.state, each.max_attempts) for each in items} == {
        ("webhook.process", 2, "pending", 60)
    }
    assert {each.object_id for each in IdempotencyRecord.unscoped.all()} == {str(first.pk), str(second.pk)}


def off(source: InboundEndpoint) -> None:
    services.update_endpoint(endpoint_id=source.pk, changes={"is_active": False})


def gone(source: InboundEndpoint) -> None:
    services.delete_endpoint(endpoint_id=source.pk)


def closed(source: InboundEndpoint) -> None:
    services.update_endpoint(endpoint_id=source.pk, changes={"allowed_ips": ["203.0.113.9"]})


def rotated(source: InboundEndpoint) -> None:
    services.rotate(endpoint_id=source.pk, overlap=timedelta(0))


def tenant_off(source: InboundEndpoint) -> None:
    Tenant.objects.filter(pk=source.tenant_id).update(is_active=False)


@pytest.mark.parametrize(("change", "status"), [(off, 404), (gone, 404), (closed, 403), (rotated, 401), (tenant_off, 404)])
def test_a_source_that_was_changed_is_refused_at_once(
    tenant: Tenant, change: Callable[[InboundEndpoint], None], status: int
) -> None:
    source, secret = make_source(tenant)
    for text in ("a", "b"):
        assert post(path_of(source), body_of({"id": text}), plain(secret, body_of({"id": text}))).status_code == 200
    with scope(tenant=tenant):
        change(source)
    body = body_of({"id": "c"})
    answer = post(path_of(source), body, plain(secret, body))
    assert answer.status_code == status
    assert len(receipts()) == 2
    assert sum(rejected().values()) == 1, "refused once, counted once"


def test_the_new_secret_counts_at_once_and_the_old_one_in_its_overlap(tenant: Tenant, clock: MovableClock) -> None:
    source, old = make_source(tenant)
    bodies = [body_of({"id": number}) for number in range(4)]
    assert post(path_of(source), bodies[0], plain(old, bodies[0])).status_code == 200
    with scope(tenant=tenant):
        new = services.rotate(endpoint_id=source.pk, overlap=timedelta(hours=1)).secret
    assert post(path_of(source), bodies[1], plain(new, bodies[1])).status_code == 200
    assert post(path_of(source), bodies[2], plain(old, bodies[2])).status_code == 200
    clock.advance(hours=1, seconds=1)
    assert post(path_of(source), bodies[3], plain(old, bodies[3])).status_code == 401
    assert rejected() == {(source.pk, "bad_signature"): 1}


def test_an_account_whose_path_or_secret_was_changed(tenant: Tenant) -> None:
    config = make_config(tenant, "africastalking")
    path = f"/hooks/{config.hook_token}/dlr"
    assert [report(path, 1), report(path, 2)] == [200, 200]
    row = InboundEndpoint.unscoped.get(config=config)
    InboundEndpoint.unscoped.filter(pk=row.pk).update(events=["nothing.*"])
    assert report(path, 3) == 200
    assert [each.status for each in receipts()] == ["received", "received", "ignored"]
    Config.unscoped.filter(pk=config.pk).update(hook_token="0" * 40)
    assert report(path, 4) == 404
    with scope(tenant=tenant):
        services.update_endpoint(endpoint_id=row.pk, changes={"is_active": False})
    assert report(f"/hooks/{'0' * 40}/dlr", 5) == 404
    assert len(receipts()) == 3


def test_handshakes_are_answered_by_what_is_stored_now(tenant: Tenant) -> None:
    source, secret = make_source(tenant, scheme="slack", secret="slack-gave-this")
    body = body_of({"type": "event_callback", "event_id": "Ev1"})
    assert post(path_of(source), body, slack(secret, body)).status_code == 200
    with scope(tenant=tenant):
        off(source)
    asked = body_of({"type": "url_verification", "challenge": "3eZbrw1aB"})
    assert post(path_of(source), asked, slack(secret, asked)).status_code == 404


def test_a_payments_own_path_is_not_remembered(tenant: Tenant, lookups: list[str]) -> None:
    config = make_config(tenant, "africastalking")
    token = "ab" * 20
    ExternalReference.unscoped.create(
        tenant=tenant, provider="africastalking", kind="hook_token", external_id=token, config=config,
        object_type="payment", object_id="pay_1",
    )  # fmt: skip
    assert [report(f"/hooks/{token}/dlr", number) for number in (1, 2)] == [200, 200]
    assert lookups == [token, token]
    assert {each.token_object for each in receipts()} == {"payment:pay_1"}


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch, tenant: Tenant, lookups: list[str]) -> None:
    monkeypatch.setattr(known, "MOST", 2)
    made = [make_source(tenant) for _ in range(3)]
    for source, secret in [*made, made[0]]:
        body = body_of({"id": source.pk})
        assert post(path_of(source), body, plain(secret, body)).status_code == 200
    assert len(known._memory._owners) == 2
    assert len(lookups) == 4


def test_a_key_that_left_the_keyring_opens_nothing_that_was_remembered(tenant: Tenant, settings: Any) -> None:
    source, secret = make_source(tenant)
    body = body_of({"id": 1})
    assert post(path_of(source), body, plain(secret, body)).status_code == 200
    settings.ENCRYPTION_KEYS = "t2:" + "QUFB" * 11
    assert post(path_of(source), body, plain(secret, body)).status_code == 503
