"""Faults that a tester sets: which there are, and which one is next for an operation."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from integrations.simulators.store import Store
from integrations.simulators.wire import Json

REQUEST_FAULTS = {
    "delay": "act, then answer after `seconds` (default 5)",
    "error_500": "answer the provider's own 500 without acting",
    "error_429": "answer the provider's own 429 without acting, Retry-After if `retry_after` is set",
    "refuse": "close the connection before reading the body or acting",
    "drop_after_accept": "act, then close the connection without an answer",
    "error_500_after": "act, then answer the provider's own 500",
}
CALLBACK_FAULTS = {
    "lose_callback": "do not send the callback",
    "duplicate_callback": "send the callback twice",
    "delay_callback": "send the callback `seconds` later (default 10)",
    "early_callback": "settle at once; the callback is sent and answered before the response goes out",
    "wrong_amount": "the callback names another amount (one less; two if it was one)",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that fired. `seconds` and `retry_after` are None where the tester left them out."""

    fault: str
    seconds: float | None
    retry_after: int | None


class Faults:
    """The faults set for all simulators. `times` counts down at each use; -1 stays until cleared."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, slug: str, data: Json, known: Collection[str]) -> Json:
        """Set a fault from control data; return the row. ValueError if `data` is wrong or `fault` is not in `known`."""
        operation = str(data.get("operation") or "*")
        fault = str(data.get("fault") or "")
        if fault not in known:
            raise ValueError(f"unknown fault {fault!r}: one of {', '.join(sorted(known))}")
        times = int(data.get("times") or 1)
        if times < -1:
            raise ValueError("times is a positive number, or -1 for ever")
        seconds = float(data["seconds"]) if data.get("seconds") not in (None, "") else None
        if seconds is not None and not 0 <= seconds <= 600:
            raise ValueError("seconds is between 0 and 600")
        retry_after = int(data["retry_after"]) if data.get("retry_after") not in (None, "") else None
        number = self._store.insert(
            "INSERT INTO faults (slug, operation, fault, seconds, times, retry_after) VALUES (?, ?, ?, ?, ?, ?)",
            slug, operation, fault, seconds, times, retry_after,
        )  # fmt: skip
        return self._store.rows("SELECT * FROM faults WHERE id = ?", number)[0]

    def all(self, slug: str) -> list[dict[str, Any]]:
        return self._store.rows("SELECT * FROM faults WHERE slug = ? ORDER BY id", slug)

    def clear(self, slug: str) -> int:
        """Delete all faults of a simulator; return how many there were."""
        return self._store.execute("DELETE FROM faults WHERE slug = ?", slug)

    def take(self, slug: str, operations: Sequence[str], kinds: Collection[str]) -> Fault | None:
        """Return the oldest fault of these kinds for one of these operations (or `*`) and count it as used."""
        with self._store.transaction():
            for row in self.all(slug):
                if row["fault"] not in kinds or row["operation"] not in ("*", *operations):
                    continue
                if row["times"] == 1:
                    self._store.execute("DELETE FROM faults WHERE id = ?", row["id"])
                elif row["times"] > 1:
                    self._store.execute("UPDATE faults SET times = times - 1 WHERE id = ?", row["id"])
                return Fault(row["fault"], row["seconds"], row["retry_after"])
        return None
