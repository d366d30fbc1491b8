"""A database that goes away in the middle of a request: the client is told to come again, and the same key is good for it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from rest_framework.test import APIClient

from webhooks.outbound.models import Event
from webhooks.outbound.publishing import api

pytestmark = pytest.mark.django_db(transaction=True)

BODY = {"type": "stock.changed", "data": {"id": "1", "left": 3}}


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_request_that_the_database_left_is_to_be_made_again(
    admin_api: APIClient, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def gone(**_given: Any) -> None:
        raise error("terminating connection due to administrator command; password=hunter2")

    admin_api.raise_request_exception = False
    with monkeypatch.context() as patched:
        patched.setattr(api, "publish_own", gone)
        refused = admin_api.post("/api/v1/events", BODY, headers={"Idempotency-Key": "one"})

    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "2"
    assert refused.json()["errors"][0]["code"] == "unavailable"
    assert "hunter2" not in refused.content.decode()
    assert not Event.unscoped.exists()
    again = admin_api.post("/api/v1/events", BODY, headers={"Idempotency-Key": "one"})
    assert again.status_code == 201
    assert list(Event.unscoped.values_list("pk", flat=True)) == [again.json()["id"]]
