"""The hub's clock: one function that everything asks, so that tests can stop and turn it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime


def _system() -> datetime:
    return datetime.now(UTC)


_source: Callable[[], datetime] = _system


def now() -> datetime:
    """Return the aware current time in UTC."""
    return _source()


def injected() -> datetime | None:
    """Return the time where somebody has set it, None where the system's clock is asked: what is exact across machines then
    takes the database's clock, which all of them share."""
    return None if _source is _system else _source()


@contextmanager
def stopped_at(moment: datetime | Callable[[], datetime]) -> Iterator[None]:
    """Within the block, `now()` answers `moment` (or what it returns); for tests."""
    global _source  # noqa: PLW0603 one clock for the whole process is the point
    before = _source
    _source = moment if callable(moment) else lambda: moment
    try:
        yield
    finally:
        _source = before
