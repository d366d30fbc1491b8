"""Fixtures: a running counter simulator with a clock moved by hand, and a receiver for its callbacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations.simulators import ManualClock, running_simulators
from tests.simulators.counter import CounterSimulator
from tests.simulators.support import Receiver


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def running(tmp_path: Path, clock: ManualClock) -> Iterator[running_simulators]:
    with running_simulators([CounterSimulator], state_dir=tmp_path, clock=clock) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver
