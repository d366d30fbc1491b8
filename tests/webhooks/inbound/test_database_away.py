"""A database that goes away, or has no room, while a request is taken in: the sender is asked to come again, and then it is."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import InterfaceError, OperationalError

from integrations.models import Tenant
from tests.factories import make_source
from tests.webhooks.inbound.support import body_of, path_of, plain, post, receipts
from webhooks.inbound import storing

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_request_that_could_not_be_stored_may_come_again(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    source, secret = make_source(tenant, dedupe_path="body:id")
    body = body_of({"id": "o1"})

    def full(*_given: Any) -> None:
        raise error("could not extend file: No space left on device")

    for _ in range(2):  # the path is read from the database, then remembered
        with monkeypatch.context() as patched:
            patched.setattr(storing, "store", full)
            refused = post(path_of(source), body, plain(secret, body))
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert refused.json()["errors"][0]["code"] == "unavailable"
        assert "device" not in refused.content.decode()
        assert receipts() == []
    assert post(path_of(source), body, plain(secret, body)).status_code == 200
    assert len(receipts()) == 1
