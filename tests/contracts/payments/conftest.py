"""Fixtures: every payment gateway's simulator in one server, its clock moved by hand; accounts of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from integrations.contracts.capabilities import Capability
from integrations.registry import providers_of
from integrations.simulators import ManualClock, running_simulators
from tests.contracts.payments.bench import Bench
from tests.contracts.payments.drivers import Account
from tests.simulators.support import Receiver

START = 1_783_664_126.0  # 2026-07-10 09:15:26 in Nairobi


@pytest.fixture(scope="session")
def gateway_clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture(scope="session")
def gateways(tmp_path_factory: pytest.TempPathFactory, gateway_clock: ManualClock) -> Iterator[running_simulators]:
    """All payment simulators; one server for all tests, which tell their payments apart by id."""
    classes = [found for each in providers_of(Capability.PAYMENT.value) if (found := each.simulator_class()) is not None]
    with running_simulators(classes, state_dir=tmp_path_factory.mktemp("gateways"), clock=gateway_clock) as running:
        yield running


@pytest.fixture
def bench_of(gateways: running_simulators, gateway_clock: ManualClock) -> Iterator[Callable[[Account], Bench]]:
    """`bench_of(account)`: this account, ready for calls. Afterwards no answer of a simulator may have broken its API."""
    made: list[Bench] = []
    with Receiver() as hooks:

        def make(account: Account) -> Bench:
            bench = Bench(account, gateways, gateway_clock, hooks)
            account.driver.prepare(bench)
            made.append(bench)
            return bench

        yield make
        for bench in made:
            bench.own("DELETE", "faults")
    assert gateways.violations == []


@pytest.fixture
def bench(request: Any, bench_of: Callable[[Account], Bench]) -> Bench:
    """The account that the test is parametrised with (indirectly)."""
    return bench_of(request.param)
