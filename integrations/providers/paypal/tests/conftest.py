"""Fixtures: two merchants of a running simulator, its clock moved by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations.providers.paypal.simulator import PaypalSimulator
from integrations.providers.paypal.tests.hub import Hub
from integrations.simulators import ManualClock, running_simulators
from tests.simulators.support import Receiver


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a seed and certificates: making RSA keys for each test would take most of its time."""
    folder = tmp_path_factory.mktemp("paypal")
    PaypalSimulator.demo_accounts(folder)
    return folder


@pytest.fixture
def school(tmp_path: Path, certificates: Path) -> Iterator[Hub]:
    for path in certificates.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    clock = ManualClock(time.time())
    with Receiver() as hooks, running_simulators([PaypalSimulator], state_dir=tmp_path, clock=clock) as running:
        yield Hub(running, clock, hooks, running.simulator("paypal").accounts[0])
        assert running.violations == []


@pytest.fixture
def studio(school: Hub) -> Hub:
    """The merchant whose account may store payers."""
    return Hub(school.running, school.clock, school.hooks, school.running.simulator("paypal").accounts[1])
