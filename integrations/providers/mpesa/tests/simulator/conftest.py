"""Fixtures: the two organisations of a running simulator, its clock moved by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations.providers.mpesa.simulator import MpesaSimulator
from integrations.providers.mpesa.simulator.accounts import KEY_FILE
from integrations.providers.mpesa.tests.simulator.daraja import START, Daraja
from integrations.simulators import ManualClock, running_simulators
from tests.simulators.support import Receiver


@pytest.fixture(scope="session")
def key_pair(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One key pair for the session: making one takes longer than most tests here."""
    folder = tmp_path_factory.mktemp("keys")
    MpesaSimulator.demo_accounts(folder)
    return (folder / KEY_FILE).read_bytes()


@pytest.fixture
def school(tmp_path: Path, key_pair: bytes) -> Iterator[Daraja]:
    (tmp_path / KEY_FILE).write_bytes(key_pair)
    clock = ManualClock(START)
    with Receiver() as hooks, running_simulators([MpesaSimulator], state_dir=tmp_path, clock=clock) as running:
        yield Daraja(running, clock, hooks, running.simulator("mpesa").accounts[0])


@pytest.fixture
def studio(school: Daraja) -> Daraja:
    return Daraja(school.running, school.clock, school.hooks, school.simulator.accounts[1])
