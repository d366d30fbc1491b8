"""PostgreSQL ends what runs away: statements, waits for locks, transactions that nobody goes on with."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.db import connection

from integrations.runtime import jobs
from integrations_site.settings import base
from tests.runtime.support import SampleJob

NAMES = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


def options(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name in ("HUB_WEB", "HUB_GROUP", "DATABASE_PGBOUNCER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found: str = base._database()["OPTIONS"].get("options", "")
    return found


@pytest.mark.parametrize(
    ("role", "milliseconds"),
    [({"HUB_WEB": "1"}, (30_000, 10_000, 60_000)), ({"HUB_GROUP": "g1"}, (120_000, 30_000, 300_000))],
)
def test_each_role_has_its_limits(monkeypatch: pytest.MonkeyPatch, role: dict[str, str], milliseconds: Any) -> None:
    wanted = " ".join(f"-c {name}={value}" for name, value in zip(NAMES, milliseconds, strict=True))
    assert options(monkeypatch, **role) == wanted


def test_commands_have_none_unless_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options(monkeypatch) == ""
    assert options(monkeypatch, DATABASE_LOCK_TIMEOUT="1.5") == "-c lock_timeout=1500"


def test_options_of_the_address_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgres://hub@127.0.0.1/hub?options=-c%20search_path%3Dhub"
    assert options(monkeypatch, DATABASE_URL=url, DATABASE_LOCK_TIMEOUT="1") == "-c search_path=hub -c lock_timeout=1000"


def test_a_pooler_is_not_sent_what_it_would_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options(monkeypatch, HUB_WEB="1", DATABASE_PGBOUNCER="true") == ""


def test_a_limit_may_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "statement_timeout" not in options(monkeypatch, HUB_WEB="1", DATABASE_STATEMENT_TIMEOUT="0")


@pytest.mark.django_db
def test_a_runaway_statement_ends_and_the_connection_stays_good(monkeypatch: pytest.MonkeyPatch) -> None:
    given = options(monkeypatch, HUB_GROUP="g1", DATABASE_STATEMENT_TIMEOUT="0.2")
    parameters = {**connection.get_connection_params(), "options": given, "autocommit": True}
    with psycopg.connect(**parameters) as raw:
        with pytest.raises(psycopg.errors.QueryCanceled):
            raw.execute("SELECT count(*) FROM generate_series(1, 1000000000)")
        assert raw.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.django_db
def test_django_connects_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    own = connection.copy()
    own.settings_dict["OPTIONS"]["options"] = options(monkeypatch, HUB_GROUP="g1")
    said = []
    try:
        with own.cursor() as cursor:
            for name in NAMES:
                cursor.execute(f"SHOW {name}")
                said.append(cursor.fetchone()[0])
    finally:
        own.close()
    assert said == ["2min", "30s", "5min"]


def test_the_longest_run_fits_into_what_the_task_engine_allows(settings: Any) -> None:
    """One that begins when its shift ends, and takes as long as it may, is over before the engine ends its process."""
    known = [jobs.get(kind) for kind in jobs.kinds()]
    longest = max(getattr(job, "longest_seconds", 0.0) for job in known)
    # A slow mail server may hold one call for two and a half minutes.
    assert 150 <= longest <= settings.HUB_LONGEST_RUN
    assert settings.HUB_SHIFT_SECONDS + settings.HUB_LONGEST_RUN < settings.Q_CLUSTER["timeout"] < settings.Q_CLUSTER["retry"]


def test_a_job_that_may_take_longer_is_refused(settings: Any) -> None:
    job = SampleJob()
    job.kind = "sample.endless"
    job.longest_seconds = settings.HUB_LONGEST_RUN + 1
    with pytest.raises(ValueError, match=r"longest_seconds of 'sample\.endless'"):
        jobs.register(job)
    assert "sample.endless" not in jobs.kinds()


@pytest.mark.parametrize(
    ("variables", "prepared"),
    [
        ({}, True),
        ({"DATABASE_PGBOUNCER": "true"}, False),
        ({"DATABASE_PGBOUNCER": "true", "HUB_PREPARED_STATEMENTS": "true"}, True),
        ({"HUB_PREPARED_STATEMENTS": "false"}, False),
    ],
)
def test_nothing_is_prepared_behind_a_pooler_that_may_not_carry_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], prepared: bool
) -> None:
    for name in ("DATABASE_PGBOUNCER", "HUB_PREPARED_STATEMENTS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert base.prepared_statements() is prepared
