"""Things that a simulator does later: webhooks to send, prompts to time out. Kept in the store, so they survive a restart."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import requests

from integrations.simulators.checks import check_callback
from integrations.simulators.clock import Clock
from integrations.simulators.store import Store
from integrations.simulators.wire import CallbackReply, Json

log = logging.getLogger("integrations.simulators")
WORKERS = 32
ANSWER_LIMIT = 64 * 1024
LONGEST_SLEEP = 0.5


class JobRunner(Protocol):
    """What the scheduler needs from a simulator."""

    @property
    def slug(self) -> str: ...

    def run_action(self, name: str, context: Json) -> None: ...

    def run_on_reply(self, name: str, context: Json, reply: CallbackReply | None) -> None: ...


class Scheduler:
    """Runs due jobs.

    A callback is claimed (committed as `begun`) before its first byte, and a begun callback is never sent again: like the
    real providers it arrives once or never. An action runs in the same transaction that marks it done: exactly once.
    """

    def __init__(self, store: Store, clock: Clock, violations: list[str]) -> None:
        self._store = store
        self._clock = clock
        self._violations = violations
        self._runners: dict[str, JobRunner] = {}
        self._wake = threading.Condition()
        self._signalled = False
        self._stopping = False
        self._queued: set[int] = set()
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="simulator-job")
        self._thread = threading.Thread(target=self._run, name="simulator-scheduler", daemon=True)
        clock.on_move(self._notify)

    def attach(self, runner: JobRunner) -> None:
        self._runners[runner.slug] = runner

    def start(self) -> None:
        """Settle what a killed predecessor left half done, then begin to run due jobs."""
        self._recover()
        self._thread.start()

    def stop(self) -> None:
        """Finish the jobs in hand and stop; jobs not begun stay for the next start."""
        self._stopping = True
        self._notify()
        self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def add_action(self, slug: str, name: str, context: Json, delay: float) -> int:
        """Run the simulator's action `name` in `delay` seconds; return the job id."""
        return self._add(slug, "action", name, delay, {"context": context}, "pending")

    def add_callback(
        self,
        slug: str,
        name: str,
        url: str,
        body: str,
        headers: Mapping[str, str],
        *,
        delay: float = 0.0,
        timeout: float = 10.0,
        on_reply: str = "",
        context: Json | None = None,
        state: str = "pending",
    ) -> int:
        """POST `body` to `url` in `delay` seconds; return the job id. `held` waits for `send_now`, `lost` for ever."""
        payload = {
            "method": "POST", "url": url, "body": body, "headers": dict(headers), "timeout": timeout, "on_reply": on_reply,
            "context": context or {},
        }  # fmt: skip
        return self._add(slug, "callback", name, delay, payload, state)

    def send_now(self, job_id: int) -> None:
        """Send a held callback in this thread and return when it was answered."""
        self._process(job_id)

    def jobs(self, slug: str | None = None, *, pending: bool = False, limit: int = 200) -> list[dict[str, Any]]:
        """Return the newest jobs, newest first, payload decoded."""
        where = "state = 'pending'" if pending else "1"
        values: list[Any] = []
        if slug is not None:
            where, values = where + " AND slug = ?", [slug]
        found = self._store.rows(f"SELECT * FROM jobs WHERE {where} ORDER BY id DESC LIMIT ?", *values, limit)  # noqa: S608
        for row in found:
            row["payload"] = json.loads(row["payload"])
        return found

    def _add(self, slug: str, kind: str, name: str, delay: float, payload: Json, state: str) -> int:
        job_id = self._store.insert(
            "INSERT INTO jobs (slug, kind, name, due, state, payload) VALUES (?, ?, ?, ?, ?, ?)",
            slug, kind, name, self._clock.now() + delay, state, json.dumps(payload),
        )  # fmt: skip
        self._notify()
        return job_id

    def _notify(self) -> None:
        with self._wake:
            self._signalled = True
            self._wake.notify_all()

    def _run(self) -> None:
        while not self._stopping:
            pause = self._submit_due()
            with self._wake:
                if not self._signalled:
                    self._wake.wait(pause)
                self._signalled = False

    def _submit_due(self) -> float:
        """Hand due jobs to the pool; return how long to sleep at most."""
        now = self._clock.now()
        due = self._store.rows("SELECT id FROM jobs WHERE state = 'pending' AND due <= ? ORDER BY due, id LIMIT 500", now)
        for row in due:
            with self._wake:
                known = row["id"] in self._queued
                self._queued.add(row["id"])
            if not known:
                self._pool.submit(self._process, row["id"])
        upcoming = self._store.rows("SELECT min(due) AS due FROM jobs WHERE state = 'pending' AND due > ?", now)[0]["due"]
        return LONGEST_SLEEP if upcoming is None else min(LONGEST_SLEEP, max(0.002, upcoming - now))

    def _recover(self) -> None:
        with self._store.transaction():
            self._store.execute("UPDATE jobs SET state = 'pending' WHERE state = 'held'")
            for row in self._store.rows("SELECT id, slug, payload FROM jobs WHERE state = 'begun'"):
                self._finish(row["id"], "interrupted", "the simulator died while sending; not sent again", None)
                self._replied(row["slug"], json.loads(row["payload"]), None)

    def _process(self, job_id: int) -> None:
        try:
            if not self._stopping:
                self._process_claimed(job_id)
        except Exception:
            log.exception("simulator job %s failed", job_id)
            self._finish(job_id, "failed", "see the simulator's log", None)
        finally:
            with self._wake:
                self._queued.discard(job_id)

    def _process_claimed(self, job_id: int) -> None:
        with self._store.transaction():
            found = self._store.rows("SELECT * FROM jobs WHERE id = ? AND state IN ('pending', 'held')", job_id)
            if not found:
                return
            job, payload = found[0], json.loads(found[0]["payload"])
            if job["kind"] == "action":
                self._finish(job_id, "done", "", None)
                self._runners[job["slug"]].run_action(job["name"], payload["context"])
                return
            self._store.execute("UPDATE jobs SET state = 'begun' WHERE id = ?", job_id)
        violation = check_callback(job["slug"], payload["method"], payload["url"], payload["headers"], payload["body"].encode())
        if violation:
            self._violations.append(violation)
            self._finish(job_id, "failed", violation, None)
            return
        reply, problem = self._send(payload)
        with self._store.transaction():
            self._finish(job_id, "done" if reply else "failed", problem, reply.status if reply else None)
            self._replied(job["slug"], payload, reply)

    def _send(self, payload: Json) -> tuple[CallbackReply | None, str]:
        # A fresh connection each time: a stale kept-alive one would eat the only delivery.
        with requests.Session() as session:
            session.trust_env = False
            try:
                answer = session.request(
                    payload["method"], payload["url"], data=payload["body"].encode(), headers=payload["headers"],
                    timeout=(5, payload["timeout"]), allow_redirects=False,
                )  # fmt: skip
            except (requests.RequestException, OSError) as error:
                return None, f"{type(error).__name__}: {error}"
        return CallbackReply(answer.status_code, answer.content[:ANSWER_LIMIT]), ""

    def _finish(self, job_id: int, state: str, outcome: str, status: int | None) -> None:
        self._store.execute(
            "UPDATE jobs SET state = ?, outcome = ?, status = ?, finished_at = ? WHERE id = ?",
            state, outcome[:2000], status, self._clock.now(), job_id,
        )  # fmt: skip

    def _replied(self, slug: str, payload: Json, reply: CallbackReply | None) -> None:
        if payload["on_reply"] and slug in self._runners:
            self._runners[slug].run_on_reply(payload["on_reply"], payload["context"], reply)
