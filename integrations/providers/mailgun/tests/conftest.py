"""Two demo accounts, a server that takes their webhooks, and time in the test's hands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations.providers.mailgun.simulator import MailgunSimulator
from integrations.providers.mailgun.tests.hub import START, Hub
from integrations.simulators import ManualClock, running_simulators
from tests.simulators.support import Receiver


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    clock = ManualClock(START)
    with (
        Receiver(answer=(200, b"{}")) as hooks,
        running_simulators([MailgunSimulator], state_dir=tmp_path, clock=clock) as running,
    ):
        accounts = {account.label: account for account in MailgunSimulator.demo_accounts(tmp_path)}
        yield Hub(running, clock, hooks, accounts["school"])
        assert running.violations == []
