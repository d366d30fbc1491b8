"""What must hold of the hub's rows at every moment, and what must hold in the end against the gateway's books."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from integrations.models import Alert, Tenant
from payments.models import Dispute, LedgerEntry, Operation, Payment, Status
from payments.transitions import TRANSITIONS, was_called_off
from tests.payments.property.books import Books
from webhooks.outbound.models import Event

_TOTALS = ("captured", "voided", "disputed", "refunded")
_LINE = ("id", "payment_id", "from_status", "to_status", *(f"amount_{name}" for name in _TOTALS))
HUMAN = (Status.NEEDS_REVIEW, Status.CONFLICTED)


@dataclass
class Rows:
    """All rows of the tenant, read at once."""

    payments: list[Payment]
    operations: list[Operation]
    disputes: list[Dispute]
    lines: list[dict[str, object]]

    @classmethod
    def of(cls, tenant: Tenant) -> Rows:
        return cls(
            list(Payment.unscoped.filter(tenant=tenant).order_by("created", "id")),
            list(Operation.unscoped.filter(tenant=tenant)),
            list(Dispute.unscoped.filter(tenant=tenant)),
            list(LedgerEntry.unscoped.filter(tenant=tenant).order_by("id").values(*_LINE)),
        )

    def total(self, payment: Payment, *kinds: str) -> int:
        mine = (each for each in self.operations if each.payment_id == payment.pk and each.kind in kinds)
        return sum(each.amount for each in mine if each.status == "succeeded")


@dataclass
class Watch:
    """Remembers what was seen before, for what may only grow."""

    tenant: Tenant
    books: Books
    lines: list[dict[str, object]] = field(default_factory=list)
    called_off_in: dict[str, int] = field(default_factory=dict)

    def always(self) -> Rows:
        rows = Rows.of(self.tenant)
        assert rows.lines[: len(self.lines)] == self.lines, "a ledger line was changed or removed"
        self.lines = rows.lines
        for payment in rows.payments:
            _totals(rows, payment)
            _ledger(rows, payment)
            self._called_off(payment)
        _gateway(self.books, rows)
        return rows

    def _called_off(self, payment: Payment) -> None:
        """A payment is not called off while the gateway already has money for it (money that comes later is another thing)."""
        if not was_called_off(payment.status):
            self.called_off_in.pop(payment.pk, None)
            return
        since = self.called_off_in.setdefault(payment.pk, self.books.step)
        for entry in self.books.of(payment.pk):
            assert entry.taken_in is None or entry.taken_in >= since, (
                f"{payment.pk} became {payment.status} in step {since}; {entry.ref} took money in step {entry.taken_in}"
            )


def _totals(rows: Rows, payment: Payment) -> None:
    captured = rows.total(payment, "capture", "incoming")
    if payment.capture == "automatic":
        captured += rows.total(payment, "authorize")
    mine = [each for each in rows.disputes if each.payment_id == payment.pk]
    expected = {
        "authorized": rows.total(payment, "authorize", "incoming"),
        "captured": captured,
        "voided": rows.total(payment, "void"),
        "refunded": rows.total(payment, "refund"),
        "disputed": sum(each.amount for each in mine if each.withdrawn),
    }
    assert {name: getattr(payment, f"amount_{name}") for name in expected} == expected, f"{payment.pk}: totals are not the sums"
    assert 0 <= payment.amount_refunded <= payment.amount_captured <= payment.amount_authorized <= payment.amount


def _ledger(rows: Rows, payment: Payment) -> None:
    before = ""
    for line in (each for each in rows.lines if each["payment_id"] == payment.pk):
        came, went = str(line["from_status"]), str(line["to_status"])
        assert came == before, f"{payment.pk}: the ledger goes from {came} where it was {before}"
        assert not came or came == went or Status(went) in TRANSITIONS[Status(came)], f"{payment.pk}: {came} to {went}"
        before, last = went, line
    assert before == payment.status, f"{payment.pk} is {payment.status}, its ledger ends with {before}"
    for name in _TOTALS:
        assert last[f"amount_{name}"] == getattr(payment, f"amount_{name}"), f"{payment.pk}: {name} changed without a line"


def _gateway(books: Books, rows: Rows) -> None:
    """Nothing is done twice at the gateway."""
    for payment in rows.payments:
        entries = books.of(payment.pk)
        alive = [entry.ref for entry in entries if entry.state != "failed"]
        assert len(alive) <= 1, f"{payment.pk} was asked for more than once: {alive}"
        for entry in entries:
            assert entry.captured <= entry.asked
            for parts in (entry.captures, entry.refunds):
                repeated = Counter(part.operation_id for part in parts if part.operation_id)
                assert max(repeated.values(), default=0) <= 1, f"{entry.ref}: done twice {repeated}"
            assert entry.refunded <= entry.captured


def in_the_end(tenant: Tenant, books: Books, rows: Rows) -> None:
    """Faults are over and time has passed: hub and gateway agree, or a person was called for a good reason."""
    alerts = set(Alert.objects.filter(tenant=tenant, resolved_at__isnull=True).values_list("subject", flat=True))
    completed = Counter(Event.unscoped.filter(tenant=tenant, type="payment.completed").values_list("object_id", flat=True))
    assert max(completed.values(), default=0) <= 1, completed
    known = {payment.pk for payment in rows.payments}
    assert all(entry.payment_id in known for entry in books.entries)
    for payment in rows.payments:
        mine = [each for each in rows.operations if each.payment_id == payment.pk]
        doubtful = [each for each in mine if each.status == "needs_review" and each.kind in ("capture", "refund")]
        if payment.status in HUMAN:
            assert payment.pk in alerts, f"{payment.pk} is {payment.status} and nobody was told"
            assert _excused(books, payment), f"{payment.pk} is {payment.status}: {payment.provider} could be asked"
            continue
        if doubtful:
            assert all(each.pk in alerts for each in doubtful), "an operation needs review and nobody was told"
            # A refund that the gateway does not know is for a person, by design: asking again can't tell that it won't come.
            known = {part.operation_id for entry in books.of(payment.pk) for part in entry.refunds + entry.captures}
            excused = _excused(books, payment) or not any(each.pk in known for each in doubtful)
            assert excused, f"{payment.pk}: {doubtful} could be asked about"
            continue
        assert payment.pk in completed or payment.status not in (Status.SUCCEEDED,), f"{payment.pk}: nobody was told"
        spoiled = payment.pk in books.spoiled and any(entry.captures for entry in books.of(payment.pk))
        assert not spoiled or payment.pk in alerts, f"{payment.pk}: nobody was told of the wrong amount"
        if spoiled and payment.provider == "model-prompt":
            continue  # it had said "paid" before it named an amount, and success is final
        _same_money(books, payment)
        assert payment.status not in (Status.UNKNOWN, Status.PROCESSING, Status.REQUIRES_ACTION), f"{payment.pk} is still open"
        waiting = [each for each in mine if each.status in ("pending", "unknown")]
        assert waiting == [], f"{payment.pk} is {payment.status}, undecided: {[(each.kind, each.status) for each in waiting]}"


def _excused(books: Books, payment: Payment) -> bool:
    """Only an amount that is not what was asked, a question that went wrong, or a gateway that can't be searched."""
    return books.unasked[payment.pk] >= 3 or payment.pk in books.spoiled or payment.provider == "model-prompt"


def _same_money(books: Books, payment: Payment) -> None:
    entries = books.of(payment.pk)
    theirs = {
        "captured": sum(entry.captured for entry in entries),
        "refunded": sum(entry.refunded for entry in entries),
        "disputed": sum(entry.disputed for entry in entries),
        "held": sum(entry.capturable for entry in entries),
    }
    ours = {
        "captured": payment.amount_captured,
        "refunded": payment.amount_refunded,
        "disputed": payment.amount_disputed,
        "held": payment.amount_capturable,
    }
    assert ours == theirs, f"{payment.pk} ({payment.status}): the hub has {ours}, the gateway {theirs}"
