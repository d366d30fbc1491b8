"""The world under fire: every batch is rolled back, so that each finds it as it was made."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.webhooks.fuzz.attack import Attack, Route, Sparing, attack
from tests.webhooks.fuzz.world import World, make_world

Fire = Callable[[Route, int], Attack]


@pytest.fixture
def world(registered: None) -> World:
    return make_world()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """No log lines: pytest would keep every one of them, and the test of memory would weigh these."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def fire(world: World, monkeypatch: pytest.MonkeyPatch) -> Fire:
    """`fire(route, requests)`: send them; nothing in any of them may make the hub call anywhere."""
    called: list[str] = []

    def refuse(host: Any, *_: Any, **__: Any) -> Any:
        called.append(str(host))
        raise OSError("no network here")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    sparing = Sparing(monkeypatch)

    def send(route: Route, requests: int) -> Attack:
        made = attack(route, world, sparing, requests)
        assert called == []
        return made

    return send
