"""Jobs that write down what the runtime tells them, and running things side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connection

from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import OutcomeUnknown, ProviderError
from integrations.models import Alert, QueueItem, QueueState
from integrations.runtime.jobs import Call, LocalJob, ProviderJob

SECRET = 'k3y/"geheim"+ä=&x'


def told(tenant_id: int) -> list[tuple[str, str]]:
    """Return what jobs were told and committed, as (what, detail), oldest first."""
    return list(
        Alert.objects.filter(tenant_id=tenant_id, kind__startswith="told:").order_by("pk").values_list("kind", "message")
    )


def _tell(item: QueueItem, what: str, detail: str) -> None:
    subject = f"{item.pk}:{Alert.objects.filter(tenant_id=item.tenant_id).count()}"
    Alert.objects.create(tenant_id=item.tenant_id, kind=f"told:{what}", subject=subject, message=detail)


class SampleJob(ProviderJob):
    """Makes the call that its item's payload names; its writes are alerts, so that a roll-back shows."""

    kind = "sample.call"
    max_attempts = 3
    on_unknown = QueueState.UNKNOWN

    def prepare(self, item: QueueItem) -> Call | None:
        operation = item.payload.get("operation", "act")
        if operation == "nothing":
            return None
        return Call(
            Capability.CRM,
            operation,
            (item.payload.get("value", "v"),),
            config_id=item.config_id,
            reference=("thing", "t1"),
            in_flight=item.payload.get("in_flight", False),
        )

    def succeeded(self, item: QueueItem, result: Any) -> None:
        _tell(item, "succeeded", str(result))
        if item.payload.get("break_on") == "succeeded":
            raise RuntimeError("bug in succeeded")

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        _tell(item, "failed", type(error).__name__)

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        _tell(item, "unknown", type(error).__name__)
        if item.payload.get("break_on") == "unknown":
            raise RuntimeError("bug in unknown")
        return self.on_unknown

    def gives_up(self, item: QueueItem, error: ProviderError) -> bool:
        return bool(item.payload.get("gives_up"))

    def waiting(self, item: QueueItem, error: ProviderError) -> None:
        _tell(item, "waiting", type(error).__name__)


class SampleLocalJob(LocalJob):
    """Writes one row, then does what `act` says."""

    kind = "sample.local"
    max_attempts = 2
    act: Callable[[QueueItem], None] | None = None

    def run(self, item: QueueItem) -> None:
        _tell(item, "ran", str(item.payload.get("value", "")))
        if self.act is not None:
            self.act(item)

    def failed(self, item: QueueItem, error: Exception) -> None:
        _tell(item, "failed", type(error).__name__)


def together(count: int, function: Callable[[int], Any]) -> list[Any]:
    """Run `function(0..count-1)` in threads that start at once, each with a connection of its own; return results and
    exceptions in order."""
    start = threading.Barrier(count)

    def one(number: int) -> Any:
        start.wait(60)
        try:
            return function(number)
        except Exception as error:  # noqa: BLE001 the caller looks at it
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def fresh(item: QueueItem) -> QueueItem:
    """Return the item as the database has it now."""
    found: QueueItem = QueueItem.unscoped.get(pk=item.pk)
    return found
