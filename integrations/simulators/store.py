"""All state of the simulators, in one SQLite file that survives a `kill -9` of the server."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from integrations.simulators.wire import Json

T = TypeVar("T", bound=int | float | str | bool)

SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (slug TEXT, name TEXT, value TEXT, PRIMARY KEY (slug, name));
CREATE TABLE IF NOT EXISTS documents (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, ref TEXT, data TEXT NOT NULL,
  UNIQUE (slug, kind, id));
CREATE INDEX IF NOT EXISTS documents_ref ON documents (slug, kind, ref);
CREATE TABLE IF NOT EXISTS faults (
  id INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT NOT NULL, operation TEXT NOT NULL, fault TEXT NOT NULL, seconds REAL,
  times INTEGER NOT NULL, retry_after INTEGER);
CREATE TABLE IF NOT EXISTS jobs (
  id INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, due REAL NOT NULL,
  state TEXT NOT NULL, payload TEXT NOT NULL, outcome TEXT NOT NULL DEFAULT '', status INTEGER, finished_at REAL);
CREATE INDEX IF NOT EXISTS jobs_due ON jobs (state, due);
CREATE TABLE IF NOT EXISTS requests (
  id INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT NOT NULL, at REAL NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL,
  operation TEXT NOT NULL, query TEXT NOT NULL, headers TEXT NOT NULL, body TEXT NOT NULL, status INTEGER, fault TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS inbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT NOT NULL, number TEXT NOT NULL, sender TEXT NOT NULL, text TEXT NOT NULL,
  message_id TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS inbox_number ON inbox (number);
CREATE TABLE IF NOT EXISTS sinks (
  name TEXT PRIMARY KEY, secret TEXT NOT NULL DEFAULT '', status INTEGER NOT NULL DEFAULT 200, delay REAL NOT NULL DEFAULT 0,
  fail_times INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS sink_events (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, at REAL NOT NULL, method TEXT NOT NULL, headers TEXT NOT NULL,
  body TEXT NOT NULL, verified INTEGER, answered INTEGER NOT NULL);
"""
WIPED_ALWAYS = ("faults", "jobs", "requests", "inbox", "sink_events")
REQUESTS_KEPT = 5000


@dataclass(frozen=True, slots=True)
class Document:
    """A stored JSON object: `ref` is a second, indexed key (a phone number, a conversation id)."""

    id: str
    ref: str | None
    data: Json


class Store:
    """One connection behind one lock, so every method is safe from any thread and every transaction is serial.

    WAL with `synchronous=NORMAL`: a commit survives the death of the process (a power cut may lose the newest ones).
    """

    synchronous: ClassVar[str] = "NORMAL"

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        state_dir.mkdir(parents=True, exist_ok=True)
        path = state_dir / "simulators.sqlite3"
        self._lock = threading.RLock()
        self._depth = 0
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.row_factory = sqlite3.Row
        self._db.execute(f"PRAGMA synchronous={self.synchronous}")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.executescript(f"BEGIN;{SCHEMA}COMMIT;")
        os.chmod(path, 0o600)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; an inner transaction is a savepoint. Never do anything slow inside: all others wait."""
        with self._lock:
            depth, self._depth = self._depth, self._depth + 1
            self._db.execute("BEGIN IMMEDIATE" if depth == 0 else f"SAVEPOINT s{depth}")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK" if depth == 0 else f"ROLLBACK TO s{depth}")
                raise
            else:
                self._db.execute("COMMIT" if depth == 0 else f"RELEASE s{depth}")
            finally:
                self._depth = depth

    def execute(self, sql: str, *values: Any) -> int:
        """Run a write; return the number of rows it touched."""
        with self._lock:
            return self._db.execute(sql, values).rowcount

    def insert(self, sql: str, *values: Any) -> int:
        """Run an insert; return the new row's id."""
        with self._lock:
            return int(self._db.execute(sql, values).lastrowid or 0)

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Run a read; return its rows as dictionaries."""
        with self._lock:
            return [dict(row) for row in self._db.execute(sql, values).fetchall()]

    # --- documents

    def put(self, slug: str, kind: str, id: str, data: Mapping[str, Any], ref: str | None = None) -> None:
        """Insert or replace a document; its place in the order of creation stays."""
        self.execute(
            "INSERT INTO documents (slug, kind, id, ref, data) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (slug, kind, id) DO UPDATE SET data = excluded.data, ref = excluded.ref",
            slug, kind, id, ref, json.dumps(data),
        )  # fmt: skip

    def get(self, slug: str, kind: str, id: str) -> Json | None:
        """Return a document's data, None if there is none."""
        found = self.rows("SELECT data FROM documents WHERE slug = ? AND kind = ? AND id = ?", slug, kind, id)
        return self._load(found[0]["data"]) if found else None

    def find(self, slug: str, kind: str, ref: str | None = None, limit: int = 200) -> list[Document]:
        """Return the newest documents of a kind, newest first, with this `ref` if one is given."""
        where, values = ("", []) if ref is None else (" AND ref = ?", [ref])
        found = self.rows(
            f"SELECT id, ref, data FROM documents WHERE slug = ? AND kind = ?{where} ORDER BY seq DESC LIMIT ?",  # noqa: S608
            slug, kind, *values, limit,
        )  # fmt: skip
        return [Document(row["id"], row["ref"], self._load(row["data"])) for row in found]

    def delete(self, slug: str, kind: str) -> int:
        """Delete all documents of a kind; return how many there were."""
        return self.execute("DELETE FROM documents WHERE slug = ? AND kind = ?", slug, kind)

    def refs(self, slug: str, kind: str) -> list[str]:
        """Return the distinct `ref` values of a kind."""
        sql = "SELECT ref FROM documents WHERE slug = ? AND kind = ? AND ref IS NOT NULL GROUP BY ref ORDER BY max(seq) DESC"
        return [row["ref"] for row in self.rows(sql, slug, kind)]

    # --- settings

    def setting(self, slug: str, name: str, default: T) -> T:
        """Return a setting, of the type of `default`."""
        found = self.rows("SELECT value FROM settings WHERE slug = ? AND name = ?", slug, name)
        return type(default)(json.loads(found[0]["value"])) if found else default

    def set_setting(self, slug: str, name: str, value: int | float | str | bool) -> None:
        self.execute("INSERT OR REPLACE INTO settings (slug, name, value) VALUES (?, ?, ?)", slug, name, json.dumps(value))

    # --- everything

    def reset(self, *, keep_setup: bool) -> None:
        """Wipe all state. With `keep_setup`, settings, sink registrations and documents of kind `setup` stay."""
        with self.transaction():
            for table in WIPED_ALWAYS:
                self.execute(f"DELETE FROM {table}")  # noqa: S608 - constant names
            if keep_setup:
                self.execute("DELETE FROM documents WHERE kind != 'setup'")
                self.execute("UPDATE sinks SET fail_times = 0")
            else:
                for table in ("documents", "settings", "sinks"):
                    self.execute(f"DELETE FROM {table}")  # noqa: S608 - constant names

    def _load(self, data: str) -> Json:
        value: Json = json.loads(data)
        return value
