"""Fixtures: a recording HTTP port; the projects of a running simulator, its clock moved by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations.providers.fcm.simulator import FcmSimulator
from integrations.providers.fcm.tests.discovery import check_answer, check_request
from integrations.providers.fcm.tests.hub import Hub
from integrations.providers.fcm.tests.support import RecordingHttp
from integrations.simulators import ManualClock, SimReply, SimRequest, running_simulators
from integrations.simulators.checks import add_answer_check, remove_answer_check


@pytest.fixture
def http() -> RecordingHttp:
    return RecordingHttp()


def as_google_describes_it(_slug: str, request: SimRequest, reply: SimReply) -> None:
    """What is accepted must be described, and so must the answer."""
    if request.operation == "send" and reply.status == 200:
        check_request(json.loads(request.body))
        check_answer(json.loads(reply.body))


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder whose demo accounts have their keys: making these takes longest."""
    folder = tmp_path_factory.mktemp("fcm")
    FcmSimulator.demo_accounts(folder)
    return folder


@pytest.fixture
def school(keys: Path, tmp_path: Path) -> Iterator[Hub]:
    for name in ("seed", "fcm-keys.json"):
        (tmp_path / name).write_bytes((keys / name).read_bytes())
    add_answer_check(as_google_describes_it)
    try:
        clock = ManualClock()
        with running_simulators([FcmSimulator], state_dir=tmp_path, clock=clock) as running:
            yield Hub(running, clock, running.simulator("fcm").accounts[0])
            assert running.violations == []
    finally:
        remove_answer_check(as_google_describes_it)


@pytest.fixture
def studio(school: Hub) -> Hub:
    return Hub(school.running, school.clock, school.running.simulator("fcm").accounts[1])
