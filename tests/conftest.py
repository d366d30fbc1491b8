"""Fixtures that tests of many features share. Tests that call a provider need `django_db(transaction=True)`: the client's
guard refuses the network inside a transaction, and no test switches it off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from integrations import registry
from integrations.contracts.clock import stopped_at
from integrations.models import Role, Tenant
from integrations.runtime import breaker
from integrations.runtime.worker import Outcome
from integrations.simulators import running_simulators
from tests import factories


@pytest.fixture(autouse=True)
def _no_circuit_is_known() -> None:
    """What the process remembers of circuits is of the test before."""
    breaker.MEMORY.forget()


@pytest.fixture
def clock() -> Iterator[factories.MovableClock]:
    """The hub's clock, standing at `factories.START` until `clock.advance(...)`."""
    movable = factories.MovableClock()
    with stopped_at(movable):
        yield movable


@pytest.fixture
def registered(db: None) -> None:
    """The provider rows of everything that is installed."""
    registry.sync_rows()


@pytest.fixture
def tenant(registered: None) -> Tenant:
    return factories.make_tenant("springfield-school", "Springfield School")


@pytest.fixture
def other_tenant(registered: None) -> Tenant:
    return factories.make_tenant("lens-and-light", "Lens & Light")


@pytest.fixture
def api() -> Callable[..., APIClient]:
    """`api(tenant, role="admin", scopes=None)`: a client with a fresh key."""
    return factories.make_client


@pytest.fixture
def admin_api(tenant: Tenant) -> APIClient:
    """A client with an admin key of `tenant`."""
    return factories.make_client(tenant)


@pytest.fixture
def staff_api(tenant: Tenant) -> APIClient:
    """A client with a staff key of `tenant`."""
    return factories.make_client(tenant, Role.STAFF)


@pytest.fixture
def simulators(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[running_simulators]:
    """All simulators on a free loopback port with a state of their own; `settings.SIMULATOR_URL` points there."""
    state_dir = tmp_path / "simulators"
    monkeypatch.setenv("SIMULATOR_STATE_DIR", str(state_dir))
    with running_simulators(registry.simulators(), state_dir=state_dir) as running:
        settings.SIMULATOR_URL = running.url
        yield running


@pytest.fixture
def work_off() -> Callable[..., list[Outcome]]:
    """See `factories.work_off`."""
    return factories.work_off
