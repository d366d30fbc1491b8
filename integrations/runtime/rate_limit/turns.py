"""One call's turn at an account: asked for before the call, held while it lasts, and what its answers say is learnt."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from integrations.contracts import clock
from integrations.contracts.adapter import ConfigView
from integrations.contracts.errors import ProviderError, RateLimited, Throttled
from integrations.contracts.provider import Provider, RateLimit
from integrations.http.client import Exchange, Recorder
from integrations.models import Alert, QueueItem
from integrations.runtime.alerts import raise_alert, resolve_alert
from integrations.runtime.claims import URGENT
from integrations.runtime.rate_limit import buckets, slots
from integrations.runtime.rate_limit.buckets import Standing
from integrations.runtime.rate_limit.headers import LONGEST, wait_asked
from integrations.runtime.rate_limit.limits import in_force
from integrations.runtime.recorder import best_effort

SHORTEST_PAUSE = 1.0
"""Seconds that nobody calls after a refusal that does not say for how long."""
MARGIN = 60.0
"""Seconds that a call may be busy with itself beside its exchange, before its place among those at once lapses."""
WARN_AT = 0.8


@dataclass(frozen=True, slots=True)
class Account:
    """Whose limits they are. The installation's account at a provider is one, whichever tenant calls."""

    view: ConfigView
    provider: Provider

    @property
    def key(self) -> str:
        return f"{self.provider.slug}|{'installation' if self.view.id is None else self.view.id}"

    @property
    def limit(self) -> RateLimit:
        return in_force(self.provider.rate_limit, self.view.limits)

    @property
    def words(self) -> str:
        """Which of them it is, for people; what waits for one is told from what waits for another by this."""
        return "the installation's account" if self.view.id is None else f"account {self.view.id}"

    @property
    def tenant_id(self) -> int | None:
        """Whom an alert about it is for; None: the installation."""
        return None if self.view.id is None else self.view.tenant_id


def enter(view: ConfigView, provider: Provider, operation: str, *, item: QueueItem | None = None) -> Turn:
    """Return the turn to make this call now. Raises `Throttled`: nothing was taken; `retry_after` is the seconds to the place
    in line that an `item` gets."""
    account = Account(view, provider)
    key, limit, standing = f"{account.key}|{operation}", account.limit, _standing(item)
    words = f"Waits for the rate limit of {provider.name} ({operation}, {account.words})"
    taken = buckets.take(key, account=account.key, limit=limit, standing=standing)
    if taken.wait is not None:
        wait = buckets.place(key, standing=standing, wait=taken.wait, rate=limit.rate, words=words)
        raise Throttled(f"{words}: {taken.why}." if taken.why else f"{words}.", provider=view.provider, retry_after=wait)
    turn = Turn(account, operation)
    if limit.concurrency is not None:
        ahead = f"{Standing.NEW}{account.key}" if standing is Standing.NEW else None
        turn.slot = slots.take(account.key, most=limit.concurrency, seconds=turn.seconds, ahead=ahead)
        if turn.slot is None:
            buckets.give_back(key, account=account.key, counted=taken.used is not None)
            # How long those calls take nobody knows: a second each is supposed.
            rate = float(limit.concurrency)
            wait = buckets.place(account.key, standing=standing, wait=1 / rate, rate=rate, words=words)
            text = f"{words}: {limit.concurrency} calls at once are under way."
            raise Throttled(text, provider=view.provider, retry_after=wait)
    if taken.used is not None and limit.daily is not None:
        best_effort(partial(_watch_the_day, account, taken.used, limit.daily), "quota_alert_not_raised")
    return turn


def _standing(item: QueueItem | None) -> Standing:
    if item is None:
        return Standing.ALONE
    # What was tried before is older than what is new, and stands in no line behind it.
    return Standing.AGAIN if item.priority <= URGENT or item.errors else Standing.NEW


class Turn:
    """A call that may be made. Use it as a context around the call: leaving gives back its place among those at once and keeps
    everybody away for as long as the answers asked for."""

    def __init__(self, account: Account, operation: str) -> None:
        self._account = account
        self._operation = operation
        connect, read = account.provider.timeout
        self.seconds = connect + 2 * read + MARGIN
        self.slot: int | None = None
        self._renewed = time.monotonic()
        self._asked = 0.0
        self._never = False
        self._last: Exchange | None = None

    def watching(self, recorder: Recorder) -> Recorder:
        """Return a recorder that hands everything on, and learns from it."""
        return _Watch(self, recorder)

    def begun(self) -> None:
        """An exchange begins: a call of many keeps its place."""
        slot = self.slot
        if slot is not None and time.monotonic() - self._renewed > self.seconds / 2:
            self._renewed = time.monotonic()
            best_effort(lambda: slots.renew(slot, seconds=self.seconds), "slot_not_renewed")

    def answered(self, exchange: Exchange) -> None:
        """Note what this answer asks for."""
        self._last, self._never = exchange, False
        if exchange.status_code is None:
            return
        headers = {name.lower(): value for name, value in exchange.response_headers.items()}
        special = self._account.provider.pause
        said = special(exchange.status_code, headers, exchange.response_body) if special is not None else None
        if said is None:
            said = wait_asked(exchange.status_code, headers, clock.now())
        elif said <= 0:
            self._never = True
        self._asked = max(self._asked, min(said or 0.0, LONGEST))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, ProviderError):
            self._judge(error)
        if self._asked > 0:
            best_effort(self._pause, "pause_not_noted")
        if self.slot is not None:
            slot, self.slot = self.slot, None
            best_effort(lambda: slots.release(slot), "slot_not_released")

    def _judge(self, error: ProviderError) -> None:
        """Take the adapter's word for how long a refusal lasts, and tell it to whoever is refused where it has none."""
        status = self._last.status_code if self._last is not None else None
        if not isinstance(error, RateLimited) or isinstance(error, Throttled) or self._never or not status or status < 400:
            return
        if error.retry_after is None and self._asked > 0:
            error.retry_after = self._asked
        self._asked = min(LONGEST, max(self._asked, error.retry_after or SHORTEST_PAUSE))

    def _pause(self) -> None:
        account = self._account
        key = f"{account.key}|{self._operation}"
        buckets.pause(key, seconds=self._asked, why="it asked for a pause", burst=account.limit.burst)


class _Watch:
    """Stands between the client and the log."""

    def __init__(self, turn: Turn, recorder: Recorder) -> None:
        self._turn = turn
        self._recorder = recorder

    def started(self, exchange: Exchange) -> None:
        self._turn.begun()
        self._recorder.started(exchange)

    def finished(self, exchange: Exchange) -> None:
        self._recorder.finished(exchange)
        self._turn.answered(exchange)


def _watch_the_day(account: Account, used: int, daily: int) -> None:
    """Tell a person when the day's calls are nearly used up, and when they are: each once, as each number is counted once."""
    subject = f"{account.provider.slug} {account.view.id or ''}".strip()
    if used == 1:
        resolve_alert(tenant_id=account.tenant_id, kind="daily_quota", subject=subject)
    for share, level in ((WARN_AT, Alert.Level.WARNING), (1.0, Alert.Level.CRITICAL)):
        if used == max(1, int(daily * share)):
            text = f"{account.provider.name}: {used:,} of {daily:,} calls of this day (UTC) are made."
            after = " What is left waits until midnight." if share == 1.0 else ""
            raise_alert(
                tenant_id=account.tenant_id, kind="daily_quota", subject=subject, message=text + after, level=level.value
            )
