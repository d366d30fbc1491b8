"""The spy on all dialling, closed settings, and a receiver that the tests may allow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.http.hostile.spy import Spy
from tests.http.hostile.targets import NAMES
from tests.webhooks.outbound.conftest import Receiver, receiver, school

__all__ = ["receiver", "school"]


@pytest.fixture(autouse=True)
def closed(settings: Any) -> None:
    """As in production, but for https: what is refused here is refused for its address."""
    settings.OUTBOUND_ALLOWED_NETWORKS = []
    settings.OUTBOUND_HTTPS_ONLY = False


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    made = Spy(monkeypatch)
    for host, answers in NAMES.items():
        made.name(host, *answers)
    return made


@pytest.fixture
def open_receiver(receiver: Receiver, spy: Spy, settings: Any) -> Callable[[], tuple[str, int]]:
    """Allow exactly the receiver's address, and let it be dialled; returns that address."""

    def allow() -> tuple[str, int]:
        settings.OUTBOUND_ALLOWED_NETWORKS = ["127.0.0.1/32"]
        address = ("127.0.0.1", int(receiver.url.rpartition(":")[2]))
        spy.allowed.add(address)
        return address

    return allow
