"""What comes in while others are being stored is stored together, and each request has a fate of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.db import OperationalError, connection

from integrations.models import CallLog, QueueItem, Tenant
from tests.factories import make_source
from tests.webhooks.inbound.support import body_of, path_of, plain, post, receipts
from webhooks.inbound import storing, together
from webhooks.inbound.models import InboundEndpoint
from webhooks.inbound.together import Together

LONG = 30.0


def wait_until(done: Callable[[], bool]) -> None:
    give_up = time.monotonic() + LONG
    while not done():
        assert time.monotonic() < give_up
        time.sleep(0.005)


class Desk:
    """A `Together` whose first turn is held up until `go`; notes what it was given at once."""

    def __init__(self, work: Callable[[Sequence[int]], list[int]] | None = None) -> None:
        self.given: list[list[int]] = []
        self.go = threading.Event()
        self.began = threading.Event()
        self._work = work or (lambda numbers: [number * 10 for number in numbers])
        self.together: Together[int, int] = Together(self.work, lambda error: isinstance(error, OSError))

    def work(self, numbers: Sequence[int]) -> list[int]:
        self.given.append(list(numbers))
        self.began.set()
        assert self.go.wait(LONG)
        return self._work(numbers)

    def ask(self, pool: ThreadPoolExecutor, numbers: Sequence[int]) -> list[Future[int]]:
        """Ask for the first, and for the others while it is on its way."""
        asked = [pool.submit(self.together, numbers[0])]
        assert self.began.wait(LONG)
        for count, number in enumerate(numbers[1:], start=1):
            asked.append(pool.submit(self.together, number))
            wait_until(lambda count=count: len(self.together._waiting) == count)
        self.go.set()
        return asked


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "PATIENCE", LONG)


def test_who_is_alone_does_not_wait() -> None:
    desk = Desk()
    desk.go.set()
    assert [desk.together(1), desk.together(2)] == [10, 20]
    assert desk.given == [[1], [2]]


def test_those_who_came_meanwhile_go_together() -> None:
    desk = Desk()
    with ThreadPoolExecutor(4) as pool:
        assert [each.result(LONG) for each in desk.ask(pool, [1, 2, 3, 4])] == [10, 20, 30, 40]
    assert desk.given == [[1], [2, 3, 4]]
    assert desk.together(5) == 50


def test_no_more_than_a_statement_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "MOST", 2)
    desk = Desk()
    with ThreadPoolExecutor(6) as pool:
        assert [each.result(LONG) for each in desk.ask(pool, [1, 2, 3, 4, 5, 6])] == [10, 20, 30, 40, 50, 60]
    assert all(len(each) <= 2 for each in desk.given)
    assert sorted(number for each in desk.given for number in each) == [1, 2, 3, 4, 5, 6]


def test_one_that_can_not_be_stored_harms_no_other() -> None:
    def work(numbers: Sequence[int]) -> list[int]:
        if 3 in numbers:
            raise ValueError("three")
        return [number * 10 for number in numbers]

    desk = Desk(work)
    with ThreadPoolExecutor(4) as pool:
        first, second, third, fourth = desk.ask(pool, [1, 2, 3, 4])
        assert [each.result(LONG) for each in (first, second, fourth)] == [10, 20, 40]
        with pytest.raises(ValueError, match="three"):
            third.result(LONG)
    assert desk.given[:2] == [[1], [2, 3, 4]]
    assert sorted(desk.given[2:]) == [[2], [3], [4]]


def test_what_is_everybodys_trouble_is_not_tried_one_by_one() -> None:
    def work(numbers: Sequence[int]) -> list[int]:
        if len(desk.given) > 1:
            raise OSError("away")
        return [number * 10 for number in numbers]

    desk = Desk(work)
    with ThreadPoolExecutor(4) as pool:
        first, *others = desk.ask(pool, [1, 2, 3, 4])
        assert first.result(LONG) == 10
        for each in others:
            with pytest.raises(OSError, match="away"):
                each.result(LONG)
    assert desk.given == [[1], [2, 3, 4]]


def test_who_is_not_taken_along_in_time_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one hangs in the database; those behind it don't."""
    monkeypatch.setattr(together, "PATIENCE", 0.05)
    desk, held = Desk(), threading.Event()

    def work(numbers: Sequence[int]) -> list[int]:
        desk.given.append(list(numbers))
        if 1 in numbers:
            desk.began.set()
            assert held.wait(LONG)
        return [number * 10 for number in numbers]

    desk.together._work = work
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(desk.together, 1)
        assert desk.began.wait(LONG)
        assert [pool.submit(desk.together, number).result(LONG) for number in (2, 3)] == [20, 30]
        held.set()
        assert first.result(LONG) == 10
    assert desk.given == [[1], [2], [3]]


@pytest.mark.parametrize(
    ("code", "everybodys"),
    [("57P01", True), ("53100", True), (None, True), ("40P01", False), ("55P03", False), ("57014", False)],
)
def test_whose_trouble_it_is(code: str | None, everybodys: bool) -> None:
    error = OperationalError("no")
    error.__cause__ = cause = Exception("no")
    cause.sqlstate = code  # type: ignore[attr-defined]
    assert storing._is_everybodys(error) is everybodys


@pytest.mark.django_db(transaction=True)
def test_requests_of_several_sources_in_one_commit(
    tenant: Tenant, other_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them twice, one with a nonce, two tenants: each is stored once, with all that belongs to it."""
    ours, our_secret = make_source(tenant, dedupe_path="body:id")
    theirs, their_secret = make_source(other_tenant, dedupe_path="body:id")
    for source, secret in ((ours, our_secret), (theirs, their_secret)):  # remembered from now on
        body = body_of({"id": "first"})
        assert post(path_of(source), body, plain(secret, body)).status_code == 200
    statements: list[int] = []
    began, go = threading.Event(), threading.Event()
    executed = storing._executed

    def noted(statement: str, rows: str) -> Any:
        statements.append(rows.count('"dedupe_key"'))
        began.set()
        assert go.wait(LONG)
        return executed(statement, rows)

    monkeypatch.setattr(storing, "_executed", noted)

    def send(source: InboundEndpoint, secret: str, number: str) -> int:
        body = body_of({"id": number})
        try:
            return int(post(path_of(source), body, plain(secret, body)).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(send, ours, our_secret, "a")]
        assert began.wait(LONG)
        for count, (source, secret, number) in enumerate(
            [(ours, our_secret, "b"), (theirs, their_secret, "b"), (ours, our_secret, "b"), (theirs, their_secret, "c")],
            start=1,
        ):
            asked.append(pool.submit(send, source, secret, number))
            wait_until(lambda count=count: len(storing._together._waiting) == count)
        go.set()
        assert [each.result(LONG) for each in asked] == [200] * 5
    assert statements == [1, 4]
    of = {each.pk: [] for each in (tenant, other_tenant)}  # type: ignore[var-annotated]
    for receipt in receipts():
        of[receipt.tenant_id].append(receipt)
        assert QueueItem.unscoped.filter(tenant_id=receipt.tenant_id, payload={"receipt": receipt.pk}).count() == 1
        log = CallLog.unscoped.get(external_reference=str(receipt.pk))
        assert (log.tenant_id, log.reference_id) == (
            receipt.tenant_id,
            {tenant.pk: ours, other_tenant.pk: theirs}[log.tenant_id].pk,
        )
    assert [len(each) for each in of.values()] == [3, 3]
    assert sorted(each.duplicates for each in of[tenant.pk]) == [0, 0, 1]
    for source in (ours, theirs):
        source.refresh_from_db()
        assert source.received == 3
