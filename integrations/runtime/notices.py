"""Hearing of new work at once: a connection of its own that stays, and listens."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

import psycopg
import structlog
from django.db import connections

logger = structlog.get_logger(__name__)

PATIENCE = 0.5
"""Seconds after which an ended listener looks up."""


class Listener:
    """Calls `heard` for each notice on `channel`, and once whenever it has begun to listen (what came before was missed).

    `heard` is called in a thread of the listener's own. Where there is no connection, or a pooler in front of the database
    that passes no notices on, nothing is heard: whoever waits must look by itself from time to time.
    """

    def __init__(self, channel: str, heard: Callable[[], None]) -> None:
        self._channel = channel
        self._heard = heard
        self._ended = Event()
        self._thread = Thread(target=self._run, daemon=True, name=f"listen:{channel}")

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Stop listening; returns when the connection is closed, or soon after `PATIENCE`."""
        self._ended.set()
        self._thread.join(PATIENCE + 1)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._listen()
            except (psycopg.Error, OSError) as error:
                logger.warning("listening_failed", channel=self._channel, error=type(error).__name__)
                self._ended.wait(2.0)

    def _listen(self) -> None:
        parameters = connections["default"].get_connection_params()
        with psycopg.connect(**{**parameters, "autocommit": True}) as raw:
            raw.execute(f"LISTEN {self._channel}")
            self._heard()
            while not self._ended.is_set():
                for _notice in raw.notifies(timeout=PATIENCE):
                    self._heard()
                    if self._ended.is_set():
                        return
