"""Health, readiness, metrics, documents, redirects, and errors outside of any view."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import OperationalError
from django.test import Client, override_settings
from rest_framework.test import APIClient

from integrations.contracts import clock as hub_clock
from integrations.models import Heartbeat, QueueState, Tenant
from integrations.registry import providers
from integrations_site import __version__
from integrations_site.platform import state
from tests.factories import MovableClock, make_config, make_item

pytestmark = pytest.mark.django_db


@pytest.fixture
def database_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise OperationalError("connection refused")

    for name in ("queue_depth", "worker_count", "database_answers"):
        monkeypatch.setattr(state, name, away)


def supervisor(workers: list[int], **fields: Any) -> Heartbeat:
    now = hub_clock.now()
    values = {"host": "one", "pid": 1, "started_at": now, "beat_at": now, "kind": "supervisor", **fields}
    return Heartbeat.objects.create(name=f"supervisor:{len(workers)}", detail={"processes": {"workers": workers}}, **values)


def test_health_tells_the_state_of_the_installation(tenant: Tenant, clock: MovableClock) -> None:
    make_config(tenant, "africastalking")
    make_item(tenant, due_at=clock.moment - timedelta(seconds=90))
    make_item(tenant, due_at=clock.moment + timedelta(days=1))
    make_item(tenant, state=QueueState.FAILED)
    make_item(tenant, state=QueueState.COMPLETED)
    supervisor([11, 12])
    supervisor([13], beat_at=clock.moment - timedelta(minutes=5))
    answer = APIClient().get("/api/health")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "version": __version__,
        "database": "ok",
        "queue": {"pending": 2, "processing": 0, "failed": 1, "unknown": 0, "needs_review": 0, "overdue_seconds": 90.0},
        "webhooks": {
            **dict.fromkeys(("due", "throttled", "waiting", "in_flight", "gathering", "held", "dead"), 0),
            "overdue_seconds": 0.0,
            "throttled_seconds": 0.0,
        },
        "workers": 2,
        "integrations_registered": 1,
        "providers": len(providers()),
    }
    assert APIClient().get("/api/v1/health").json() == answer.json()


def test_health_without_workers_is_degraded(registered: None) -> None:
    answer = APIClient().get("/api/health")
    assert (answer.status_code, answer.json()["status"], answer.json()["workers"]) == (200, "degraded", 0)


def test_health_without_a_database_is_503(database_away: None) -> None:
    answer = APIClient().get("/api/health")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "down",
        "version": __version__,
        "database": "down",
        "queue": None,
        "webhooks": None,
        "workers": None,
        "integrations_registered": None,
        "providers": len(providers()),
    }


def test_live_and_ready(client: Client) -> None:
    cache.clear()
    assert client.get("/healthz/live").json() == {"status": "ok"}
    assert client.get("/healthz/ready").status_code == 200


def test_not_ready_without_a_database(client: Client, database_away: None) -> None:
    assert client.get("/healthz/live").status_code == 200
    answer = client.get("/healthz/ready")
    assert (answer.status_code, answer.json()["detail"]) == (503, "the database does not answer")


def test_not_ready_without_migrations(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.clear()
    monkeypatch.setattr(state, "migrations_missing", lambda: True)
    answer = client.get("/healthz/ready")
    assert (answer.status_code, answer.json()["detail"]) == (503, "migrations are missing")


def test_metrics_show_the_queue(client: Client, tenant: Tenant, clock: MovableClock) -> None:
    make_item(tenant, due_at=clock.moment - timedelta(seconds=30))
    make_item(tenant, state=QueueState.NEEDS_REVIEW)
    text = client.get("/metrics").content.decode()
    for line in (
        "hub_database_up 1.0",
        'hub_queue_items{state="pending"} 1.0',
        'hub_queue_items{state="needs_review"} 1.0',
        "hub_queue_overdue_seconds 30.0",
        "hub_workers 0.0",
    ):
        assert line in text.splitlines()
    assert "django_http_requests_total" in text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"REMOTE_ADDR": "203.0.113.7"}, 404),
        ({"HTTP_X_FORWARDED_FOR": "203.0.113.7"}, 404),
        ({"REMOTE_ADDR": "203.0.113.7", "HTTP_AUTHORIZATION": "Bearer wrong"}, 404),
        ({"REMOTE_ADDR": "203.0.113.7", "HTTP_AUTHORIZATION": "Bearer let-me-in"}, 200),
        ({"REMOTE_ADDR": "127.0.0.1"}, 200),
    ],
)
@override_settings(METRICS_TOKEN="let-me-in")
def test_metrics_are_for_this_machine_or_the_token(client: Client, headers: dict[str, str], status: int) -> None:
    assert client.get("/metrics", **headers).status_code == status  # type: ignore[arg-type]


def test_an_empty_metrics_token_opens_nothing(client: Client) -> None:
    assert client.get("/metrics", REMOTE_ADDR="203.0.113.7", HTTP_AUTHORIZATION="Bearer ").status_code == 404


@pytest.mark.parametrize("path", ["/api/docs", "/api/redoc", "/api/schema", "/api/v1/docs", "/api/v1/schema"])
def test_documents_are_public_and_local(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert not re.search(r"""(?:src|href|@import|url\()\s*=?\s*["'(]?\s*(?:https?:)?//""", answer.content.decode())


def test_redirects(client: Client) -> None:
    assert client.get("/").headers["Location"] == "/admin/"
    with override_settings(DEMO=True, SIMULATOR_URL="http://127.0.0.1:8900"):
        assert client.get("/simulator/").headers["Location"] == "http://127.0.0.1:8900/"
    with override_settings(DEMO=False):
        assert client.get("/simulator/").status_code == 404


@pytest.mark.parametrize("path", ["/api/v1/payments", "/hooks/0123456789abcdef", "/staff/login/", "/nothing"])
@pytest.mark.parametrize("length", ["abc", "-1", "1.5", "9" * 5000, "\u0663", " 1 2"])
def test_what_is_no_length_is_refused_before_it_is_reckoned_with(client: Client, path: str, length: str) -> None:
    answer = client.generic("POST", path, b"{}", CONTENT_LENGTH=length)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "bad_request")


@pytest.mark.parametrize("path", ["/api/nothing", "/api/v1/v1/health", "/api/v1/integrations/configs/abc", "/api/health/"])
def test_an_unknown_route_answers_in_the_apis_shape(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json() == {
        "type": "client_error",
        "errors": [{"code": "not_found", "detail": "Not found.", "attr": None}],
    }
