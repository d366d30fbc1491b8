"""The least that a durable delivery loop does: what the hub's engine is held against. No Django in this process.

Claims in batches with SKIP LOCKED, HMAC signatures as in Standard Webhooks, aiohttp with kept-alive connections, and for
each attempt a committed row, stored in batches. What it leaves out is everything else: tenants, limits for each endpoint,
breakers, retries by schedule, masks, guarded addresses. One table of its own in the same database.

`python -m tests.bench.bare_loop <conninfo>` is a companion (see `companion.py`).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import secrets
import sys
import threading
import time
from typing import Any

import aiohttp
import psycopg

from tests.bench.companion import serve

CHANNEL = "bench_bare"
BATCH = 200
LEASE = "30 s"
GATHER = 0.002

SCHEMA = """
CREATE TABLE IF NOT EXISTS bench_bare (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, message text NOT NULL, url text NOT NULL, body text NOT NULL,
    state text NOT NULL DEFAULT 'pending', due_at timestamptz NOT NULL DEFAULT now(), attempts int NOT NULL DEFAULT 0,
    lease_until timestamptz, fence int NOT NULL DEFAULT 0, status int, finished_at timestamptz
);
CREATE INDEX IF NOT EXISTS bench_bare_due ON bench_bare (due_at) WHERE state = 'pending';
CREATE TABLE IF NOT EXISTS bench_bare_attempt (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, delivery bigint NOT NULL REFERENCES bench_bare (id) ON DELETE CASCADE,
    number int NOT NULL, started_at timestamptz NOT NULL, finished_at timestamptz NOT NULL, status int, error text NOT NULL
);
"""
INSERT = "INSERT INTO bench_bare (message, url, body) VALUES (%s, %s, %s)"

_CLAIM = f"""
UPDATE bench_bare d SET attempts = attempts + 1, fence = fence + 1, due_at = now() + interval '{LEASE}',
    lease_until = now() + interval '{LEASE}'
WHERE id IN (
    SELECT id FROM bench_bare WHERE state = 'pending' AND due_at <= now() ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
)
RETURNING id, message, url, body, attempts, fence
"""
_ATTEMPTS = """
INSERT INTO bench_bare_attempt (delivery, number, started_at, finished_at, status, error)
SELECT * FROM unnest(%s::bigint[], %s::int[], %s::timestamptz[], %s::timestamptz[], %s::int[], %s::text[])
"""
_SETTLE = """
UPDATE bench_bare d SET state = r.state, status = r.status, finished_at = now(), lease_until = NULL,
    due_at = CASE WHEN r.state = 'pending' THEN now() + interval '5 s' ELSE due_at END
FROM unnest(%s::bigint[], %s::int[], %s::text[], %s::int[]) AS r (id, fence, state, status)
WHERE d.id = r.id AND d.fence = r.fence
"""


class Loop:
    """One loop, on a thread of its own between `start` and `stop`."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._key = secrets.token_bytes(32)
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Event | None = None
        self._asyncio: asyncio.AbstractEventLoop | None = None

    def start(self, in_flight: int) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(in_flight, ready)), daemon=True)
        self._thread.start()
        ready.wait(20)

    def stop(self) -> None:
        if self._thread is not None and self._asyncio is not None and self._ended is not None:
            self._asyncio.call_soon_threadsafe(self._ended.set)
            self._thread.join(20)
            self._thread = None

    async def _run(self, in_flight: int, ready: threading.Event) -> None:
        self._asyncio, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self._wake, self._arrived = asyncio.Event(), asyncio.Event()
        self._held, self._outcomes = 0, []
        tasks: set[asyncio.Task[None]] = set()
        async with (
            await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True) as claiming,
            await psycopg.AsyncConnection.connect(self._conninfo) as settling,
            await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True) as listening,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)) as session,
        ):
            await listening.execute(f"LISTEN {CHANNEL}")
            helpers = [asyncio.create_task(each) for each in (self._listen(listening), self._settle(settling), self._end())]
            ready.set()
            while not self._ended.is_set():
                self._wake.clear()
                free = min(in_flight - self._held, BATCH)
                rows = await (await claiming.execute(_CLAIM, [free])).fetchall() if free > 0 else []
                self._held += len(rows)
                for row in rows:
                    task = asyncio.create_task(self._send(session, *row))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                if len(rows) < free or free <= 0:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), 1.0)
            for task in helpers:
                task.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def _end(self) -> None:
        assert self._ended is not None
        await self._ended.wait()
        self._wake.set()

    async def _listen(self, connection: psycopg.AsyncConnection[Any]) -> None:
        async for _notice in connection.notifies():
            self._wake.set()

    async def _send(
        self, session: aiohttp.ClientSession, id: int, message: str, url: str, body: str, number: int, fence: int
    ) -> None:
        began, status, error = time.time(), None, ""
        moment, raw = str(int(began)), body.encode()
        digest = hmac.new(self._key, b".".join((message.encode(), moment.encode(), raw)), hashlib.sha256).digest()
        headers = {
            "content-type": "application/json",
            "webhook-id": message,
            "webhook-timestamp": moment,
            "webhook-signature": "v1," + base64.b64encode(digest).decode(),
        }
        try:
            async with session.post(url, data=raw, headers=headers) as answer:
                await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as broken:
            error = repr(broken)
        self._outcomes.append((id, number, fence, began, time.time(), status, error))
        self._arrived.set()

    async def _settle(self, connection: psycopg.AsyncConnection[Any]) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if len(self._outcomes) < BATCH:
                await asyncio.sleep(GATHER)
            while batch := self._outcomes[:BATCH]:
                del self._outcomes[: len(batch)]
                ids, numbers, fences, began, ended, statuses, errors = (list(each) for each in zip(*batch, strict=True))
                states = ["delivered" if status is not None and status < 300 else "pending" for status in statuses]
                starts, ends = ([_moment(each) for each in times] for times in (began, ended))
                async with connection.transaction():
                    await connection.execute(_ATTEMPTS, [ids, numbers, starts, ends, statuses, errors])
                    await connection.execute(_SETTLE, [ids, fences, states, statuses])
                self._held -= len(batch)
                self._wake.set()


def _moment(seconds: float) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds % 1 * 1_000_000):06d}Z"


if __name__ == "__main__":
    loop = Loop(sys.argv[1])
    serve({"start": loop.start, "stop": loop.stop})
