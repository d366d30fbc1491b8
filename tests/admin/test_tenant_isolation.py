"""Nobody sees, finds or changes another tenant's rows: driven over every page that is registered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.conf import settings
from django.contrib import admin
from django.db import connection, transaction
from django.forms.models import model_to_dict
from django.test import Client
from django.test.utils import CaptureQueriesContext

from integrations.adminbase.base import HubAdmin, OperatorAdmin, TenantScopedAdmin
from integrations.models import Membership, Tenant, User
from tests import factories
from tests.admin.conftest import World, list_url, login, make_world, page_url
from tests.admin.rows import make_rows

pytestmark = pytest.mark.django_db

SCOPED = sorted(model._meta.label_lower for model, page in admin.site._registry.items() if isinstance(page, TenantScopedAdmin))
OTHERS = sorted(
    model._meta.label_lower for model, page in admin.site._registry.items() if not isinstance(page, TenantScopedAdmin)
)
OPEN_TO_TENANTS = {"integrations.provider"}
"""Not tenant-owned, and no secret: the registry of what is installed."""
STAFF = {"messaging.message", "payments.payment"}
PRESSES = sorted(
    (model._meta.label_lower, button.name)
    for model, page in admin.site._registry.items()
    if isinstance(page, TenantScopedAdmin)
    for button in page.buttons
)
Browser = Callable[[str], Client]


@dataclass(frozen=True)
class Stage:
    """What is there when a test begins: the rows, and the session cookie of somebody with each role."""

    world: World
    sessions: dict[str, str]


@pytest.fixture(scope="module")
def stage(django_db_setup: None, django_db_blocker: Any) -> Iterator[Stage]:
    """Made once, in a transaction around all tests of this module: each of them is rolled back to where it began."""
    with django_db_blocker.unblock(), transaction.atomic():
        school = factories.make_tenant("springfield-school", "Springfield School")
        studio = factories.make_tenant("lens-and-light", "Lens & Light")
        world = make_world(school, studio)
        roles = ("admin", "staff", "auditor", "operator")
        yield Stage(world, {role: login(school, role).cookies[settings.SESSION_COOKIE_NAME].value for role in roles})
        transaction.set_rollback(True)


@pytest.fixture
def world(stage: Stage) -> World:
    return stage.world


@pytest.fixture
def tenant(stage: Stage) -> Tenant:
    return stage.world.school


@pytest.fixture
def browser_of(stage: Stage) -> Browser:
    """See the fixture of that name for all admin pages: here they have logged in before."""

    def enter(role: str) -> Client:
        client = Client()
        client.cookies[settings.SESSION_COOKIE_NAME] = stage.sessions[role]
        return client

    return enter


def test_every_table_with_a_tenant_has_a_scoped_page() -> None:
    with_tenant = {
        model._meta.label_lower
        for model in admin.site._registry
        if any(field.name == "tenant" for field in model._meta.concrete_fields)
    }
    assert with_tenant == set(SCOPED)
    assert len(SCOPED) >= 15


@pytest.mark.parametrize("label", SCOPED)
def test_list_shows_own_rows_only(label: str, world: World, browser_of: Browser) -> None:
    page = browser_of("admin").get(list_url(label))
    assert page.status_code == 200
    content = page.content.decode()
    assert page_url(world.ours[label]) in content
    assert page_url(world.foreign[label]) not in content
    assert world.studio.name not in content


@pytest.mark.parametrize("label", SCOPED)
def test_filtering_by_a_foreign_tenant_shows_nothing(label: str, world: World, browser_of: Browser) -> None:
    content = browser_of("admin").get(list_url(label), {"tenant": world.studio.pk}, follow=True).content.decode()
    assert page_url(world.foreign[label]) not in content
    assert world.studio.name not in content


def missing(row: Any) -> Any:
    """Return a row of the same table that is not there."""
    pk = row.pk + 1_000_000 if isinstance(row.pk, int) else f"{row.pk[:-6]}000000"
    return type(row)(pk=pk)


@pytest.mark.parametrize("label", SCOPED)
@pytest.mark.parametrize("page", ["change", "delete", "history"])
def test_foreign_page_is_not_found(label: str, page: str, world: World, browser_of: Browser) -> None:
    row = world.foreign[label]
    before = model_to_dict(row)
    client = browser_of("admin")
    for method in (client.get, client.post):
        answer = method(page_url(row, page), {"post": "yes", "is_active": ""})
        # A page that nobody may change says so before it looks for the row; then too it must not tell whether there is one.
        nowhere = method(page_url(missing(row), page), {"post": "yes", "is_active": ""})
        assert (answer.status_code, answer.headers.get("Location")) == (nowhere.status_code, nowhere.headers.get("Location"))
        assert answer.status_code in {302, 403}
        assert answer.headers.get("Location", "/admin/") == "/admin/"
    assert model_to_dict(type(row)._base_manager.get(pk=row.pk)) == before


@pytest.mark.parametrize(("label", "button"), PRESSES)
def test_foreign_button_is_not_found(label: str, button: str, world: World, browser_of: Browser) -> None:
    row = world.foreign[label]
    before = model_to_dict(row)
    answer = browser_of("admin").post(page_url(row, "press", button))
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
    assert model_to_dict(type(row)._base_manager.get(pk=row.pk)) == before


@pytest.mark.parametrize("label", SCOPED)
def test_own_page_opens(label: str, world: World, browser_of: Browser) -> None:
    assert browser_of("admin").get(page_url(world.ours[label])).status_code == 200


@pytest.mark.parametrize("label", SCOPED)
def test_operator_sees_all(label: str, world: World, browser_of: Browser) -> None:
    client = browser_of("operator")
    content = client.get(list_url(label)).content.decode()
    assert page_url(world.ours[label]) in content
    assert page_url(world.foreign[label]) in content
    assert client.get(page_url(world.foreign[label])).status_code == 200


@pytest.mark.parametrize("label", OTHERS)
def test_pages_of_the_installation_are_for_operators(label: str, world: World, browser_of: Browser) -> None:
    assert browser_of("operator").get(list_url(label)).status_code == 200
    expected = 200 if label in OPEN_TO_TENANTS else 403
    assert browser_of("admin").get(list_url(label)).status_code == expected
    assert browser_of("auditor").get(list_url(label)).status_code == expected
    assert browser_of("staff").get(list_url(label)).status_code == 403


@pytest.mark.parametrize("label", SCOPED)
def test_staff_see_messages_and_payments_and_change_nothing(label: str, world: World, browser_of: Browser) -> None:
    client, row = browser_of("staff"), world.ours[label]
    expected = 200 if label in STAFF else 403
    assert client.get(list_url(label)).status_code == expected
    page = client.get(page_url(row))
    assert page.status_code == expected
    if label in STAFF:
        assert b"data-hub-buttons" not in page.content
        assert b'name="_save"' not in page.content


@pytest.mark.parametrize("label", SCOPED)
def test_auditor_reads_and_changes_nothing(label: str, world: World, browser_of: Browser) -> None:
    client, row = browser_of("auditor"), world.ours[label]
    assert client.get(list_url(label)).status_code == 200
    page = client.get(page_url(row))
    assert page.status_code == 200
    assert b"data-hub-buttons" not in page.content
    assert b'name="_save"' not in page.content
    before = model_to_dict(row)
    assert client.post(page_url(row), {"label": "x"}).status_code == 403
    assert client.post(page_url(row, "delete"), {"post": "yes"}).status_code == 403
    for button in admin.site._registry[type(row)].buttons:
        assert client.post(page_url(row, "press", button.name)).status_code == 403
    assert model_to_dict(type(row)._base_manager.get(pk=row.pk)) == before


@pytest.mark.parametrize("label", SCOPED + OTHERS)
def test_strangers_are_sent_to_the_login(label: str, world: World) -> None:
    answer = Client().get(list_url(label))
    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")


def test_a_member_without_staff_status_gets_nowhere(world: World, browser_of: Browser) -> None:
    client = browser_of("admin")
    User.objects.filter(username="school-admin").update(is_staff=False)
    assert client.get(list_url("payments.payment")).status_code == 302


def test_ending_a_membership_ends_the_access(world: World, browser_of: Browser) -> None:
    client = browser_of("admin")
    assert client.get(list_url("payments.payment")).status_code == 200
    Membership.unscoped.filter(user__username="school-admin").update(is_active=False)
    assert client.get(list_url("payments.payment")).status_code == 403


def test_own_pages_use_the_base_classes() -> None:
    foreign = ("django_q", "axes", "auth")
    for model, page in admin.site._registry.items():
        if model._meta.app_label not in foreign:
            assert isinstance(page, HubAdmin)
            assert isinstance(page, OperatorAdmin | TenantScopedAdmin)


@pytest.mark.parametrize("label", SCOPED)
def test_list_asks_no_question_per_row(label: str, world: World, browser_of: Browser) -> None:
    client, url = browser_of("operator"), list_url(label)
    with CaptureQueriesContext(connection) as two_rows:
        client.get(url)
    for number in range(3):
        make_rows(factories.make_tenant(f"tenant-{number}"))
    with CaptureQueriesContext(connection) as five_rows:
        client.get(url)
    assert len(five_rows) == len(two_rows)


def test_overview_counts_own_rows_only(world: World, browser_of: Browser) -> None:
    def failed(client: Client) -> Any:
        tiles = client.get("/admin/").context["board"].queue
        return next(tile.value for tile in tiles if tile.label == "Failed")

    assert failed(browser_of("admin")) == "1"
    assert failed(browser_of("operator")) == "2"
    staff = browser_of("staff").get("/admin/")
    assert staff.context["board"].queue == []
    assert world.studio.slug.encode() not in staff.content


def test_somebody_without_a_role_sees_an_empty_console(world: World) -> None:
    client = Client()
    client.force_login(factories.make_user("nobody"), backend="django.contrib.auth.backends.ModelBackend")
    page = client.get("/admin/")
    board = page.context["board"]
    assert (board.queue, board.payments, board.calls, board.alerts) == ([], [], [], [])
    assert b"Payments today" not in page.content
    for label in SCOPED:
        assert client.get(list_url(label)).status_code == 403
        assert list_url(label).encode() not in page.content
