"""`python -m tests.bench.engine_process`: a process that works a shift when told to, as a task worker of the hub does.

A companion (see `companion.py`). The shift's body is the one that is registered under its kind, with its default limits
unless told otherwise; between `start` and `stop` it is the only thing that this process does.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import django

from tests.bench.companion import serve

LONG = 3600.0


class Shift:
    """One shift, on a thread of its own between `start` and `stop`."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._broken: Exception | None = None

    def start(self, kind: str, limits: dict[str, Any] | None = None) -> None:
        """Work a shift of `kind`; `limits` changes some of the delivery engine's."""
        self._stop.clear()
        until, body = time.monotonic() + LONG, _body(kind, limits or {})
        self._broken = None

        def work() -> None:
            try:
                body(self._stop.is_set, until)
            except Exception as error:  # noqa: BLE001 told to the one who stops it
                self._broken = error

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the shift; raise what it broke with, if it did."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(30)
            self._thread = None
        if self._broken is not None:
            raise self._broken


def _body(kind: str, limits: dict[str, Any]) -> Callable[[Callable[[], bool], float], None]:
    from integrations.runtime import shifts
    from webhooks.outbound.delivery.engine import Engine, Limits

    if not limits:
        return shifts._bodies[kind]
    return lambda stop, until: asyncio.run(Engine(replace(Limits(), **limits)).run(stop, until))


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "integrations_site.settings.test")
    django.setup()
    from tests.bench import jobs

    jobs.register()
    shift = Shift()
    serve({"start": shift.start, "stop": shift.stop})
