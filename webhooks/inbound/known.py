"""Whose path it is, remembered by this process so that a request needs no look-up.

What is remembered may be out of date, so nothing is decided by it alone: the statement that stores a request also asks whether
config and way in are still the rows that were read and the tenant is active, and stores nothing where they aren't. Whatever
does not end in that statement (refusals, handshakes) is done once more with what the database says now. So a source that was
switched off, or a secret that was rotated out, is refused at once by every process.
"""

from __future__ import annotations

import threading
from dataclasses import replace

from django.conf import settings

from webhooks.inbound.locate import GENERIC, Owner

MOST = 2000
"""Paths that are remembered; beyond it the one that was learnt first is forgotten."""


class Stale(Exception):
    """What was remembered is not so any more, or does not suffice for this request."""


class _Memory:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owners: dict[str, tuple[str, Owner]] = {}

    def get(self, token: str) -> Owner | None:
        # Opened secrets are remembered too: they are readable as long as the keys are that opened them.
        keyring, owner = self._owners.get(token, ("", None))
        return owner if keyring == settings.ENCRYPTION_KEYS else None

    def put(self, token: str, owner: Owner) -> None:
        with self._lock:
            self._owners.pop(token, None)
            while len(self._owners) >= MOST:
                del self._owners[next(iter(self._owners))]
            self._owners[token] = settings.ENCRYPTION_KEYS, replace(owner, remembered=True)

    def drop(self, token: str) -> None:
        with self._lock:
            self._owners.pop(token, None)


_memory = _Memory()


def recall(token: str) -> Owner | None:
    """Return whom the path belonged to when it was last looked up, None where this process doesn't know it."""
    return _memory.get(token)


def remember(token: str, owner: Owner) -> None:
    """Remember an owner that was just read, if it is one that can be told from a later state of it."""
    if owner.read_as[1] if owner.provider == GENERIC else owner.read_as[0]:
        _memory.put(token, owner)


def forget(token: str) -> None:
    _memory.drop(token)
