"""The tenant's own systems: sinks that check signatures, keep books, and can be told to behave badly."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from standardwebhooks import Webhook

from tests.chaos.proxy import CuttingProxy
from tests.processes.sinks import Sink


@dataclass(frozen=True)
class Wanted:
    """One endpoint: which types it gets, whether in the order of each object, how long it takes to answer (seconds)."""

    name: str
    events: tuple[str, ...]
    in_order: bool = False
    slow: float = 0.0


WANTED = (
    Wanted("books", ("order.*", "payment.completed", "payment.failed")),
    Wanted("shop", ("order.created",)),
    Wanted("warehouse", ("order.paid",), slow=0.1),
    Wanted("stock", ("stock.changed",), in_order=True),
)
RETRY_DELAYS = [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 5.0, 5.0, 8.0, 8.0, 10.0, 10.0, 15.0, 15.0, 20.0, 20.0, 30.0, 30.0, 60.0, 60.0]


class Receiver(Sink):
    """A sink behind a proxy. `behave(status, delay)` is how it answers until `recover()`.

    Signatures are checked by the receivers' own library, but for the age of their time: we turn the sender's clock.
    """

    def __init__(self, wanted: Wanted, seed: int) -> None:
        self.wanted = wanted
        self._bad_status = 0
        self._bad_delay = 0.0
        rng = random.Random(seed)
        super().__init__(
            wanted.name,
            delay=lambda: self._bad_delay or (rng.uniform(0, wanted.slow) if wanted.slow else 0.0),
            status=lambda: self._bad_status or 200,
        )
        self.proxy = CuttingProxy(self._server.server_port)
        self.endpoint_id = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy.port}/{self.name}"

    def behave(self, status: int = 0, delay: float = 0.0) -> None:
        self._bad_status, self._bad_delay = status, delay

    def recover(self) -> None:
        self.behave()
        self.proxy.calm()

    def close(self) -> None:
        self.proxy.close()
        super().close()

    def _problem(self, body: bytes, headers: dict[str, str]) -> str:
        try:
            stamp = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
            right = Webhook(self.secret).sign(headers["webhook-id"], stamp, body.decode())
            if right not in headers["webhook-signature"].split():
                return f"wrong signature at {time.time():.0f}: {headers}"
        except (KeyError, ValueError) as error:
            return f"{error!r} for {headers}"
        return ""

    def taken(self) -> dict[str, int]:
        """Return how many copies of each event it took with a 2xx."""
        found: dict[str, int] = {}
        with self._lock:
            for copy in self.copies:
                if copy.status < 300:
                    found[copy.webhook_id] = found.get(copy.webhook_id, 0) + 1
        return found

    def order_taken(self) -> list[str]:
        """Return the events in the order in which each was taken first."""
        with self._lock:
            return list(dict.fromkeys(copy.webhook_id for copy in self.copies if copy.status < 300))
