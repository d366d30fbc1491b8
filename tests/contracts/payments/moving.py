"""What moves money, or holds and releases it: one check for each operation, the same for all gateways."""

from __future__ import annotations

from dataclasses import replace

from integrations.contracts.errors import ProviderError, UnsupportedOperation
from integrations.contracts.failures import VOCABULARY, Decision
from integrations.contracts.ids import new_id
from integrations.contracts.payment import ALREADY_REFUNDED, CaptureResult, PaymentState, RefundState
from integrations.contracts.payment_features import GatewayOperation, MethodType
from tests.contracts.payments.bench import Bench
from tests.contracts.payments.flow import AMOUNT, PAGE, Flow
from tests.contracts.payments.outcomes import REFUSALS, attempt

S = PaymentState


def authorize(bench: Bench) -> None:
    """Every way to pay that is declared brings the whole amount in once; a payer who says no pays nothing."""
    for method in sorted(bench.features.methods):
        _pays_once(bench, method)
        _declines(bench, method)


def _pays_once(bench: Bench, method: MethodType) -> None:
    flow = Flow.of(bench, method)
    first = flow.start()
    assert first.provider_ref
    if method is MethodType.CARD:
        assert first.state is S.SUCCEEDED
    else:
        assert first.state in (S.REQUIRES_ACTION, S.PROCESSING)
        assert flow.total()["captured"] == 0
        assert flow.ask().state in (S.REQUIRES_ACTION, S.PROCESSING, S.UNKNOWN)
    if method is MethodType.REDIRECT:
        assert first.next_action is not None
        assert str(first.next_action["url"]).startswith((bench.running.url, PAGE))
    bench.driver.pay(flow)
    flow.finish()
    truth = flow.check(S.SUCCEEDED, captures=(AMOUNT,))
    assert flow.ref == first.provider_ref
    assert flow.check(S.SUCCEEDED, captures=(AMOUNT,)) == truth, "asking again changes nothing"


def _declines(bench: Bench, method: MethodType) -> None:
    flow = Flow.of(bench, method, **({"token": bench.driver.declined_token} if method is MethodType.CARD else {}))
    found = flow.start()
    if method is not MethodType.CARD:
        bench.driver.decline(flow)
        found = flow.finish()
    assert found.state in (S.FAILED, S.CANCELLED, S.REQUIRES_ACTION)
    assert (found.captures or ()) == ()
    if found.state is not S.REQUIRES_ACTION:
        assert found.failure is not None
        assert found.failure.code in VOCABULARY
        assert found.failure.decision in (Decision.ASK_PAYER, Decision.NEVER)
    total = flow.total()
    assert (total["held"], total["captured"]) == (0, 0)


def held(bench: Bench) -> Flow:
    """Return a payment whose money is held, none of it taken."""
    flow = Flow.of(bench, capture=False).paid()
    truth = flow.check(S.AUTHORIZED, held=AMOUNT)
    assert truth.captures == ()
    return flow


def taken(result: CaptureResult, flow: Flow, minor: int) -> None:
    assert (result.state, result.money, result.failure) == (RefundState.SUCCEEDED, flow.money(minor), None)
    assert result.provider_ref


def capture(bench: Bench) -> None:
    flow, key = held(bench), new_id("op")
    taken(flow.capture(AMOUNT, key=key), flow, AMOUNT)
    truth = flow.check(S.SUCCEEDED, captures=(AMOUNT,))
    assert truth.capture_ids == (key,)
    taken(flow.capture(AMOUNT, key=key), flow, AMOUNT)
    taken(bench.adapter().capture_status(flow.capture_request(AMOUNT, key=key)), flow, AMOUNT)
    assert bench.adapter().capture_status(flow.capture_request(AMOUNT)).state is RefundState.UNKNOWN
    no_capture(flow, AMOUNT, captured=AMOUNT)
    flow.check(S.SUCCEEDED, captures=(AMOUNT,))


def no_capture(flow: Flow, minor: int, *, captured: int = 0) -> None:
    before = flow.total()
    result = attempt(lambda: flow.capture(minor, captured=captured))
    if isinstance(result, ProviderError):
        assert isinstance(result, REFUSALS)
    else:
        assert result.state is RefundState.FAILED
        assert result.failure is not None
        assert result.failure.code in VOCABULARY
    assert flow.total() == before


def partial_capture(bench: Bench) -> None:
    """The rest is released at once."""
    flow = held(bench)
    no_capture(flow, AMOUNT + 1)
    taken(flow.capture(60_000, final=True), flow, 60_000)
    flow.check(S.SUCCEEDED, captures=(60_000,))
    no_capture(flow, 40_000, captured=60_000)
    flow.check(S.SUCCEEDED, captures=(60_000,))


def multiple_capture(bench: Bench) -> None:
    flow = held(bench)
    first, second, third = (new_id("op") for _ in range(3))
    taken(flow.capture(30_000, final=False, key=first), flow, 30_000)
    flow.check(S.AUTHORIZED, captures=(30_000,), held=70_000)
    taken(flow.capture(30_000, final=False, key=first), flow, 30_000)
    flow.check(S.AUTHORIZED, captures=(30_000,), held=70_000)
    taken(flow.capture(25_000, final=False, key=second, captured=30_000), flow, 25_000)
    flow.check(S.AUTHORIZED, captures=(25_000, 30_000), held=45_000)
    no_capture(flow, 45_001, captured=55_000)
    taken(flow.capture(45_000, final=True, key=third, captured=55_000), flow, 45_000)
    truth = flow.check(S.SUCCEEDED, captures=(25_000, 30_000, 45_000))
    assert set(truth.capture_ids) == {first, second, third}
    for key, minor in ((first, 30_000), (second, 25_000), (third, 45_000)):
        taken(bench.adapter().capture_status(flow.capture_request(minor, key=key)), flow, minor)


def void(bench: Bench) -> None:
    """A hold is released, whoever asks how often; what was taken stays taken, and the answer says so."""
    flow, key = held(bench), new_id("op")
    assert flow.void(held=True, key=key).state is S.CANCELLED
    flow.check(S.CANCELLED)
    assert flow.void(held=True, key=key).state is S.CANCELLED
    assert flow.void(held=True).state is S.CANCELLED
    no_capture(flow, AMOUNT)
    flow.check(S.CANCELLED)
    late = held(bench)
    taken(late.capture(AMOUNT), late, AMOUNT)
    assert late.void(held=True).state is S.SUCCEEDED
    late.check(S.SUCCEEDED, captures=(AMOUNT,))


def cancel(bench: Bench) -> None:
    """An unpaid request is called off: then nobody can pay it. What is paid stays paid, and the answer says so."""
    flow, key = Flow.of(bench, MethodType.REDIRECT), new_id("op")
    flow.start()
    assert flow.void(held=False, key=key).state is S.CANCELLED
    assert flow.void(held=False, key=key).state is S.CANCELLED
    assert flow.void(held=False).state is S.CANCELLED
    bench.own("POST", "payer", {"ref": flow.id, "action": "approve"}, status=400)
    assert flow.total()["captured"] == 0
    if bench.driver.tells_cancelled:
        assert flow.ask().state is S.CANCELLED
    late = Flow.of(bench, MethodType.REDIRECT).paid()
    assert late.void(held=False).state is S.SUCCEEDED
    late.check(S.SUCCEEDED, captures=(AMOUNT,))


def refund(bench: Bench) -> None:
    flow = Flow.of(bench).paid()
    no_refund(flow, AMOUNT + 100)
    asked, done = flow.refund(AMOUNT)
    assert (done.state, done.failure) == (RefundState.SUCCEEDED, None)
    assert done.money in (flow.money(AMOUNT), None)
    truth = flow.check(S.SUCCEEDED, captures=(AMOUNT,), refunds=(AMOUNT,))
    assert truth.refund_ids in ((asked.refund_id,), ("",), ())
    no_refund(flow, AMOUNT)
    flow.check(S.SUCCEEDED, captures=(AMOUNT,), refunds=(AMOUNT,))
    never = flow.refund_request(100)
    found = attempt(lambda: bench.adapter().refund_status(never))
    if isinstance(found, ProviderError):
        assert isinstance(found, UnsupportedOperation)
    elif bench.features.operations >= {GatewayOperation.MULTIPLE_REFUND}:
        assert found.state is RefundState.UNKNOWN, "a refund that was never asked for is nobody's"


def no_refund(flow: Flow, minor: int) -> None:
    """A refund that can't be is refused in a way that the hub understands, and nothing changes."""
    before = flow.total()
    request = flow.refund_request(minor)
    first = attempt(lambda: flow.bench.adapter().refund(request))
    if isinstance(first, ProviderError):
        assert isinstance(first, REFUSALS)
    else:
        waiting = first.state is RefundState.PROCESSING
        asked = replace(request, provider_ref=first.provider_ref)
        result = flow.bench.driver.refunded(flow, asked, first) if waiting else first
        assert result.failure is not None
        assert result.failure.code in VOCABULARY
        assert result.state is RefundState.FAILED or result.failure.code == ALREADY_REFUNDED
    assert flow.total() == before


def partial_refund(bench: Bench) -> None:
    flow = Flow.of(bench).paid()
    _asked, done = flow.refund(40_000)
    assert (done.state, done.failure) == (RefundState.SUCCEEDED, None)
    assert done.money in (flow.money(40_000), None)
    flow.check(S.SUCCEEDED, captures=(AMOUNT,), refunds=(40_000,))
    no_refund(flow, 60_100)
    flow.check(S.SUCCEEDED, captures=(AMOUNT,), refunds=(40_000,))


def multiple_refund(bench: Bench) -> None:
    flow = Flow.of(bench).paid()
    gone: tuple[int, ...] = ()
    for minor in (40_000, 35_000, 25_000):
        asked, done = flow.refund(minor)
        assert (done.state, done.failure) == (RefundState.SUCCEEDED, None)
        gone += (minor,)
        truth = flow.check(S.SUCCEEDED, captures=(AMOUNT,), refunds=gone)
        assert asked.refund_id in truth.refund_ids
        if sum(gone) < AMOUNT:
            no_refund(flow, AMOUNT - sum(gone) + 100)
    assert len({each.provider_ref for each in flow.refunds}) == 3
    no_refund(flow, 100)
    flow.check(S.SUCCEEDED, captures=(AMOUNT,), refunds=gone)
