"""A gateway acts and its answer is lost: the error says whether the same call may be made again, and the effect is there once.

`retryable` errors promise that repeating is harmless, so the call is repeated, with the same key; all others forbid it, so
the gateway is asked. Either way its books show one effect in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pytest

from integrations.contracts.errors import OutcomeUnknown, ProviderError, ProviderUnavailable, RateLimited, UnsupportedOperation
from integrations.contracts.ids import new_id
from integrations.contracts.payment import PaymentState, RefundState
from integrations.contracts.payment_features import GatewayOperation, MethodType
from tests.contracts.payments import keeping, moving
from tests.contracts.payments.bench import Bench
from tests.contracts.payments.drivers import DRIVERS, FULL, Account, features_of
from tests.contracts.payments.flow import AMOUNT, Flow
from tests.contracts.payments.outcomes import attempt

S = PaymentState


@dataclass(frozen=True)
class Step:
    """`call` (with the number of the try) is what the fault hits; `end` looks at what came of it, after everything."""

    call: Callable[[int], object]
    end: Callable[[], None]


def asked(bench: Bench, method: MethodType) -> Step:
    """However often the gateway was asked: what the payer can pay, he pays once."""
    flow = Flow.of(bench, method)

    def call(number: int) -> object:
        flow.known = bench.adapter().authorize(replace(flow.request, attempt=number))
        return flow.known

    def end() -> None:
        bench.driver.pay(flow)
        found = attempt(flow.finish)
        if isinstance(found, ProviderError):
            assert (type(found), bench.driver.search) == (UnsupportedOperation, "unsupported")
        else:
            assert (found.state, found.failure) == (S.SUCCEEDED, None)
        assert flow.total()["captured"] == AMOUNT

    return Step(call, end)


def complete(bench: Bench) -> Step:
    flow = Flow.of(bench)
    flow.start()
    bench.driver.pay(flow)

    def end() -> None:
        flow.check(S.SUCCEEDED, captures=(AMOUNT,))

    return Step(lambda _number: bench.adapter().complete(flow.completion()), end)


def capture(bench: Bench) -> Step:
    flow, key = moving.held(bench), new_id("op")

    def end() -> None:
        assert bench.adapter().capture_status(flow.capture_request(60_000, key=key)).state is RefundState.SUCCEEDED
        truth = flow.check(S.SUCCEEDED, captures=(60_000,))
        assert truth.capture_ids == (key,)

    return Step(lambda _number: flow.capture(60_000, key=key), end)


def void(bench: Bench) -> Step:
    flow, key = moving.held(bench), new_id("op")

    def end() -> None:
        flow.check(S.CANCELLED)

    return Step(lambda _number: flow.void(held=True, key=key), end)


def cancel(bench: Bench) -> Step:
    flow, key = Flow.of(bench, MethodType.REDIRECT), new_id("op")
    flow.start()

    def end() -> None:
        bench.own("POST", "payer", {"ref": flow.id, "action": "approve"}, status=400)
        assert flow.total()["captured"] == 0

    return Step(lambda _number: flow.void(held=False, key=key), end)


def refund(bench: Bench) -> Step:
    """One refund, found again by our own id, or known by nobody; never taken for failed."""
    flow = Flow.of(bench).paid()
    request = flow.refund_request(40_000)

    def end() -> None:
        found = attempt(lambda: bench.adapter().refund_status(request))
        if isinstance(found, ProviderError):
            assert type(found) is UnsupportedOperation
        else:
            # Who may have several refunds of one payment must tell ours from the others.
            several = GatewayOperation.MULTIPLE_REFUND in bench.features.operations
            assert found.state is (RefundState.SUCCEEDED if several else RefundState.UNKNOWN)
        bench.driver.settle_lost_refund(flow, request)
        assert flow.total() == {"asked": AMOUNT, "held": 0, "captured": AMOUNT, "refunded": 40_000, "disputed": 0}

    return Step(lambda _number: bench.adapter().refund(request), end)


def setup(bench: Bench) -> Step:
    request, before = keeping.setup_request(bench), bench.driver.setups(bench)

    def end() -> None:
        made = bench.adapter().setup(request)
        if made.state is S.REQUIRES_ACTION:
            bench.driver.approve_setup(bench, made)
        found = bench.adapter().setup_status(replace(request, provider_ref=made.provider_ref))
        assert found.state in (S.SUCCEEDED, S.APPROVED)
        assert bench.driver.setups(bench) == before + 1

    return Step(lambda _number: bench.adapter().setup(request), end)


def complete_setup(bench: Bench) -> Step:
    request = keeping.setup_request(bench)
    made = bench.adapter().setup(request)
    bench.driver.approve_setup(bench, made)
    asked = replace(request, provider_ref=made.provider_ref)

    def end() -> None:
        found = bench.adapter().setup_status(asked)
        assert (found.state, found.stored is not None) == (S.SUCCEEDED, True)

    return Step(lambda _number: bench.adapter().complete_setup(asked), end)


STEPS: Mapping[str, tuple[str, Callable[[Bench], Step]]] = {
    "card": ("authorize", lambda bench: asked(bench, MethodType.CARD)),
    "page": ("authorize", lambda bench: asked(bench, MethodType.REDIRECT)),
    "prompt": ("authorize", lambda bench: asked(bench, MethodType.MOBILE_MONEY)),
    "complete": ("complete", complete),
    "capture": ("capture", capture),
    "void": ("void", void),
    "cancel": ("void", cancel),
    "refund": ("refund", refund),
    "setup": ("setup", setup),
    "complete_setup": ("complete_setup", complete_setup),
}
"""Step -> (the operation that the fault hits, how it is made ready)."""

METHODS = {"card": MethodType.CARD, "page": MethodType.REDIRECT, "prompt": MethodType.MOBILE_MONEY}
SECOND_STEPS = ("complete", "complete_setup")


def has(account: Account, step: str) -> bool:
    """Tell whether this step exists at a gateway: by its declaration, second steps by whether its payers only approve."""
    features = features_of(account.driver.slug)
    if step in METHODS:
        return METHODS[step] in features.methods
    if step in SECOND_STEPS:
        return account.driver.completes
    return step in features.operations


CASES = [(account, step) for account in FULL for step in STEPS if has(account, step)]
each_case = pytest.mark.parametrize(
    ("bench", "step"), CASES, ids=[f"{account.name}-{step}" for account, step in CASES], indirect=["bench"]
)


@each_case
@pytest.mark.parametrize("fault", ["drop_after_accept", "error_500_after"])
def test_one_effect_though_the_answer_was_lost(bench: Bench, step: str, fault: str) -> None:
    operation, ready = STEPS[step]
    made = ready(bench)
    bench.fault(bench.driver.fault_name(operation), fault)
    with pytest.raises(ProviderError) as caught:
        made.call(1)
    assert isinstance(caught.value, OutcomeUnknown | ProviderUnavailable)
    assert caught.value.retryable is (step in bench.driver.repeatable)
    if caught.value.retryable:
        made.call(2)
    made.end()


@each_case
def test_who_is_too_busy_did_nothing_and_may_be_asked_again(bench: Bench, step: str) -> None:
    operation, ready = STEPS[step]
    made = ready(bench)
    bench.fault(bench.driver.fault_name(operation), "error_429")
    with pytest.raises(ProviderError) as caught:
        made.call(1)
    assert isinstance(caught.value, RateLimited | ProviderUnavailable)
    assert caught.value.retryable is True
    made.call(1)
    made.end()


def test_every_gateway_has_its_steps() -> None:
    assert {account.driver.slug for account, _step in CASES} == set(DRIVERS)
    for driver in DRIVERS.values():
        mine = {step for account, step in CASES if account.driver is driver}
        assert driver.repeatable <= mine
        assert "refund" in mine
        assert mine & set(METHODS)
