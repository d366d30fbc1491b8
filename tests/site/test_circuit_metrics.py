"""Circuits on /metrics."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from integrations.contracts import clock
from integrations.models import BreakerState
from integrations_site.platform.metrics import HubCollector

pytestmark = pytest.mark.django_db


def lines() -> list[str]:
    registry = CollectorRegistry()
    registry.register(HubCollector())
    return [line for line in generate_latest(registry).decode().splitlines() if line.startswith("hub_circuits")]


def test_circuits_are_counted_by_provider_and_state() -> None:
    assert lines() == []
    for key, state, forced in (("a|1", "open", ""), ("a|2", "open", ""), ("b|1", "closed", "open"), ("b|2", "closed", "")):
        BreakerState.objects.create(
            key=key, provider=key[0], host="h", window_started_at=clock.now(), state=state, forced=forced
        )
    assert sorted(lines()) == [
        'hub_circuits{provider="a",state="open"} 2.0',
        'hub_circuits{provider="b",state="closed"} 1.0',
        'hub_circuits{provider="b",state="held_open"} 1.0',
    ]
