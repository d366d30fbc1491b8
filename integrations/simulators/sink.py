"""A stand-in for a tenant's own system: takes the hub's outbound webhooks, verifies and shows them."""

from __future__ import annotations

import json
import time
from typing import Any

from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from integrations.simulators.clock import Clock, iso
from integrations.simulators.store import Store
from integrations.simulators.wire import Json, SimReply, SimRequest

FAILED = 500
BAD_SIGNATURE = 400


class Sinks:
    """Receivers by name; one exists as soon as it is posted to. Without a secret nothing is verified (`verified` null)."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def configure(self, name: str, data: Json) -> Json:
        """Set `secret`, `status`, `delay` (seconds) and `fail_times` (so many posts get a 500 first); what is left out stays.

        ValueError if a value is out of range or the secret is not a Standard Webhooks secret.
        """
        current = self.config(name)
        unknown = set(data) - set(current)
        if unknown:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        merged = {**current, **data}
        secret, status = str(merged["secret"]), int(merged["status"])
        delay, fail_times = float(merged["delay"]), int(merged["fail_times"])
        if secret:
            _check_secret(secret)
        if not 200 <= status <= 599 or not 0 <= delay <= 120 or fail_times < 0:
            raise ValueError("status is 200 to 599, delay 0 to 120 seconds, fail_times 0 or more")
        self._store.execute(
            "INSERT OR REPLACE INTO sinks (name, secret, status, delay, fail_times) VALUES (?, ?, ?, ?, ?)",
            name, secret, status, delay, fail_times,
        )  # fmt: skip
        return {**merged, "secret": "••••" if secret else ""}

    def config(self, name: str) -> Json:
        """Return the settings of a sink, defaults if it has none."""
        found = self._store.rows("SELECT secret, status, delay, fail_times FROM sinks WHERE name = ?", name)
        return found[0] if found else {"secret": "", "status": 200, "delay": 0.0, "fail_times": 0}

    def receive(self, name: str, request: SimRequest) -> SimReply:
        """Store a webhook and answer: 500 while `fail_times` lasts, 400 if the signature is wrong, else `status`."""
        with self._store.transaction():
            config = self.config(name)
            verified = _verified(config["secret"], request) if config["secret"] else None
            failing = config["fail_times"] > 0
            if failing:
                self._store.execute("UPDATE sinks SET fail_times = fail_times - 1 WHERE name = ?", name)
            status = FAILED if failing else BAD_SIGNATURE if verified is False else config["status"]
            self._store.insert(
                "INSERT INTO sink_events (name, at, method, headers, body, verified, answered) VALUES (?, ?, ?, ?, ?, ?, ?)",
                name, self._clock.now(), request.method, json.dumps(dict(request.headers.items())), request.text(),
                verified, status,
            )  # fmt: skip
        if config["delay"]:
            time.sleep(config["delay"])
        return SimReply.of_json({"received": status < 300}, status)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return what a sink received, oldest first: id, at, method, headers, body (text), json, verified, answered."""
        found = self._store.rows("SELECT * FROM sink_events WHERE name = ? ORDER BY id", name)
        return [
            {
                "id": row["id"],
                "at": iso(row["at"]),
                "method": row["method"],
                "headers": json.loads(row["headers"]),
                "body": row["body"],
                "json": _json_or_none(row["body"]),
                "verified": None if row["verified"] is None else bool(row["verified"]),
                "answered": row["answered"],
            }
            for row in found
        ]

    def clear(self, name: str) -> int:
        """Forget what a sink received; return how many there were."""
        return self._store.execute("DELETE FROM sink_events WHERE name = ?", name)

    def names(self) -> list[str]:
        sql = "SELECT name FROM sinks UNION SELECT name FROM sink_events ORDER BY name"
        return [row["name"] for row in self._store.rows(sql)]


def _check_secret(secret: str) -> None:
    try:
        Webhook(secret)
    except (ValueError, EmptyWebhookSecretError) as error:
        raise ValueError(f"not a Standard Webhooks secret: {error}") from error


def _verified(secret: str, request: SimRequest) -> bool:
    try:
        Webhook(secret).verify(request.body, dict(request.headers.items()), json_parse=False)
    except Exception:  # noqa: BLE001 - the library raises ValueError and others for malformed headers; all mean "not verified"
        return False
    return True


def _json_or_none(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
