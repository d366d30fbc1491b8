"""The whole hub at its gateways, with one clock for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from integrations import registry
from integrations.contracts.clock import stopped_at
from integrations.simulators import running_simulators
from tests.flows.conftest import School
from tests.flows.faults.clock import SharedClock
from tests.flows.faults.hub import Hub
from tests.flows.faults.lanes import LANES


@pytest.fixture
def shared_clock() -> Iterator[SharedClock]:
    clock = SharedClock()
    with stopped_at(clock):
        yield clock


@pytest.fixture
def simulators(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch, shared_clock: SharedClock
) -> Iterator[running_simulators]:
    """As the one for all tests, but its time is the hub's."""
    state_dir = tmp_path / "simulators"
    monkeypatch.setenv("SIMULATOR_STATE_DIR", str(state_dir))
    with running_simulators(registry.simulators(), state_dir=state_dir, clock=shared_clock) as running:
        settings.SIMULATOR_URL = running.url
        yield running


@pytest.fixture
def hub_at(
    school: School, simulators: running_simulators, shared_clock: SharedClock, live_server: Any, settings: Any
) -> Iterator[Callable[[str], Hub]]:
    """`hub_at(lane)`: the hub with an account at that lane's gateway, whose webhooks reach it."""

    def connect(lane: str) -> Hub:
        return Hub(school, simulators, shared_clock, LANES[lane], live_server.url, settings)

    yield connect
    connections.close_all()
    assert simulators.violations == []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The matrix of faults takes over a minute: it is whole in `make test-full`."""
    folder = Path(__file__).parent
    for item in items:
        if folder in item.path.parents:
            item.add_marker(pytest.mark.slow)
