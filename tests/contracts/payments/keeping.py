"""What a gateway keeps and tells: stored payers, states, books, receipts, disputes; the same checks for all gateways."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from integrations.contracts.errors import OutcomeUnknown, ProviderError, UnsupportedOperation
from integrations.contracts.ids import new_id, new_token
from integrations.contracts.inbound import ReceiptReported
from integrations.contracts.payment import (
    DisputeState,
    PaymentState,
    ReceiptQuery,
    SetupRequest,
    SetupResult,
    StoredMethod,
    TransactionKind,
    TransactionsQuery,
)
from tests.contracts.payments.bench import Bench
from tests.contracts.payments.flow import AMOUNT, CANCEL, PAGE, RETURN, Flow
from tests.contracts.payments.outcomes import REFUSALS, attempt

S = PaymentState


def setup_request(bench: Bench) -> SetupRequest:
    setup, method = new_id("seti"), bench.driver.main
    return SetupRequest(
        setup, setup, method, token=bench.driver.card_token, customer_id="student-7", customer_name="Jane Doe",
        customer_email="jane@example.com", return_url=RETURN, cancel_url=CANCEL, page_url=PAGE, asked_at=bench.now(),
    )  # fmt: skip


def stored(bench: Bench) -> tuple[SetupRequest, SetupResult, StoredMethod]:
    """Store a payer; return what was asked, what the gateway said in the end, and the method."""
    request = setup_request(bench)
    begun = bench.adapter().setup(request)
    assert begun.provider_ref
    asked = replace(request, provider_ref=begun.provider_ref)
    if begun.state is S.REQUIRES_ACTION:
        assert begun.next_action is not None
        bench.driver.approve_setup(bench, begun)
        begun = bench.adapter().setup_status(asked)
    if begun.state is S.APPROVED:
        begun = bench.adapter().complete_setup(replace(asked, idempotency_key=f"{asked.idempotency_key}-complete"))
    assert (begun.state, begun.failure) == (S.SUCCEEDED, None)
    assert begun.stored is not None
    assert begun.stored.token
    return asked, begun, begun.stored


def setup(bench: Bench) -> None:
    """The same request again stores nobody twice; asking tells the same; a payer that is removed can't be charged."""
    asked, done, method = stored(bench)
    assert bench.adapter().setup(replace(asked, provider_ref="")).provider_ref == asked.provider_ref
    again = bench.adapter().setup_status(asked)
    assert (again.state, again.stored) == (S.SUCCEEDED, method)
    assert again.customer_ref == done.customer_ref == method.customer_ref
    bench.adapter().forget(method)
    bench.adapter().forget(method)
    flow = _off_session(bench, method)
    found = attempt(flow.start)
    assert isinstance(found, REFUSALS) if isinstance(found, ProviderError) else found.state is S.FAILED
    total = flow.total()
    assert (total["held"], total["captured"]) == (0, 0)


def _off_session(bench: Bench, method: StoredMethod) -> Flow:
    return Flow.of(bench, method.type, token=method.token, customer_ref=method.customer_ref, off_session=True)


def off_session(bench: Bench) -> None:
    """A stored payer is charged at once, without a page; the same key charges him once."""
    _asked, _done, method = stored(bench)
    flow = _off_session(bench, method)
    first = flow.start()
    assert (first.state, first.next_action) == (S.SUCCEEDED, None)
    assert flow.start().provider_ref == first.provider_ref
    flow.check(S.SUCCEEDED, captures=(AMOUNT,))
    second = _off_session(bench, method)
    assert second.start().provider_ref != first.provider_ref
    second.check(S.SUCCEEDED, captures=(AMOUNT,))


# --- asking


def sync(bench: Bench) -> None:
    """By the gateway's id and by ours alone; what the gateway never saw is never paid, failed or over."""
    flow = Flow.of(bench).paid()
    paid = flow.check(S.SUCCEEDED, captures=(AMOUNT,))
    by_ours = attempt(lambda: bench.adapter().payment_status(flow.query(provider_ref="", hold_ref="")))
    if isinstance(by_ours, ProviderError):
        assert (type(by_ours), bench.driver.search) == (UnsupportedOperation, "unsupported")
    else:
        assert by_ours.state is (S.SUCCEEDED if bench.driver.search == "found" else S.ABSENT)
        if bench.driver.search == "found":
            assert (by_ours.provider_ref, by_ours.money) == (flow.ref, paid.asked)
    never = Flow.of(bench)
    for ref in ("", bench.driver.unknown_ref):
        question = never.query(provider_ref=ref)
        found = attempt(lambda question=question: bench.adapter().payment_status(question))
        if isinstance(found, ProviderError):
            assert not isinstance(found, OutcomeUnknown)
        else:
            states = (S.ABSENT, S.UNKNOWN, S.PROCESSING, S.REQUIRES_ACTION, S.EXPIRED)
            assert found.state in (states if ref else (S.ABSENT,))
            assert (found.captures or (), found.receipt, found.money) == ((), "", None)


def transactions(bench: Bench) -> None:
    """The books have the payment and its refund once each, gross, in their span of time and in no other."""
    flow = Flow.of(bench).paid()
    asked, _done = flow.refund(40_000)
    span = (bench.now() - timedelta(hours=1), bench.now() + timedelta(hours=1))
    found, cursor, pages = [], "", 0
    while True:
        page = bench.adapter().transactions(TransactionsQuery(*span, cursor))
        found += [each for each in page.transactions if flow.id == each.payment_id or flow.ref in each.refs]
        assert all(span[0] <= each.occurred_at < span[1] for each in page.transactions)
        assert all(each.money.minor_units > 0 for each in page.transactions)
        cursor, pages = page.cursor, pages + 1
        if not cursor:
            break
        assert pages < 100
    lines = {each.kind: each for each in found}
    assert sorted(each.kind for each in found) == [TransactionKind.CHARGE, TransactionKind.REFUND]
    charge, back = lines[TransactionKind.CHARGE], lines[TransactionKind.REFUND]
    assert (charge.money, back.money) == (flow.money(AMOUNT), flow.money(40_000))
    assert {charge.payment_id, back.payment_id} == {flow.id}
    assert asked.provider_ref in back.refs
    if charge.fee is not None and charge.net is not None:
        assert charge.net.minor_units == charge.money.minor_units - charge.fee.minor_units
    earlier = TransactionsQuery(span[0] - timedelta(days=30), span[0] - timedelta(days=20))
    assert not [each for each in bench.adapter().transactions(earlier).transactions if each.payment_id == flow.id]


def receipt(bench: Bench) -> None:
    """A real receipt is confirmed with its amount, an invented one is refuted."""
    flow = Flow.of(bench).paid()
    for number, confirmed in ((flow.truth().receipt, True), ("ZZZ0000001", False)):
        token = new_token()
        asked = bench.adapter().receipt_status(ReceiptQuery(number, f"{bench.hooks.url}/hooks/{token}"))
        assert (asked.state, asked.receipt) == (S.PROCESSING, number)
        (told,) = bench.wait(lambda token=token: bench.events(token))
        assert isinstance(told, ReceiptReported)
        assert told.confirmed is confirmed
        assert told.receipt in ((number,) if confirmed else (number, ""))
        assert told.money == (flow.money(AMOUNT) if confirmed else None)


def disputes(bench: Bench) -> None:
    """A dispute takes the money away until it is won; how it stands is told with the payment."""
    for action, state, gone in (("dispute_won", DisputeState.WON, 0), ("dispute_lost", DisputeState.LOST, AMOUNT)):
        flow = Flow.of(bench).paid()
        assert flow.truth().disputes == ()
        bench.driver.dashboard(flow, "dispute")
        truth = flow.check(S.SUCCEEDED, captures=(AMOUNT,), disputed=AMOUNT)
        assert truth.disputes is not None
        (opened,) = truth.disputes
        assert (opened.money, opened.withdrawn) == (flow.money(AMOUNT), True)
        assert opened.state is DisputeState.NEEDS_RESPONSE
        bench.driver.dashboard(flow, action)
        truth = flow.check(S.SUCCEEDED, captures=(AMOUNT,), disputed=gone)
        assert truth.disputes is not None
        (closed,) = truth.disputes
        assert (closed.provider_ref, closed.state, closed.withdrawn) == (opened.provider_ref, state, gone > 0)
