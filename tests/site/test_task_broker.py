"""Which broker carries the tasks."""

from __future__ import annotations

import sys
import types

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from integrations_site.task_broker import task_broker


@pytest.fixture
def _with_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", types.ModuleType("redis"))


def test_the_database_unless_told_otherwise() -> None:
    assert task_broker("") == {"orm": "default"}
    assert settings.Q_CLUSTER["orm"] == "default"
    assert "redis" not in settings.Q_CLUSTER


@pytest.mark.usefixtures("_with_redis")
@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://broker:6379/1", "redis://broker:6379/1?socket_connect_timeout=5&socket_timeout=10"),
        ("rediss://:s3cret@broker/0", "rediss://:s3cret@broker/0?socket_connect_timeout=5&socket_timeout=10"),
        ("redis://broker/0?socket_timeout=30", "redis://broker/0?socket_connect_timeout=5&socket_timeout=30"),
    ],
)
def test_a_redis_by_its_address(url: str, expected: str) -> None:
    assert task_broker(url) == {"redis": expected}


@pytest.mark.usefixtures("_with_redis")
@pytest.mark.parametrize("url", ["amqp://user:s3cret@broker", "http://s3cret@broker", "broker:6379", "redis://[s3cret"])
def test_what_is_no_broker_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="HUB_BROKER_URL") as caught:
        task_broker(url)
    assert "s3cret" not in str(caught.value)


def test_redis_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)  # as where it is not installed
    with pytest.raises(ImproperlyConfigured, match="install the package `redis`"):
        task_broker("redis://:s3cret@broker:6379/0")
