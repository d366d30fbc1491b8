"""Keys in the console: made with ticks, shown once, rotated with a grace, revoked; their use as a chart. The audit's pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from integrations.models import ApiKey, ApiKeyUsage, AuditEntry, Membership, Role, Tenant, User
from integrations.tenancy.authentication import hash_key
from integrations.tenancy.usage import today
from tests import factories
from tests.admin.conftest import World, list_url, page_url

pytestmark = pytest.mark.django_db
Browser = Callable[[str], Client]
ADD = "/admin/integrations/apikey/add/"
FORM = {"name": "Accounting", "role": "admin", "expires_at_0": "", "expires_at_1": "", "allowed_ips": "", "rate_per_minute": ""}


def works(key: str) -> bool:
    headers = {"Authorization": f"Bearer {key}"}
    return Client().get("/api/v1/payments", headers=headers).status_code == 200


def test_scopes_are_ticked_by_resource(world: World, browser_of: Browser) -> None:
    client = browser_of("admin")
    page = client.get(ADD).content.decode()
    for each in ("payments:read", "payments:write", "apikeys:write", "audit:read", "webhooks:read"):
        assert f'type="checkbox" name="scopes" value="{each}"' in page
    given = {**FORM, "scopes": ["payments:read", "audit:read"], "allowed_ips": "10.0.0.0/8\n127.0.0.1", "rate_per_minute": "30"}
    answer = client.post(ADD, given)
    assert answer.status_code == 200, answer.content
    row = ApiKey.unscoped.get(name="Accounting")
    assert (row.tenant, row.scopes) == (world.school, ["payments:read", "audit:read"])
    assert (row.allowed_ips, row.rate_per_minute, row.created_by) == (["10.0.0.0/8", "127.0.0.1"], 30, "school-admin")
    assert works(answer.context["value"])
    entry = AuditEntry.unscoped.get(object_id=row.pk)
    assert (entry.actor, entry.action, entry.ip) == ("school-admin", "api_key.created", "127.0.0.1")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scopes", ["payment:read"]),
        ("scopes", ["*"]),
        ("allowed_ips", "10.0.0.1/8"),
        ("allowed_ips", "office"),
        ("rate_per_minute", "0"),
        ("rate_per_minute", "99999999"),
        ("name", "  "),
        ("role", "root"),
    ],
)
def test_what_is_wrong_stands_at_its_field(field: str, value: Any, world: World, browser_of: Browser) -> None:
    before = ApiKey.unscoped.count()
    answer = browser_of("admin").post(ADD, {**FORM, field: value})
    assert answer.status_code == 200
    assert field in answer.context["adminform"].form.errors
    assert ApiKey.unscoped.count() == before


def test_an_end_in_the_past_is_refused(world: World, browser_of: Browser) -> None:
    answer = browser_of("admin").post(ADD, {**FORM, "expires_at_0": "2001-01-01", "expires_at_1": "00:00"})
    assert "expires_at" in answer.context["adminform"].form.errors


def test_what_can_be_changed_is_changed_and_nothing_else(world: World, browser_of: Browser) -> None:
    client, row = browser_of("admin"), world.ours["integrations.apikey"]
    page = client.get(page_url(row)).content.decode()
    assert 'name="allowed_ips"' in page
    assert 'name="scopes"' not in page
    given = {**FORM, "name": "Renamed", "role": "staff", "scopes": ["payments:read"], "allowed_ips": "10.0.0.0/8"}
    assert client.post(page_url(row), given).status_code == 302
    fresh = ApiKey.unscoped.get(pk=row.pk)
    assert (fresh.name, fresh.allowed_ips, fresh.role, fresh.scopes) == ("Renamed", ["10.0.0.0/8"], "admin", [])
    assert fresh.key_hash == row.key_hash
    changes = AuditEntry.unscoped.get(object_id=row.pk).changes
    assert changes == {"name": [row.name, "Renamed"], "allowed_ips": [[], ["10.0.0.0/8"]]}
    bad = client.post(page_url(row), {**given, "allowed_ips": "x"})
    assert "allowed_ips" in bad.context["adminform"].form.errors


@pytest.mark.parametrize(("grace", "old_works"), [("86400", True), ("0", False)])
def test_a_rotated_key_is_shown_once(grace: str, old_works: bool, world: World, browser_of: Browser) -> None:
    client = browser_of("admin")
    old = client.post(ADD, FORM).context["value"]
    row = ApiKey.unscoped.get(name="Accounting")
    url = page_url(row, "press", "rotate")
    assert client.get(url).status_code == 200
    answer = client.post(url, {"grace": grace})
    assert "no-store" in answer["Cache-Control"]
    new = answer.context["value"]
    assert ApiKey.unscoped.get(pk=row.pk).key_hash == hash_key(new)
    assert (works(old), works(new)) == (old_works, True)
    page = client.get(page_url(row)).content.decode()
    assert (f"{old[:12]}… works until" in page) is old_works
    assert new not in page
    assert client.post(url, {"grace": "1"}).status_code == 200, "the form is shown again"
    assert works(new)


def test_a_revoked_key_offers_nothing_more(world: World, browser_of: Browser) -> None:
    client, row = browser_of("admin"), world.ours["integrations.apikey"]
    client.post(page_url(row, "press", "revoke"))
    page = client.get(page_url(row)).content.decode()
    assert "data-hub-buttons" not in page
    assert 'name="_save"' not in page
    client.post(page_url(row), {**FORM, "name": "again"})
    assert ApiKey.unscoped.get(pk=row.pk).name == row.name
    listed = client.get(list_url("integrations.apikey"), {"state": "revoked"}).content.decode()
    assert page_url(row) in listed
    assert page_url(row) not in client.get(list_url("integrations.apikey"), {"state": "active"}).content.decode()


@pytest.mark.usefixtures("clock")  # it is one day from beginning to end
def test_the_chart_shows_days_and_routes(world: World, browser_of: Browser) -> None:
    client, row = browser_of("admin"), world.ours["integrations.apikey"]
    assert "<svg viewBox" not in client.get(page_url(row)).content.decode()
    day = today()
    counts = [(day, "GET /api/v1/payments", 40, 0), (day, "POST /x<b>", 10, 10), (day - timedelta(days=3), "GET /x", 1, 1)]
    for on, route, count, errors in [*counts, (day - timedelta(days=30), "GET /old", 9, 0)]:
        ApiKeyUsage.unscoped.create(tenant=row.tenant, key=row, day=on, route=route, count=count, errors=errors)
    page = client.get(page_url(row)).content.decode()
    assert page.count("<title>20") == 30
    assert "51 requests, 11 answered with an error" in page
    assert f"{day.isoformat()}: 50, of these 10 errors" in page
    assert 'y="0" width="16" height="80"' in page
    assert 'y="80" width="16" height="20"' in page
    assert "POST /x&lt;b&gt;" in page
    assert "GET /old" not in page


def test_the_audit_is_read_and_never_written(world: World, browser_of: Browser) -> None:
    entry = AuditEntry.unscoped.create(
        tenant=world.school,
        actor="jane",
        action="api_key.updated",
        object_type="api_key",
        object_id="key_1",
        object_name="Accounting",
        changes={"name": ["<b>old</b>", "new"], "allowed_ips": [[], ["10.0.0.0/8"]], "odd": "x"},
    )
    for role in ("admin", "auditor", "operator"):
        client = browser_of(role)
        page = client.get(page_url(entry)).content.decode()
        assert "&lt;b&gt;old&lt;/b&gt;" in page
        assert "10.0.0.0/8" in page
        assert client.post(page_url(entry), {"actor": "x"}).status_code == 403
        assert client.post(page_url(entry, "delete"), {"post": "yes"}).status_code == 403
        assert client.get("/admin/integrations/auditentry/add/").status_code == 403
        assert page_url(entry) in client.get(list_url("integrations.auditentry"), {"actor": "jane"}).content.decode()


# --- what the pages of people write into it


def test_a_members_new_role_is_written_down(world: World, browser_of: Browser) -> None:
    member = world.ours["integrations.membership"]
    given = {"role": "auditor", "channels": ["sms"], "is_active": "on"}
    assert browser_of("admin").post(page_url(member), given).status_code == 302
    entry = AuditEntry.unscoped.get(action="member.updated")
    assert (entry.tenant, entry.actor, entry.object_name) == (world.school, "school-admin", member.user.username)
    assert entry.changes["role"] == ["staff", "auditor"]


def test_the_operators_changes_of_members_are_written_to_their_tenants(world: World, browser_of: Browser) -> None:
    user = User.objects.get(username=f"clerk-of-{world.school.slug}")
    mine = Membership.unscoped.get(user=user)
    form = {
        "username": user.username,
        "email": "",
        "is_active": "on",
        "last_login_0": "",
        "last_login_1": "",
        "memberships-TOTAL_FORMS": "2",
        "memberships-INITIAL_FORMS": "1",
        "memberships-0-id": str(mine.pk),
        "memberships-0-user": str(user.pk),
        "memberships-0-tenant": str(world.school.pk),
        "memberships-0-role": "admin",
        "memberships-0-channels": ["sms", "email"],
        "memberships-0-is_active": "on",
        "memberships-1-user": str(user.pk),
        "memberships-1-tenant": str(world.studio.pk),
        "memberships-1-role": "auditor",
        "memberships-1-is_active": "on",
    }
    client = browser_of("operator")
    answer = client.post(f"/admin/integrations/user/{user.pk}/change/", form)
    assert answer.status_code == 302, answer.context["errors"]
    updated, added = AuditEntry.unscoped.filter(object_type="member").order_by("action").reverse()
    assert (updated.tenant, updated.action, updated.changes) == (world.school, "member.updated", {"role": ["staff", "admin"]})
    assert (added.tenant, added.action, added.actor) == (world.studio, "member.added", "operator")
    form |= {"memberships-INITIAL_FORMS": "1", "memberships-TOTAL_FORMS": "1", "memberships-0-DELETE": "on"}
    Membership.unscoped.filter(user=user, tenant=world.studio).delete()
    assert client.post(f"/admin/integrations/user/{user.pk}/change/", form).status_code == 302
    removed = AuditEntry.unscoped.get(action="member.removed")
    assert (removed.tenant, removed.object_id, removed.changes["role"]) == (world.school, str(mine.pk), ["admin", None])


def test_a_tenant_switched_off_is_written_down(world: World, browser_of: Browser) -> None:
    tenant: Tenant = factories.make_tenant("third")
    form = {"name": "Third", "slug": "third", "country": "KE", "currency": "KES", "time_zone": "Africa/Nairobi"}
    client = browser_of("operator")
    assert client.post(f"/admin/integrations/tenant/{tenant.pk}/change/", form).status_code == 302
    entry = AuditEntry.unscoped.get(tenant=tenant)
    assert (entry.action, entry.actor, entry.changes) == ("tenant.switched_off", "operator", {"is_active": [True, False]})
    assert Role.ADMIN not in entry.changes
