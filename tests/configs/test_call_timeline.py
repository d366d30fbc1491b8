"""The runtime's part of an object's story, through the wiring: its exchanges with providers, of its own tenant only."""

from __future__ import annotations

import pytest
from django_scopes import scope

from integrations.events import TimelineAsked, ask_all
from integrations.models import Tenant
from integrations_site import wiring
from tests.factories import make_log

pytestmark = pytest.mark.django_db


def test_exchanges_about_the_object_oldest_first(tenant: Tenant, other_tenant: Tenant) -> None:
    about = {"reference_type": "thing", "reference_id": "thing_1"}
    first = make_log(tenant, **about, status_code=201, duration_ms=84)
    second = make_log(tenant, **about, direction="inbound", status="timeout", error="no answer")
    make_log(tenant, reference_type="thing", reference_id="thing_2")
    make_log(other_tenant, **about)
    wiring.connect()  # a second time: nobody answers twice
    with scope(tenant=tenant):
        entries = ask_all(TimelineAsked(tenant_id=tenant.pk, object_type="thing", object_id="thing_1"))
    assert [(each.kind, each.status, each.object_id, each.text, each.duration_ms) for each in entries] == [
        ("call", "success", str(first.pk), "example called, send, HTTP 201", 84),
        ("call", "timeout", str(second.pk), "example called us, send, timeout: no answer", None),
    ]
