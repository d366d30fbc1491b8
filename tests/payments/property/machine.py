"""Any interleaving of clients, payers, gateways, people at the gateway's dashboard, time and crashes."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from integrations.runtime.idempotency import KEPT
from payments.models import Payment
from payments.transitions import is_held, is_open
from tests.factories import work_off
from tests.payments.property.books import Part
from tests.payments.property.driver import Hub
from tests.payments.property.gateways import GATEWAYS, MEANWHILE, slug_of

ANYWHERE = (
    "unreachable", "busy", "refused", "lost_before", "lost_after", "late", "crash_before", "crash_marked", "crash_after",
    *MEANWHILE,
)  # fmt: skip
QUESTIONS = ("payment_status", "capture_status", "refund_status")
AMOUNTS = (1_000, 5_000, 150_000)
MOST_PAYMENTS = 3

parts = st.sampled_from([None, 0.2, 0.5, 0.9])
picks = st.integers(0, 5)


def faults(*more: str) -> st.SearchStrategy[tuple[str, ...]]:
    """What goes wrong with the call, and with the next one: nothing, one or two things."""
    kinds = st.sampled_from([*ANYWHERE, *more])
    return st.one_of(st.just(()), st.tuples(kinds), st.tuples(kinds, kinds))


class Payments(Hub):
    """What may happen, one rule each; what must hold is looked at after each step and at the end."""

    # --- clients

    @precondition(lambda self: sum(path == "authorize" for path, _body, _key in self.sent) < MOST_PAYMENTS)
    @rule(
        style=st.sampled_from([*sorted(GATEWAYS), "routed"]),
        page=st.booleans(),
        manual=st.booleans(),
        amount=st.sampled_from(AMOUNTS),
        fault=faults("declined", "broken", "wrong_amount"),
    )
    def authorize(self, style: str, page: bool, manual: bool, amount: int, fault: tuple[str, ...]) -> None:
        self.books.step += 1
        method = {"type": "redirect"} if page or style == "routed" else {"type": "card", "token": "tok-1"}
        if style == "prompt":
            method, manual = {"type": "mobile_money", "phone": "+254712345678"}, False
        capture = "manual" if manual else "automatic"
        body = {"amount": amount, "currency": "KES", "capture": capture, "method": method}
        if style != "routed":
            body["provider"] = slug_of(style)
        self._send("authorize", "authorize", fault, **body)

    @initialize(style=st.sampled_from(sorted(GATEWAYS)), page=st.sampled_from([False, False, True]), manual=st.booleans())
    def first(self, style: str, page: bool, manual: bool) -> None:
        self.authorize(style, page, manual, AMOUNTS[-1], ())

    @precondition(lambda self: self.sent)
    @rule(which=picks, part=parts, final=st.sampled_from([None, True, False]), fault=faults("declined", "wrong_amount"))
    def capture(self, which: int, part: float | None, final: bool | None, fault: tuple[str, ...]) -> None:
        self._about(which, "capture", part, fault, final=final)

    @precondition(lambda self: self.sent)
    @rule(which=picks, part=parts, fault=faults("declined", "pending"))
    def refund(self, which: int, part: float | None, fault: tuple[str, ...]) -> None:
        self._about(which, "refund", part, fault)

    def _about(self, which: int, what: str, part: float | None, fault: tuple[str, ...], **more: Any) -> None:
        self.books.step += 1
        payment_id = self._payment(which, what)
        if payment_id:
            self._send(what, what, fault, payment=payment_id, amount=self._amount(payment_id, part), **more)

    @precondition(lambda self: self.sent)
    @rule(which=picks, what=st.sampled_from(["cancel", "cancel", "sync"]), fault=faults())
    def cancel_or_sync(self, which: int, what: str, fault: tuple[str, ...]) -> None:
        self.books.step += 1
        payment_id = self._payment(which, what)
        if payment_id:
            self._send(f"{payment_id}/{what}", "void", fault if what == "cancel" else ())

    @precondition(lambda self: self.sent)
    @rule(which=st.integers(0, 30))
    def repeat_a_request(self, which: int) -> None:
        self.books.step += 1
        recent = [request for request in self.sent if self.clock.moment - self.sent_at[request[2]] < KEPT]
        if recent:
            self._alive(lambda: self._post(*recent[-1 - which % len(recent)]))

    # --- gateways and payers

    @precondition(lambda self: self._pick(0, "approved", "waiting") and not self.books.faults["complete"])
    @rule(kind=st.sampled_from([*ANYWHERE, "declined"]))
    def completing_goes_wrong(self, kind: str) -> None:
        self.books.faults["complete"].append(kind)

    @precondition(lambda self: sum(len(self.books.faults[question]) for question in QUESTIONS) < 3)
    @rule(operation=st.sampled_from(QUESTIONS))
    def next_question_goes_wrong(self, operation: str) -> None:
        self.books.faults[operation].append("unreachable")

    @precondition(lambda self: self._pick(0, "waiting"))
    @rule(which=picks, pays=st.sampled_from([True, True, False]))
    def payer_acts(self, which: int, pays: bool) -> None:
        self.books.step += 1
        entry = self._pick(which, "waiting")
        assert entry is not None
        self.books.pay(entry) if pays else self.books.decline(entry)

    @precondition(lambda self: self.books.late)
    @rule()
    def late_requests_arrive(self) -> None:
        self.books.step += 1
        self.books.arrive()

    @precondition(lambda self: self.books.notices)
    @rule(which=picks, fate=st.sampled_from(["deliver", "deliver", "repeat", "lose"]))
    def callback(self, which: int, fate: str) -> None:
        """Delivered, delivered now and again later, or never: what the hub could not learn otherwise is always delivered."""
        self.books.step += 1
        notice = self.books.notices[which % len(self.books.notices)]
        if fate == "lose":
            payment = Payment.unscoped.filter(pk=notice.entry.payment_id).first()
            if payment is None or notice.from_dashboard or not (is_open(payment.status) or is_held(payment.status)):
                return
        if fate != "repeat":
            self.books.notices.remove(notice)
        if fate != "lose":
            self._deliver(notice)

    # --- people at the dashboard

    @precondition(lambda self: self._pick(0, "held", "taken"))
    @rule(which=picks, part=st.sampled_from([0.3, 1.0]), action=st.sampled_from(["capture", "release", "refund"]))
    def dashboard(self, which: int, part: float, action: str) -> None:
        self.books.step += 1
        entry = self._pick(which, "held", "taken")
        if entry is None or entry.style == "prompt":
            return
        if action == "refund":
            amount = int((entry.captured - entry.going_back - entry.disputed) * part)
            if amount > 0:
                self.books.refund(entry, amount, "", state="succeeded", from_dashboard=True)
        elif entry.state == "held" and action == "release":
            self.books.release(entry, from_dashboard=True)
        elif entry.state == "held":
            self.books.capture(entry, int(entry.capturable * part), "", final=part == 1.0, from_dashboard=True)

    @precondition(lambda self: any(entry.refunds for entry in self.books.entries))
    @rule(which=picks, fails=st.booleans())
    def refund_is_decided(self, which: int, fails: bool) -> None:
        """What was accepted is carried out, or fails; a card refund that succeeded may still fail, days later."""
        self.books.step += 1
        open_ones = [
            (entry, part)
            for entry in self.books.entries
            for part in entry.refunds
            if part.state == "processing" or (fails and part.state == "succeeded" and entry.style != "prompt")
        ]
        if open_ones:
            self.books.decide_refund(*open_ones[which % len(open_ones)], "failed" if fails else "succeeded")

    @precondition(lambda self: any(entry.state == "taken" and entry.style != "prompt" for entry in self.books.entries))
    @rule(which=picks, end=st.sampled_from(["won", "lost"]))
    def dispute(self, which: int, end: str) -> None:
        self.books.step += 1
        entry = self._pick(which, "taken")
        if entry is None or entry.style == "prompt":
            return
        left = entry.captured - entry.going_back
        if not entry.disputes and left > 0:
            entry.disputes.append(Part(self.books.name("dp"), left, state="needs_response", withdrawn=True))
        elif entry.disputes and entry.disputes[0].state != "lost":  # what was lost stays lost; what was won may be reopened
            entry.disputes[0].state, entry.disputes[0].withdrawn = end, end == "lost"
        self.books.notify(entry, from_dashboard=True)

    # --- time

    @rule(seconds=st.sampled_from([0, 10, 70, 130, 700, 4_000, 90_000]), works=st.sampled_from([True, True, True, False]))
    def time_passes(self, seconds: int, works: bool) -> None:
        self.books.step += 1
        self._pass(seconds)
        if works:
            self._alive(work_off)

    @invariant()
    def rows_and_books_hold(self) -> None:
        self.watch.always()
