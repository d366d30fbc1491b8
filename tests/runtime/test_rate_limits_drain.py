"""A real shift against a real limit: nothing is lost, nothing is faster than allowed, and nobody is looked at over and over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from integrations.contracts.provider import RateLimit
from integrations.models import QueueItem, QueueState
from tests.runtime.service import Service
from tests.runtime.support import fresh
from tests.runtime.test_draining import ended, shift, wait_until

pytestmark = pytest.mark.django_db(transaction=True)
Add = Callable[..., QueueItem]


def test_what_overflows_is_worked_off_at_the_rate(add: Add, provider: Any, service: Service) -> None:
    provider(rate_limit=RateLimit(rate=20, burst=5))
    items = [add() for _ in range(45)]
    begun = time.monotonic()
    with shift():
        wait_until(lambda: ended(*items))
    elapsed = time.monotonic() - begun
    found = [fresh(each) for each in items]
    assert {each.state for each in found} == {QueueState.COMPLETED}
    assert {each.attempts for each in found} == {1}
    assert len(service.received) == 45
    assert 5 + 20 * elapsed + 1 >= 45, "no more than the limit allows"
    assert sum(len(each.errors) for each in found) <= 3 * 40, "each was put off once or twice, not every second"
