"""Each gateway and each currency: what stands in the request, what comes back, and what is refused before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from integrations.contracts.errors import InvalidRequest, ProviderError
from integrations.contracts.money import Money
from integrations.contracts.payment import PaymentState, RefundState
from integrations.contracts.payment_features import GatewayOperation, MethodType
from tests.contracts.payments.amount_tables import (
    CAPTURES,
    CODES,
    CURRENCIES,
    DECLINED,
    INEXACT,
    PROMPTS,
    REFUNDS,
    REFUSED,
    SENT,
    Written,
)
from tests.contracts.payments.bench import Bench
from tests.contracts.payments.drivers import DRIVERS, FULL, Account
from tests.contracts.payments.flow import Flow
from tests.contracts.payments.outcomes import attempt

S = PaymentState
FULL_OF = {account.driver.slug: account for account in FULL}
PAIRS = [(account, currency) for account in FULL for currency in CURRENCIES]
Read = Callable[[Any], tuple[Any, str]]

# Where the amount and the currency stand in a request to start a payment.
AUTHORIZED: Mapping[str, Read] = {
    "stripe": lambda body: (body["amount"], body["currency"]),
    "paypal": lambda body: (
        body["purchase_units"][0]["amount"]["value"],
        body["purchase_units"][0]["amount"]["currency_code"],
    ),
    "flutterwave": lambda body: (body["amount"], body["currency"]),
    "pesapal": lambda body: (body["amount"], body["currency"]),
    "mpesa": lambda body: (body["Amount"], ""),
}
MOVED: Mapping[tuple[str, str], Callable[[Any], Any]] = {
    ("stripe", "capture"): lambda body: body["amount_to_capture"],
    ("stripe", "refund"): lambda body: body["amount"],
    ("paypal", "capture"): lambda body: body["amount"]["value"],
    ("paypal", "refund"): lambda body: body["amount"]["value"],
    ("flutterwave", "refund"): lambda body: body["amount"],
    ("pesapal", "refund"): lambda body: body["amount"],
    ("mpesa", "refund"): lambda body: body["Amount"],
}


def name_of(value: object) -> str:
    return value.name if isinstance(value, Account) else "-".join(value) if isinstance(value, tuple) else str(value)


def by_pair(pairs: Mapping[tuple[str, str], Any]) -> pytest.MarkDecorator:
    cases = [(FULL_OF[slug], currency, case) for (slug, currency), case in pairs.items()]
    ids = ["-".join(pair) for pair in pairs]
    return pytest.mark.parametrize(("bench", "currency", "case"), cases, ids=ids, indirect=["bench"])


def sent_by(bench: Bench, mark: int, operation: str) -> Any:
    """Return the body of the one request of this operation since `mark`."""
    wanted = bench.driver.fault_name(operation)
    (found,) = [each for each in bench.since(mark) if each["operation"] == wanted]
    return found["body"]


def starts(bench: Bench, minor: int, currency: str, written: str, *, method: MethodType | None = None) -> Flow:
    """Start a payment; the request names exactly this amount."""
    flow, mark = Flow.of(bench, method, money=Money(minor, currency)), bench.mark()
    flow.start()
    value, code = AUTHORIZED[bench.driver.slug](sent_by(bench, mark, "authorize"))
    assert (json.dumps(value), code) == (written, CODES[bench.driver.slug][currency])
    return flow


def refused(bench: Bench, minor: int, currency: str, attr: str, *, method: MethodType | None = None) -> None:
    flow, mark = Flow.of(bench, method, money=Money(minor, currency)), bench.mark()
    for call in (flow.start, lambda: type(bench.adapter()).check(flow.request, bench.view())):
        with pytest.raises(InvalidRequest) as caught:
            call()
        assert (minor, caught.value.attr) == (minor, attr)
    assert bench.since(mark) == []


def test_the_tables_cover_every_gateway_and_currency() -> None:
    assert set(SENT) == set(REFUSED) == set(CODES) == set(AUTHORIZED) == set(DRIVERS)
    assert len(PAIRS) == len(DRIVERS) * len(CURRENCIES)
    for slug, tables in SENT.items():
        assert set(tables) == set(REFUSED[slug]) == set(CODES[slug])
        assert set(tables) <= set(CURRENCIES)


@pytest.mark.parametrize(("bench", "currency"), PAIRS, ids=name_of, indirect=["bench"])
def test_what_is_written_comes_back_equal(bench: Bench, currency: str) -> None:
    """Or, where the gateway does not take the currency, nothing is written at all."""
    written = SENT[bench.driver.slug].get(currency)
    if written is None:
        assert currency not in bench.features.currencies
        for minor in (1, 100, 150_000):
            refused(bench, minor, currency, "currency")
        return
    if bench.driver.slug == "pesapal":
        bench.own("PUT", "settings", {"amount_ceiling": 10**13})
    for minor, text in written.items():
        flow = starts(bench, minor, currency, text)
        bench.driver.pay(flow)
        flow.finish()
        truth = flow.check(S.SUCCEEDED, captures=(minor,))
        assert (truth.asked, truth.captures) == (Money(minor, currency), (minor,))


@by_pair({(slug, currency): amounts for slug, table in REFUSED.items() for currency, amounts in table.items()})
def test_what_can_not_be_written_is_refused_unsent(bench: Bench, currency: str, case: tuple[int, ...]) -> None:
    assert case
    for minor in case:
        refused(bench, minor, currency, "amount")


@pytest.mark.parametrize(("bench", "currency"), PAIRS, ids=name_of, indirect=["bench"])
def test_the_matrix_shows_the_same_limits(bench: Bench, currency: str) -> None:
    written = SENT[bench.driver.slug].get(currency)
    rule = bench.features.currencies.get(currency)
    assert (rule is None) is (written is None)
    if rule is None or written is None:
        return
    declined = DECLINED.get((bench.driver.slug, currency), {})
    assert rule.minimum <= min([*written, *declined])
    config = bench.view()
    # M-Pesa's own limit is the account's (its config), and the matrix shows the most that an account may have.
    most = max(written) if config.get("stk_max") is None else 100 * 10_000_000
    assert rule.maximum == most
    assert all(minor % rule.step == 0 for minor in written)


@by_pair(DECLINED)
def test_what_the_gateway_finds_too_small_moves_nothing(bench: Bench, currency: str, case: Mapping[int, str]) -> None:
    for minor, code in case.items():
        flow = Flow.of(bench, money=Money(minor, currency))
        found = attempt(flow.start)
        assert not isinstance(found, ProviderError)
        assert found.failure is not None
        assert (found.state, found.failure.code) == (S.FAILED, code)
        assert flow.rows() == []


@by_pair(REFUNDS)
def test_a_refund_is_written_exactly(bench: Bench, currency: str, case: tuple[int, Written]) -> None:
    paid, written = case
    flow, gone = Flow.of(bench, money=Money(paid, currency)).paid(), ()
    for minor, text in written.items():
        mark = bench.mark()
        _asked, done = flow.refund(minor)
        assert json.dumps(MOVED[bench.driver.slug, "refund"](sent_by(bench, mark, "refund"))) == text
        assert (done.state, done.money) in [(RefundState.SUCCEEDED, each) for each in (Money(minor, currency), None)]
        gone = (*gone, minor)
        flow.check(S.SUCCEEDED, captures=(paid,), refunds=gone)


@by_pair(CAPTURES)
def test_a_capture_is_written_exactly(bench: Bench, currency: str, case: tuple[int, Written]) -> None:
    held, written = case
    flow, taken = Flow.of(bench, money=Money(held, currency), capture=False).paid(), ()
    for minor, text in written.items():
        mark = bench.mark()
        result = flow.capture(minor, final=False, captured=sum(taken))
        assert json.dumps(MOVED[bench.driver.slug, "capture"](sent_by(bench, mark, "capture"))) == text
        assert (result.state, result.money) == (RefundState.SUCCEEDED, Money(minor, currency))
        taken = (*taken, minor)
        flow.check(S.AUTHORIZED, captures=taken, held=held - sum(taken))


@by_pair(INEXACT)
def test_what_can_not_be_written_is_neither_refunded_nor_captured(bench: Bench, currency: str, case: tuple[int, int]) -> None:
    whole, minor = case
    paid = Flow.of(bench, money=Money(whole, currency)).paid()
    calls: list[Callable[[], object]] = [lambda: bench.adapter().refund(request)]
    request, before, mark = paid.refund_request(minor), paid.total(), bench.mark()
    if GatewayOperation.CAPTURE in bench.features.operations:
        held = Flow.of(bench, money=Money(whole, currency), capture=False).paid()
        mark = bench.mark()
        calls.append(lambda: held.capture(minor))
    for call in calls:
        with pytest.raises(InvalidRequest) as caught:
            call()
        assert caught.value.attr == "amount"
    assert bench.since(mark) == []
    assert paid.total() == before


@pytest.mark.parametrize("bench", [FULL_OF["flutterwave"]], ids=name_of, indirect=True)
def test_a_prompt_on_the_phone_asks_for_whole_shillings(bench: Bench) -> None:
    for minor, text in PROMPTS.items():
        flow = starts(bench, minor, "KES", text, method=MethodType.MOBILE_MONEY)
        bench.driver.pay(flow)
        flow.finish()
        flow.check(S.SUCCEEDED, captures=(minor,))
    for minor in (1, 1_050, 150_050):
        refused(bench, minor, "KES", "amount", method=MethodType.MOBILE_MONEY)
    for currency in ("UGX", "TZS", "NGN", "USD"):
        refused(bench, 150_000, currency, "currency", method=MethodType.MOBILE_MONEY)


@pytest.mark.parametrize(
    ("decimals", "written", "above"),
    [
        ("0", {1_000: '"1000"', 99_999_999: '"99999999"'}, 100_000_000),
        ("2", {1_000: '"100000"', 999_999: '"99999900"'}, 1_000_000),
    ],
)
def test_ugx_at_stripe_is_written_as_the_account_says(
    bench_of: Callable[[Account], Bench], decimals: str, written: Written, above: int
) -> None:
    # An account of its own: in books with UGX, the others would have to say how it is counted too.
    bench = bench_of(replace(FULL_OF["stripe"], config={"ugx_decimals": decimals}, demo="studio"))
    bench.own("PUT", "settings", {"ugx_decimals": int(decimals)})
    for minor, text in written.items():
        flow, mark = Flow.of(bench, money=Money(minor, "UGX")), bench.mark()
        flow.start()
        body = sent_by(bench, mark, "authorize")
        assert (json.dumps(body["amount"]), body["currency"]) == (text, "ugx")
        truth = flow.check(S.SUCCEEDED, captures=(minor,))
        assert truth.asked == Money(minor, "UGX")
    for minor in (0, above):
        refused(bench, minor, "UGX", "amount")


def test_the_largest_push_is_the_accounts(bench_of: Callable[[Account], Bench]) -> None:
    bench = bench_of(replace(FULL_OF["mpesa"], config={"stk_max": 1_000}))
    flow = starts(bench, 100_000, "KES", "1000")
    bench.driver.pay(flow)
    flow.check(S.SUCCEEDED, captures=(100_000,))
    refused(bench, 100_100, "KES", "amount")
