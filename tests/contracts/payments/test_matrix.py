"""The capability matrix, cell by cell: what an account declares works, what it does not is refused before anything is sent."""

from __future__ import annotations

import json

import pytest

from integrations import registry
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import Conflict, UnsupportedOperation
from integrations.contracts.payment import PaymentState
from integrations.contracts.payment_features import GatewayOperation
from tests.contracts.payments.bench import Bench
from tests.contracts.payments.declared import WORKS
from tests.contracts.payments.drivers import DRIVERS, FULL, LESSER, Account, features_of
from tests.contracts.payments.flow import AMOUNT, Flow
from tests.contracts.payments.undeclared import CALLS

GATEWAYS = {each.slug: each for each in registry.providers_of(Capability.PAYMENT.value)}
CELLS = [(account, operation) for account in FULL for operation in GatewayOperation]
O = GatewayOperation  # noqa: E741


def name_of(value: object) -> str:
    return value.name if isinstance(value, Account) else str(value)


def test_every_installed_gateway_has_a_driver() -> None:
    assert set(DRIVERS) == set(GATEWAYS)
    assert {each.driver.slug for each in FULL} == set(GATEWAYS)


def test_the_matrix_is_covered_cell_by_cell() -> None:
    wanted = {(slug, operation.value) for slug in GATEWAYS for operation in GatewayOperation}
    assert {(account.driver.slug, operation.value) for account, operation in CELLS} == wanted
    assert len(CELLS) == len(wanted)
    assert set(WORKS) == set(GatewayOperation)
    assert set(CALLS) == set(GatewayOperation) - {O.AUTHORIZE, O.SYNC, O.DISPUTES}


@pytest.mark.parametrize("bench", FULL, ids=name_of, indirect=True)
def test_an_account_that_may_do_everything_declares_what_its_gateway_can(bench: Bench) -> None:
    assert bench.features.operations == features_of(bench.driver.slug).operations
    shown = bench.features.describe()["operations"]
    assert shown == {each.value: each.value in bench.features.operations for each in GatewayOperation}
    assert json.loads(json.dumps(shown)) == shown


@pytest.mark.parametrize(("bench", "operation"), CELLS, ids=name_of, indirect=["bench"])
def test_cell(bench: Bench, operation: GatewayOperation) -> None:
    if operation in bench.features.operations:
        WORKS[operation](bench)
    elif operation is O.DISPUTES:
        tells_of_no_disputes(bench)
    else:
        refused_unsent(bench, operation)


def tells_of_no_disputes(bench: Bench) -> None:
    """Who can't tell says so: an empty list would mean that there are none."""
    flow = Flow.of(bench).paid()
    assert flow.check(PaymentState.SUCCEEDED, captures=(AMOUNT,)).disputes is None


def refused_unsent(bench: Bench, operation: GatewayOperation) -> None:
    with pytest.raises(UnsupportedOperation):
        bench.features.check(operation)
    calls = CALLS[operation](bench)
    assert calls
    # Where one refund is all there ever is, a second one is in conflict with the first.
    kinds = (UnsupportedOperation, Conflict) if operation is O.MULTIPLE_REFUND else (UnsupportedOperation,)
    mark = bench.mark()
    for number, call in enumerate(calls):
        with pytest.raises(kinds) as caught:
            call()
        assert (number, caught.value.retryable) == (number, False)
        assert caught.value.message
    assert bench.since(mark) == []


@pytest.mark.parametrize("bench", LESSER, ids=name_of, indirect=True)
def test_an_account_that_lacks_something_says_so_and_refuses_it(bench: Bench) -> None:
    assert bench.features.operations == features_of(bench.driver.slug).operations - bench.account.lacks
    for operation in sorted(bench.account.lacks):
        refused_unsent(bench, operation)


@pytest.mark.parametrize("bench", LESSER, ids=name_of, indirect=True)
def test_an_account_that_lacks_something_does_the_rest(bench: Bench) -> None:
    WORKS[O.AUTHORIZE](bench)
    WORKS[O.SYNC](bench)
