"""Who gets in by login, to whose webhooks, and what of another organisation they see there: nothing."""

from __future__ import annotations

import pytest
from django.test import Client

from integrations.models import Membership, Role, Tenant, User
from tests import factories
from tests.webhooks.portal.conftest import (
    MakeClient,
    everything,
    make_dead,
    make_link,
    reading_pages,
    text_of,
    writing_pages,
)
from webhooks.outbound.models import Endpoint

pytestmark = pytest.mark.django_db
FOR = {"for": "springfield-school"}
ROTATE = {"scheme": "v1", "overlap": "0"}


def test_without_a_login_it_leads_to_the_login(endpoint: Endpoint) -> None:
    answer = Client().get(f"/portal/endpoints/{endpoint.pk}/?x=1")
    assert answer.url == f"/staff/login/?next=/portal/endpoints/{endpoint.pk}/%3Fx%3D1"
    posted = Client().post(f"/portal/endpoints/{endpoint.pk}/delete/", FOR)
    assert posted.url == "/staff/login/?next=/portal/"
    endpoint.refresh_from_db()
    assert endpoint.deleted_at is None


def test_logging_in_leads_back_to_the_portal(tenant: Tenant) -> None:
    user = User.objects.create_user(username="ann", password=factories.PASSWORD)
    Membership.unscoped.create(tenant=tenant, user=user, role=Role.ADMIN)
    asked = {"username": "ann", "password": factories.PASSWORD, "next": "/portal/events/"}
    assert Client().post("/staff/login/", asked).url == "/portal/events/"


def test_staff_and_strangers_are_refused(logged_in: MakeClient, endpoint: Endpoint) -> None:
    for client in (logged_in(Role.STAFF, name="sam"), logged_in(name="nobody", of=())):
        for page in ("", f"endpoints/{endpoint.pk}/", "events/", "links/"):
            answer = client.get(f"/portal/{page}")
            assert answer.status_code == 403
            assert "Books" not in text_of(answer)
        assert client.post(f"/portal/endpoints/{endpoint.pk}/delete/", FOR).status_code == 403


def test_people_see_their_own_tenants_alone(logged_in: MakeClient, endpoint: Endpoint, foreign: Endpoint) -> None:
    jane = logged_in()
    mine, theirs = make_dead(endpoint), make_dead(foreign)
    link, _path = make_link(foreign.tenant)
    before = everything(foreign.tenant)
    for page in reading_pages(foreign, theirs):
        answer = jane.get(f"/portal/{page}")
        assert answer.status_code == (404 if foreign.pk in page else 200)
        assert "Foreign books" not in text_of(answer)
    for page in writing_pages(foreign, theirs):
        answer = jane.post(f"/portal/{page}", {**FOR, **ROTATE, "delivery": [theirs.pk], "to": "off"})
        assert answer.status_code == (404 if foreign.pk in page else 302 if "dead" in page else 400), page
    assert jane.post(f"/portal/links/{link.pk}/revoke/", FOR).status_code == 404
    assert jane.post("/portal/links/", {**FOR, "endpoint": foreign.pk, "expires_in": "900"}).status_code == 400
    assert everything(foreign.tenant) == before
    assert jane.get(f"/portal/endpoints/{endpoint.pk}/deliveries/{mine.pk}/").status_code == 200


def test_who_has_several_organisations_picks_one(
    logged_in: MakeClient, tenant: Tenant, other_tenant: Tenant, endpoint: Endpoint, foreign: Endpoint
) -> None:
    jane = logged_in(of=(tenant, other_tenant))
    first = jane.get("/portal/events/")
    assert first.url == "/portal/organisation/?next=%2Fportal%2Fevents%2F"
    picked = jane.post("/portal/organisation/", {"tenant": other_tenant.slug, "next": "/portal/events/"})
    assert picked.url == "/portal/events/"
    assert "Foreign books" in text_of(jane.get("/portal/"))
    assert jane.get(f"/portal/endpoints/{endpoint.pk}/").status_code == 404
    # A page that was opened before the change is for the other organisation.
    stale = jane.post(f"/portal/endpoints/{foreign.pk}/delete/", FOR)
    assert (stale.status_code, "another organisation" in text_of(stale)) == (409, True)
    for target in ("https://evil.example/portal/", "//evil.example", f"/portal/endpoints/{endpoint.pk}/", "/admin/"):
        answer = jane.post("/portal/organisation/", {"tenant": tenant.slug, "next": target})
        assert answer.url == "/portal/"
    assert jane.post("/portal/organisation/", {"tenant": "unknown"}).status_code == 200


def test_an_operator_picks_a_tenant_and_may_all(
    logged_in: MakeClient, tenant: Tenant, other_tenant: Tenant, endpoint: Endpoint
) -> None:
    root = logged_in(name="root", of=(), is_superuser=True)
    assert root.get("/portal/").url.startswith("/portal/organisation/")
    root.post("/portal/organisation/", {"tenant": tenant.slug})
    assert "Books" in text_of(root.get("/portal/"))
    assert root.post(f"/portal/endpoints/{endpoint.pk}/test/", FOR).status_code == 302


def test_a_link_in_a_browser_that_is_logged_in_elsewhere_stays_the_links(
    logged_in: MakeClient, tenant: Tenant, other_tenant: Tenant, endpoint: Endpoint, foreign: Endpoint
) -> None:
    _link, path = make_link(tenant)
    for client in (logged_in(of=(other_tenant,)), logged_in(name="root", of=(), is_superuser=True)):
        shown_page = text_of(client.get(path))
        assert ("Books" in shown_page, "Foreign books" in shown_page) == (True, False)
        assert client.get(f"{path}endpoints/{foreign.pk}/").status_code == 404
        assert client.post(f"{path}endpoints/{endpoint.pk}/test/").status_code == 403


def test_the_console_leads_there_whom_it_lets_in(logged_in: MakeClient) -> None:
    for role, leads in ((Role.ADMIN, True), (Role.AUDITOR, True), (Role.STAFF, False)):
        console = logged_in(role, name=f"{role}-1", is_staff=True)
        assert ('href="/portal/"' in text_of(console.get("/admin/"))) == leads
