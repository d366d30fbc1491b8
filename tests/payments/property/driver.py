"""The hub between its clients and the model gateways: how a test talks to it, kills it, and lets time pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

from django.db import connection, transaction
from django_scopes import scope
from hypothesis.stateful import RuleBasedStateMachine

from integrations.contracts.clock import stopped_at
from integrations.contracts.failures import Failure
from integrations.contracts.inbound import PaymentReported, PaymentTouched, RefundReported, Trust
from integrations.contracts.money import Money
from integrations.contracts.payment import PaymentState, RefundState
from integrations.events import emit
from integrations.models import BreakerState, Config, QueueItem, QueueState
from integrations.models import Provider as ProviderRow
from integrations.runtime import breaker, worker
from integrations.runtime.idempotency import KEPT
from payments.models import Payment, RoutingRule, Status
from tests.factories import MovableClock, make_client, make_tenant, work_off
from tests.payments.property.books import Books, Crash, Entry, Notice, Part
from tests.payments.property.checks import Watch, in_the_end
from tests.payments.property.gateways import GATEWAYS, ModelGateway, slug_of

ANSWERS = {200, 201, 400, 402, 404, 409, 410, 422, 502, 503, 504}
HELD = ("authorized", "partially_captured")
FITTING = {
    "capture": HELD,
    "refund": ("succeeded", "partially_captured"),
    "cancel": ("authorized", "requires_action", "processing"),
    "sync": tuple(Status.values),
}
_numbers = itertools.count(1)


class Hub(RuleBasedStateMachine):
    """The hub under test is real, database and API included; only the gateways behind the adapters are models. The rules are
    those of `Payments`."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.clock = MovableClock()
        self.stack.enter_context(stopped_at(self.clock))
        self.books = Books(self.clock)
        self.books.meanwhile = self._meanwhile
        ModelGateway.books = self.books
        self.crash_at = ""
        self._settle_success = worker._settle_success
        self.stack.enter_context(patch.object(worker, "_settle_success", self._settle))
        BreakerState.objects.all().delete()
        breaker.MEMORY.forget()
        self.tenant = make_tenant(f"school-{next(_numbers)}")
        self.configs = {style: self._config(style) for style in GATEWAYS}
        with scope(tenant=self.tenant):
            rule_of_two = RoutingRule.objects.create(tenant=self.tenant, name="pages", position=1, method_type="redirect")
            for position, style in enumerate(("keyed", "searchable")):
                rule_of_two.steps.create(tenant=self.tenant, config=self.configs[style], position=position)
        self.client = make_client(self.tenant)
        self.client.raise_request_exception = False  # a 5xx that tells of a gateway is an answer; a 500 fails all the same
        self.watch = Watch(self.tenant, self.books)
        self.sent: list[tuple[str, dict[str, Any], str]] = []
        self.sent_at: dict[str, datetime] = {}
        self.answered: dict[str, str] = {}
        self.delivered: list[Notice] = []
        self.receipts = itertools.count(1)

    def _config(self, style: str) -> Config:
        ProviderRow.objects.get_or_create(slug=slug_of(style), defaults={"name": style, "categories": ["payment"]})
        row = Config(tenant=self.tenant, provider_id=slug_of(style), environment="production", values={})
        row.set_secrets({"api_key": "sample-key-0123456789"})
        row.save()
        return row

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            self.stack.close()
            QueueItem.unscoped.filter(tenant=self.tenant).delete()

    # --- how things are done

    def _settle(self, *arguments: Any) -> Any:
        crash_at, self.crash_at = self.crash_at, ""
        if crash_at == "crash_settling":
            raise Crash(crash_at)
        result = self._settle_success(*arguments)
        if crash_at == "crash_settled":
            raise Crash(crash_at)
        return result

    def _alive(self, act: Callable[[], Any]) -> Any:
        """Do it as a process that may die on the way; None where it did."""
        try:
            return act()
        except Crash:
            assert not connection.in_atomic_block
            self.crash_at = ""
            return None

    def _meanwhile(self, kind: str) -> None:
        """While the gateway's answer is on its way: its notice is faster, or the worker hangs beyond its lease."""
        if kind.startswith("crash"):
            self.crash_at = kind
        elif kind == "early_notice":
            self._deliver_all()
            work_off()
        elif kind == "hang":
            self.clock.advance(130)
            work_off()
        elif kind == "cancel_meanwhile" and self.books.entries:
            self._post(f"{self.books.entries[-1].payment_id}/cancel", {}, f"meanwhile-{next(self.receipts)}")
        elif kind == "hang_and_retry" and self.sent:
            self.clock.advance(70)
            last = self.sent[-1]
            if self.clock.moment - self.sent_at[last[2]] < KEPT:  # after that the same key is another request's
                self._post(*last)

    def _send(self, path: str, operation: str, fault: tuple[str, ...], **body: Any) -> None:
        if not self.books.faults[operation]:
            self.books.faults[operation].extend(fault)
        request = (path, {name: value for name, value in body.items() if value is not None}, f"key-{len(self.sent)}")
        self.sent.append(request)
        self.sent_at[request[2]] = self.clock.moment
        self._alive(lambda: self._post(*request))

    def _post(self, path: str, body: dict[str, Any], key: str) -> None:
        answer = self.client.post(f"/api/v1/payments/{path}", body, format="json", HTTP_IDEMPOTENCY_KEY=key)
        assert answer.status_code in ANSWERS, (answer.status_code, answer.content)
        if answer.status_code < 300:
            assert self.answered.setdefault(key, answer.json()["id"]) == answer.json()["id"], "one key, two objects"

    def _deliver(self, notice: Notice) -> None:
        entry = notice.entry
        common: dict[str, Any] = {
            "provider": slug_of(entry.style),
            "tenant_id": self.tenant.pk,
            "config_id": self.configs[entry.style].pk,
            "receipt_id": next(self.receipts),
            "provider_ref": entry.ref,
        }
        with scope(tenant=self.tenant), transaction.atomic():
            if entry.style != "prompt":
                trust = Trust.SIGNED if entry.style == "keyed" else Trust.TOKEN
                emit(PaymentTouched(**common, trust=trust, payment_id=entry.payment_id))
            elif notice.about == "payment":
                emit(PaymentReported(**common, trust=Trust.TOKEN, **_reported(entry)))
            else:
                refund_id = notice.about.removeprefix("refund:")
                part = next(part for part in entry.refunds if part.operation_id == refund_id)
                emit(RefundReported(**{**common, "provider_ref": part.ref}, trust=Trust.TOKEN, **_refund_reported(part)))

    def _deliver_all(self) -> None:
        while self.books.notices:
            self._deliver(self.books.notices.pop(0))

    def _pick(self, number: int, *states: str) -> Entry | None:
        fitting = [entry for entry in self.books.entries if entry.state in states]
        return fitting[number % len(fitting)] if fitting else None

    def _payment(self, which: int, action: str) -> str:
        """Return a payment for which the action makes sense; where there is none, any; empty where there is none at all."""
        rows = Payment.unscoped.filter(tenant=self.tenant).order_by("created", "id")
        known = list(rows.filter(status__in=FITTING[action])) or list(rows)
        return known[which % len(known)].pk if known else ""

    def _amount(self, payment_id: str, part: float | None) -> int | None:
        whole = Payment.unscoped.values_list("amount", flat=True).get(pk=payment_id)
        return None if part is None else int(whole * part) // 100 * 100

    def _pass(self, seconds: float) -> None:
        self.books.arrive(until=self.clock.moment + timedelta(seconds=seconds))
        self.clock.advance(seconds)
        self.books.lapse()

    def finish(self) -> None:
        """The faults stop and time passes until nothing is left to do."""
        self.books.faults.clear()
        self.books.step += 1
        self._pass(600)
        for entry in self.books.entries:
            if entry.style == "prompt" and entry.state == "waiting":
                self.books.decline(entry)
            for part in entry.refunds:
                if part.state == "processing":
                    self.books.decide_refund(entry, part, "succeeded")
        ends = self.clock.moment + timedelta(days=6)
        while self.clock.moment < ends:
            self.books.step += 1
            self._deliver_all()
            work_off()
            following = self._next_moment()
            if following is None and not self.books.notices:
                break
            self._pass(max(0.0, ((following or self.clock.moment) - self.clock.moment).total_seconds()))
        else:
            raise AssertionError(f"still at work: {list(self._at_work().values('kind', 'errors'))}")
        in_the_end(self.tenant, self.books, self.watch.always())

    def _at_work(self) -> Any:
        return QueueItem.unscoped.filter(tenant=self.tenant, state__in=[QueueState.PENDING, QueueState.PROCESSING])

    def _next_moment(self) -> Any:
        due = [item.due_at if item.state == QueueState.PENDING else item.lease_until for item in self._at_work()]
        return min(due) + timedelta(seconds=1) if due else None


def _reported(entry: Entry) -> dict[str, Any]:
    taken = entry.state == "taken"
    return {
        "state": PaymentState.SUCCEEDED if taken else PaymentState.FAILED,
        "money": Money(entry.amount, entry.currency) if taken else None,
        "receipt": entry.receipt if taken else "",
        "failure": None if taken else Failure.of("declined"),
        "token_object": f"payment:{entry.payment_id}",
    }


def _refund_reported(part: Part) -> dict[str, Any]:
    done = part.state == "succeeded"
    return {
        "state": RefundState.SUCCEEDED if done else RefundState.FAILED,
        "receipt": f"R-{part.ref}" if done else "",
        "failure": None if done else Failure.of("refund_declined"),
        "token_object": f"refund:{part.operation_id}",
    }
