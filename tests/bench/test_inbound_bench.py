"""The inbound scenario, tiny, over real sockets and processes."""

from __future__ import annotations

import pytest

from integrations.models import QueueItem
from tests.bench.inbound import inbound
from webhooks.inbound.models import Receipt

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def test_inbound() -> None:
    results = inbound(seconds=0.4, connections=4, times=1)
    assert [each.name for each in results] == ["inbound_generic", "inbound_token"]
    for result in results:
        assert result.ratio > 0
        assert {each.figure for each in result.goals} == {"ratio", "hub_p99_ms"}
        assert all(value > 0 for value in result.figures.values())
    assert not Receipt.unscoped.exists(), "nothing is left for the scenarios that follow"
    assert not QueueItem.unscoped.exists()
