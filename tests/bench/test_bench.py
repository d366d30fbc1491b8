"""Every scenario once, tiny: that it runs and says what it measured. How fast it was is for `make bench`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench import scenarios
from tests.bench.receiver import ReceiverProcess
from tests.bench.scenarios import Result
from webhooks.outbound.models import Delivery, DeliveryAttempt, DeliveryState, Event

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def receiver() -> Iterator[ReceiverProcess]:
    with ReceiverProcess() as running:
        yield running


def sound(result: Result) -> None:
    assert result.ratio > 0
    assert result.figures
    assert all(value >= 0 for value in result.figures.values())
    assert set(result.row()) == {"name", "says", "ratio", "figures"}


def test_delivery(receiver: ReceiverProcess) -> None:
    result = scenarios.delivery(receiver.url, endpoints=3, events=4)
    sound(result)
    assert result.figures["posts"] == 12
    assert set(DeliveryAttempt.unscoped.values_list("status_code", flat=True)) == {200}
    assert DeliveryAttempt.unscoped.count() == 12


def test_isolation(receiver: ReceiverProcess) -> None:
    result = scenarios.isolation(receiver.url, others=2, events=3, waiting=5, seconds=30.0)
    sound(result)
    assert {name.partition("_")[0] for name in result.figures} == {"beside", "alone"}
    assert Delivery.unscoped.filter(state=DeliveryState.DELIVERED).count() == 6 * 2 * 3, "six runs of the healthy ones"
    waiting = Delivery.unscoped.exclude(state=DeliveryState.DELIVERED)
    assert waiting.count() == 3 * 5
    assert set(waiting.values_list("endpoint__url", flat=True)) == {f"{receiver.url}/slow/30.0"}


def test_publishing() -> None:
    results = scenarios.publishing(events=3)
    assert [each.name for each in results] == ["publish_0", "publish_1", "publish_10"]
    for result in results:
        sound(result)
    assert Event.unscoped.filter(type="payment.completed").count() == 9
    assert Delivery.unscoped.count() == 3 * 1 + 3 * 10
