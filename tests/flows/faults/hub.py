"""The hub as these tests drive it: calls by API, time that passes until nothing is left to do, what the gateway holds."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from django.db import connections
from django_scopes import scope

from integrations.contracts.adapter import Reply
from integrations.http.client import HttpClient
from integrations.models import Alert, QueueItem, QueueState
from integrations.simulators import running_simulators
from payments.models import Payment
from tests.factories import make_config, work_off
from tests.flows.conftest import School, deliver
from tests.flows.faults.clock import SharedClock
from tests.flows.faults.lanes import Lane, less
from webhooks.inbound.models import Receipt
from webhooks.outbound.models import Event

PATIENCE = 60.0
HORIZON = timedelta(hours=3)


@dataclass(frozen=True)
class Money:
    """What a gateway has of a payment, all its objects together, in minor units."""

    captured: int
    refunded: int
    held: int = 0


class Hub:
    """One tenant's hub at one gateway."""

    def __init__(
        self, school: School, simulators: running_simulators, clock: SharedClock, lane: Lane, own_url: str, settings: Any
    ) -> None:
        self.school = school
        self.lane = lane
        self.clock = clock
        self._simulators = simulators
        self._settings = settings
        self.payer_was_there = False
        if lane.slug == school.mpesa.provider_id:
            self.config = school.mpesa
        else:
            self.config = make_config(school.tenant, lane.slug, dict(lane.values), account="school")
            url = f"{own_url}/hooks/{self.config.hook_token}/{lane.purpose}"
            self.control("PUT", "accounts/school", webhook_url=url, **lane.values)
        self.control("PUT", "settings", **lane.quick)

    # --- the API

    def ask(self, **more: Any) -> dict[str, Any]:
        """Ask for the lane's amount; return the payment."""
        body = {**self.lane.body, "provider": self.lane.slug, "reference": {"type": "invoice", "id": "INV-0042"}, **more}
        answer = self.school.api.post("/api/v1/payments/authorize", body, format="json")
        assert answer.status_code == 201, answer.json()
        found: dict[str, Any] = answer.json()
        return found

    def post(self, operation: str, payment_id: str, **body: Any) -> Any:
        return self.school.api.post(f"/api/v1/payments/{operation}", {"payment": payment_id, **body}, format="json")

    def shown(self, payment_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.school.api.get(f"/api/v1/payments/{payment_id}").json()
        return found

    def status(self, operation: str, payment_id: str) -> str:
        """Return what the API says of the newest operation of this kind."""
        found = self.shown(payment_id)
        steps = {"capture": "captures", "refund": "refunds"}
        return str(found[steps[operation]][-1]["status"] if operation in steps else found["status"])

    # --- rows behind it

    def payment(self, payment_id: str) -> Payment:
        return self.school.payment(payment_id)

    def payments(self) -> list[Payment]:
        return self.school.payments()

    def events(self) -> list[str]:
        with scope(tenant=self.school.tenant):
            return sorted(Event.objects.filter(type__startswith="payment.").values_list("type", flat=True))

    def alerts(self) -> list[str]:
        open_ones = Alert.objects.filter(tenant=self.school.tenant, resolved_at=None)
        return sorted(open_ones.values_list("kind", flat=True))

    def webhooks(self, **only: Any) -> list[Receipt]:
        """Return the gateway's webhooks that were taken in."""
        mine = Receipt.unscoped.filter(tenant=self.school.tenant, provider=self.lane.slug, **only)
        return list(mine.order_by("pk"))

    # --- the gateway

    def control(self, method: str, path: str, **body: Any) -> Any:
        return self.school.control(method, f"{self.lane.slug}/{path}", json=body)

    def fault(self, operation: str, fault: str, **more: Any) -> None:
        self.school.fault(self.lane.slug, self.lane.operations.get(operation, operation), fault, **more)

    def heal(self) -> None:
        self.control("DELETE", "faults")

    def money(self, payment_id: str) -> Money:
        """Return what the gateway has, under whatever ids."""
        if self.lane.slug == self.school.mpesa.provider_id:
            booked = self._simulators.simulators[self.lane.slug].ledger.transactions()  # type: ignore[attr-defined]
            sums = {kind: sum(each["amount"] * 100 for each in booked if each["kind"] == kind) for kind in ("stk", "reversal")}
            return Money(sums["stk"], sums["reversal"])
        rows = self.school.control("GET", f"{self.lane.slug}/money")["payments"]
        mine = [row for row in rows if row["payment_id"] == payment_id]
        return Money(*(sum(row[name] for row in mine) for name in ("captured", "refunded", "held")))

    def seen(self, operation: str) -> list[dict[str, Any]]:
        """Return the requests of this operation that reached the gateway and were not turned away at the door."""
        asked = self.school.control("GET", f"{self.lane.slug}/requests")
        name = self.lane.operations[operation]
        return [each for each in asked if each["operation"] == name and each["fault"] not in ("refuse", "error_429")]

    def answered_at(self, operation: str) -> datetime:
        """Return when the answer to our newest call of this operation was here."""
        name = {"refund": "payment.refund", "capture": "payment.capture", "complete": "payment.complete"}
        item = QueueItem.unscoped.filter(kind=name.get(operation, "payment.authorize")).latest("pk")
        assert item.finished_at is not None
        return item.finished_at

    @contextlib.contextmanager
    def tampered(self) -> Iterator[None]:
        """Every amount in the gateway's answers is one smallest unit less than what it booked."""
        change = less(self.lane.wrong)

        def request(port: HttpClient, *args: Any, **kwargs: Any) -> Reply:
            reply = original(port, *args, **kwargs)
            return replace(reply, body=json.dumps(change(json.loads(reply.body))).encode()) if reply.body else reply

        original = HttpClient.request
        with mock.patch.object(HttpClient, "request", request):
            yield

    @contextlib.contextmanager
    def unreachable(self) -> Iterator[None]:
        """Nobody listens where the gateway should be."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            before, self._settings.SIMULATOR_URL = self._settings.SIMULATOR_URL, f"http://127.0.0.1:{unused.getsockname()[1]}"
            try:
                yield
            finally:
                self._settings.SIMULATOR_URL = before

    # --- time

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Two workers run beside what happens in the block, so that one is free while the other waits for an answer."""
        stop, problems = threading.Event(), list[BaseException]()

        def work() -> None:
            try:
                while not stop.is_set():
                    work_off()
                    stop.wait(0.01)
            except BaseException as problem:  # noqa: BLE001 told to the test's own thread
                problems.append(problem)
            finally:
                connections.close_all()

        workers = [threading.Thread(target=work, name=f"beside-{number}") for number in (1, 2)]
        for worker in workers:
            worker.start()
        try:
            yield
            deadline = time.monotonic() + PATIENCE
            while QueueItem.unscoped.filter(state=QueueState.PROCESSING).exists() and time.monotonic() < deadline:
                time.sleep(0.01)
        finally:
            stop.set()
            for worker in workers:
                worker.join(PATIENCE)
        assert not problems, problems
        assert not any(worker.is_alive() for worker in workers)

    def quiet(self) -> None:
        """Work off what is due now, here and at the gateway, webhooks on their way included."""
        deadline = time.monotonic() + PATIENCE
        while True:
            done = bool(work_off())
            deliver()
            if not self._under_way() and not done:
                return
            assert time.monotonic() < deadline, "it does not come to rest"
            time.sleep(0.005)

    def rest(self, payment_id: str, *, people: bool = True, horizon: timedelta = HORIZON) -> None:
        """Let time pass, from one thing that is due to the next, until nothing is left to do within `horizon`.

        With `people`, the payer pays what he is shown, and the merchant approves refunds where the gateway wants that.
        """
        end = self.clock() + horizon
        while True:
            self.quiet()
            if people and self._people(payment_id):
                continue
            due = self._next_due()
            if due is None or due > end:
                return
            self.clock.advance_to(due)

    def _under_way(self) -> bool:
        sql = "SELECT count(*) AS n FROM jobs WHERE state = 'begun' OR (state = 'pending' AND due <= ?)"
        return bool(self._simulators.store.rows(sql, self.clock.now())[0]["n"])

    def _next_due(self) -> datetime | None:
        here = QueueItem.unscoped.filter(state=QueueState.PENDING).order_by("due_at").values_list("due_at", flat=True).first()
        there = self._simulators.store.rows("SELECT min(due) AS due FROM jobs WHERE state = 'pending'")[0]["due"]
        moments = [here, datetime.fromtimestamp(there, UTC) if there is not None else None]
        return min((each for each in moments if each is not None), default=None)

    # --- people

    def _people(self, payment_id: str) -> bool:
        """Return whether somebody did something."""
        prompts = self.school.control("GET", "phone/prompts")
        for prompt in prompts:
            self.school.control("POST", f"phone/prompts/{prompt['id']}", json={"action": "pin", "pin": "1234"})
        if prompts:
            return True
        found = self.payment(payment_id)
        if found.status == "requires_action" and found.next_action and not self.payer_was_there:
            self.pay(found)
            return True
        if self.lane.slug == "pesapal" and any(each["refund"] == "requested" for each in self._orders()):
            self.control("POST", "dashboard", ref=found.provider_ref, action="settle_refund")
            return True
        return False

    def pay(self, payment: Payment) -> None:
        """The payer pays on the page that the hub named. Of several orders for one payment Pesapal's page belongs to one."""
        self.payer_was_there = True
        ref = payment.provider_ref if self.lane.slug == "pesapal" else payment.pk
        self.control("POST", "payer", ref=ref, action="approve")

    def _orders(self) -> list[dict[str, Any]]:
        orders = self._simulators.simulators[self.lane.slug].orders.all()  # type: ignore[attr-defined]
        return [{"refund": (each["refund"] or {}).get("state", "")} for each in orders]
