"""What a queue item does is a job. Features register theirs when their app is ready; the queue knows them by `kind`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import OutcomeUnknown, ProviderError
from integrations.models import QueueItem, QueueState


@dataclass(frozen=True, slots=True)
class Call:
    """An adapter method and its arguments. With neither `config_id` nor `provider` the tenant's primary config serves it.

    `reference` is (type, id) of our object that it is about, `external_reference` the provider's id where already known.
    `in_flight`: it carries on what its account has begun, so it is made also while the account is switched off.
    """

    capability: Capability
    operation: str
    arguments: tuple[Any, ...] = field(default=(), repr=False)
    config_id: int | None = None
    provider: str | None = None
    reference: tuple[str, str] = ("", "")
    external_reference: str = ""
    in_flight: bool = False


class RetryLater(Exception):
    """A local job can't be done yet; run it again after `seconds`. Uses up an attempt."""

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(reason)
        self.seconds = seconds
        self.reason = reason


class ProviderJob(ABC):
    """A job that makes one call to a provider.

    `prepare` runs outside of any transaction; the other three run inside the transaction that settles the item, with the
    item's row locked: they lock their own row, apply the transition table, emit and enqueue; they never touch the network.
    """

    kind: str
    max_attempts: int = 8
    lease_seconds: float = 120.0
    """How long a claim lasts where nobody prolongs it: a shift does so while the thread that runs it lives."""
    longest_seconds: float = 180.0
    """How long a run may take, HUB_LONGEST_RUN at most; one that goes on for longer hangs, and its lease is not prolonged."""

    @abstractmethod
    def prepare(self, item: QueueItem) -> Call | None:
        """Return the call to make now; None where nothing is left to do and the item is done."""

    @abstractmethod
    def succeeded(self, item: QueueItem, result: Any) -> None:
        """Apply the adapter's result."""

    @abstractmethod
    def failed(self, item: QueueItem, error: ProviderError) -> None:
        """Apply the final failure: refused, attempts used up, or too late. Certainly nothing happened at the provider."""

    @abstractmethod
    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        """Apply "sent, and no answer". Return UNKNOWN where reconciling is under way, NEEDS_REVIEW where only a person can
        tell, COMPLETED where the truth came in another way meanwhile. The call is never made again."""

    def gives_up(self, item: QueueItem, error: ProviderError) -> bool:
        """Asked before a call is put off after an error that certainly had no effect: True ends it now, as failed. For a job
        that knows another way (the next gateway) and would rather not wait."""
        return False

    def waiting(self, item: QueueItem, error: ProviderError) -> None:
        """Told that the call was put off to `item.due_at`; nothing happened at the provider."""
        return


class EffectJob(ProviderJob):
    """A job whose effect is no provider's: mail through the installation's own server. Made at most once for certain, like
    any call; `prepare` returns a `Call` that only names it."""

    @abstractmethod
    def perform(self, item: QueueItem, begin: Callable[[], None]) -> Any:
        """Do it, outside of any transaction; call `begin` right before the first byte that may have an effect.

        Raise a `ProviderError` for what went wrong: `ProviderUnavailable` before the effect, `OutcomeUnknown` after it.
        """


class LocalJob(ABC):
    """A job without the network: its writes and the settling of the item commit together. While it runs it holds the lock on
    its item, which nobody recovers meanwhile. One that takes longer than HUB_LONGEST_RUN (200 s) may be ended with its
    process: work in parts."""

    kind: str
    max_attempts: int = 8
    lease_seconds: float = 60.0

    @abstractmethod
    def run(self, item: QueueItem) -> None:
        """Do it, inside a transaction. Raise `RetryLater` to put it off; any other exception is retried with back-off."""

    def failed(self, item: QueueItem, error: Exception) -> None:
        """Told, in a transaction of its own, that all attempts are used up."""
        return


Job = ProviderJob | LocalJob
_jobs: dict[str, Job] = {}


def register(job: Job) -> None:
    """Make the queue know `job`; raise ValueError where another class has its kind, and where a run may take longer than the
    process it runs in is left alone."""
    if isinstance(job, ProviderJob) and job.longest_seconds > settings.HUB_LONGEST_RUN:
        raise ValueError(f"longest_seconds of {job.kind!r} exceeds HUB_LONGEST_RUN, {settings.HUB_LONGEST_RUN} s")
    known = _jobs.get(job.kind)
    if known is not None and type(known) is not type(job):
        raise ValueError(f"two jobs have the kind {job.kind!r}")
    _jobs[job.kind] = job


def get(kind: str) -> Job:
    """Return the job; raise KeyError where the feature that knew it has gone."""
    return _jobs[kind]


def kinds() -> list[str]:
    return sorted(_jobs)
