"""The smoke script passes against a live server, and fails, loudly, where there is something to complain about."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from integrations.models import Config, Tenant
from integrations.tenancy.authentication import create_api_key

SCRIPT = Path(__file__).resolve().parents[1] / "api_integration_smoke.sh"


def run(base_url: str, api_key: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "BASE_URL": base_url, "API_KEY": api_key}
    return subprocess.run(["bash", str(SCRIPT)], env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.django_db(transaction=True)
def test_every_step_passes(live_server: Any, tenant: Tenant) -> None:
    _row, key = create_api_key(tenant=tenant, name="smoke")
    done = run(live_server.url, key)
    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.startswith("PASS ")] == [], done.stdout + done.stderr
    assert len(lines) >= 30
    assert done.returncode == 0
    assert not Config.unscoped.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_a_key_that_may_not_fails_its_steps(live_server: Any, tenant: Tenant) -> None:
    _row, key = create_api_key(tenant=tenant, name="smoke", role="staff")
    done = run(live_server.url, key)
    assert done.returncode == 1
    assert "FAIL registry create" in done.stdout.splitlines()
    assert "PASS liveness" in done.stdout.splitlines()


def test_without_a_key_it_says_so() -> None:
    done = run("http://127.0.0.1:1", "")
    assert done.returncode == 2
    assert "API_KEY" in done.stderr
