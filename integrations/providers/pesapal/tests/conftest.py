"""Fixtures: two merchants of a running simulator, its clock moved by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations.providers.pesapal.simulator import PesapalSimulator
from integrations.providers.pesapal.tests.hub import START, Hooks, Hub
from integrations.simulators import ManualClock, running_simulators


@pytest.fixture
def school(tmp_path: Path) -> Iterator[Hub]:
    clock = ManualClock(START)
    with Hooks() as hooks, running_simulators([PesapalSimulator], state_dir=tmp_path, clock=clock) as running:
        hub = Hub(running, clock, hooks, running.simulator("pesapal").accounts[0])
        hub.control("PUT", "/accounts/school", {"webhook_url": f"{hooks.url}/hooks/{'ab' * 20}/ipn"})
        yield hub
        assert running.violations == []


@pytest.fixture
def studio(school: Hub) -> Hub:
    return Hub(school.running, school.clock, school.hooks, school.running.simulator("pesapal").accounts[1])
