"""Jobs of the bench: one that does nothing, and one whose effect is a single exchange over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import OutcomeUnknown, ProviderError
from integrations.models import QueueItem, QueueState
from integrations.runtime import jobs
from tests.bench.receiver import mark_of

NOTHING = "bench.nothing"
EXCHANGE = "bench.exchange"


class NothingJob(jobs.LocalJob):
    """What the queue itself costs."""

    kind = NOTHING

    def run(self, item: QueueItem) -> None:
        return


class ExchangeJob(jobs.EffectJob):
    """One POST of `payload["mark"]` to `payload["url"]`, over a connection of its own."""

    kind = EXCHANGE

    def prepare(self, item: QueueItem) -> jobs.Call:
        return jobs.Call(Capability.SMS, "exchange")

    def perform(self, item: QueueItem, begin: Callable[[], None]) -> Any:
        import requests

        begin()
        mark = mark_of(item.payload["run"], item.payload["number"])
        return requests.post(item.payload["url"], json={"mark": mark}, timeout=10).status_code

    def succeeded(self, item: QueueItem, result: Any) -> None:
        return

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        return

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        return QueueState.NEEDS_REVIEW


def register() -> None:
    """Make the queue of this process know them."""
    jobs.register(NothingJob())
    jobs.register(ExchangeJob())
