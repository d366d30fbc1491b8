"""Fixtures of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations.providers.twilio.simulator import TwilioSimulator
from integrations.providers.twilio.tests.hub import START, Hub
from integrations.providers.twilio.tests.support import RecordingHttp
from integrations.simulators import ManualClock, running_simulators
from tests.simulators.support import Receiver


@pytest.fixture
def http() -> RecordingHttp:
    return RecordingHttp()


@pytest.fixture
def school(tmp_path: Path) -> Iterator[Hub]:
    clock = ManualClock(START)
    with Receiver() as hooks, running_simulators([TwilioSimulator], state_dir=tmp_path, clock=clock) as running:
        yield Hub(running, clock, hooks, running.simulator("twilio").accounts[0])
        assert running.violations == []


@pytest.fixture
def studio(school: Hub) -> Hub:
    return Hub(school.running, school.clock, school.hooks, school.running.simulator("twilio").accounts[1])
