"""Fixtures: the accounts of a running simulator, its clock moved by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations.providers.stripe.simulator import StripeSimulator
from integrations.providers.stripe.tests.hub import START, Hub
from integrations.providers.stripe.tests.support import RecordingHttp
from integrations.simulators import ManualClock, running_simulators
from tests.simulators.support import Receiver


@pytest.fixture
def http() -> RecordingHttp:
    return RecordingHttp()


@pytest.fixture
def school(tmp_path: Path) -> Iterator[Hub]:
    clock = ManualClock(START)
    with Receiver() as hooks, running_simulators([StripeSimulator], state_dir=tmp_path, clock=clock) as running:
        yield Hub(running, clock, hooks, running.simulator("stripe").accounts[0])
        assert running.violations == []


@pytest.fixture
def studio(school: Hub) -> Hub:
    return Hub(school.running, school.clock, school.hooks, school.running.simulator("stripe").accounts[1])
