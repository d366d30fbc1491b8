"""The console's pages of what stands around webhooks: types of events, links into the portal, retention."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from django.test import Client

from integrations.models import AuditEntry
from tests.admin.conftest import World, page_url
from tests.admin.test_webhooks import ADD, press, said
from webhooks.outbound.models import EventTypeDefinition, PortalLink, RetentionPolicy

pytestmark = pytest.mark.django_db
Browser = Callable[[str], Client]


def test_an_event_type_of_ones_own(world: World, browser_of: Browser) -> None:
    client = browser_of("admin")
    schema = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}
    given = {
        "name": "booking.made",
        "description": "A table was booked.",
        "schema": json.dumps(schema),
        "example": '{"id": "1"}',
    }
    assert client.post(ADD.format("eventtypedefinition"), given).status_code == 302
    made = EventTypeDefinition.unscoped.get(name="booking.made")
    assert (made.tenant, made.schema, made.example, made.version) == (world.school, schema, {"id": "1"}, 1)

    schema["properties"]["seats"] = {"type": "integer"}
    changed = {**given, "schema": json.dumps(schema), "deprecated": "on", "deprecation_note": "Use booking.confirmed."}
    assert client.post(page_url(made), changed).status_code == 302
    made.refresh_from_db()
    assert (made.version, made.deprecated, made.name) == (2, True, "booking.made")

    press(client, made, "archive")
    made.refresh_from_db()
    assert made.archived_at is not None
    assert b'name="_save"' not in client.get(page_url(made)).content
    press(client, made, "restore")
    made.refresh_from_db()
    assert (made.archived_at, made.version, made.schema) == (None, 2, schema)
    actions = set(AuditEntry.unscoped.filter(object_type="event_type").values_list("action", flat=True))
    assert actions == {f"event_type.{what}" for what in ("created", "updated", "archived", "restored")}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "payment.mine"),
        ("name", "Not A Type"),
        ("name", "booking.springfield_school"),
        ("schema", "{"),
        ("schema", '{"$ref": "https://elsewhere.example/schema"}'),
        ("example", '{"id": 7}'),
        ("example", "[]"),
    ],
)
def test_a_bad_event_type_is_refused(field: str, value: str, world: World, browser_of: Browser) -> None:
    schema = json.dumps({"type": "object", "properties": {"id": {"type": "string"}}})
    given = {"name": "booking.made", "schema": schema, "example": '{"id": "1"}', field: value}
    before = EventTypeDefinition.unscoped.count(), AuditEntry.unscoped.count()
    answer = browser_of("admin").post(ADD.format("eventtypedefinition"), given)
    assert answer.status_code == 200
    assert list(answer.context["adminform"].form.errors) == [field]
    assert (EventTypeDefinition.unscoped.count(), AuditEntry.unscoped.count()) == before


def test_a_portal_link_is_revoked(world: World, browser_of: Browser) -> None:
    client, link = browser_of("admin"), world.ours["webhooks_outbound.portallink"]
    page = client.get(page_url(link)).content.decode()
    assert link.token_hash not in page
    assert said(press(client, link, "revoke")) == ["It opens nothing any more."]
    assert PortalLink.unscoped.get(pk=link.pk).revoked_at is not None


def test_retention_is_set_once_for_a_tenant(world: World, browser_of: Browser) -> None:
    client, policy = browser_of("admin"), world.ours["webhooks_outbound.retentionpolicy"]
    assert client.post(page_url(policy), {"payload_days": "7", "log_days": "", "failed_days": "90"}).status_code == 302
    policy.refresh_from_db()
    assert (policy.payload_days, policy.log_days, policy.failed_days) == (7, None, 90)
    entry = AuditEntry.unscoped.get(action="retention.updated")
    assert (entry.actor, entry.changes) == ("school-admin", {"payload_days": [30, 7], "failed_days": [None, 90]})
    twice = client.post(ADD.format("retentionpolicy"), {"payload_days": "1"})
    assert (twice.status_code, RetentionPolicy.unscoped.filter(tenant=world.school).count()) == (200, 1)
    for payload_days, log_days in (("0", ""), ("20", "10")):  # what is sent can't outlive the log of it
        wrong = client.post(page_url(policy), {"payload_days": payload_days, "log_days": log_days})
        assert list(wrong.context["adminform"].form.errors) == ["payload_days"]
    assert client.post(page_url(policy, "delete"), {"post": "yes"}).status_code == 302
    assert not RetentionPolicy.unscoped.filter(tenant=world.school).exists()
