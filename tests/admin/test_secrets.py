"""No page of the console shows a secret, and none loses one."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from django.contrib import admin
from django.test import Client

from integrations.models import ApiKey, Config, Role
from integrations.tenancy.authentication import hash_key
from tests import factories
from tests.admin.conftest import World, list_url, page_url
from tests.admin.rows import CANARY
from webhooks.outbound.models import Endpoint

pytestmark = pytest.mark.django_db
Browser = Callable[[str], Client]

FORM = {"label": "Main", "environment": "simulator", "is_active": "on"}


def _account(**changes: str) -> dict[str, str]:
    values = {**factories.demo_values("africastalking", "school"), **changes}
    return {**FORM, **{f"value_{name}": str(value) for name, value in values.items()}}


OTHERS = [pytest.param(role, marks=pytest.mark.slow) for role in ("operator", "auditor", "staff")]


@pytest.mark.parametrize("role", ["admin", *OTHERS])
def test_canary_is_on_no_page(role: str, world: World, browser_of: Browser) -> None:
    client = browser_of(role)
    shown = 0
    for model, page in admin.site._registry.items():
        label = model._meta.label_lower
        urls = [list_url(label), f"{list_url(label)}add/", f"{list_url(label)}add/?provider=africastalking"]
        if row := world.ours.get(label):
            urls += [page_url(row), page_url(row, "history"), page_url(row, "delete")]
            urls += [page_url(row, "press", button.name) for button in page.buttons if button.form]
        for url in urls:
            answer = client.get(url)
            assert answer.status_code in {200, 302, 403, 405}, url
            assert CANARY not in answer.content.decode(), url
            shown += answer.status_code == 200
    assert shown >= (20 if role != "staff" else 4)
    assert CANARY not in client.get("/admin/").content.decode()


def test_inbox_shows_the_request_with_the_secret_masked(world: World, browser_of: Browser) -> None:
    content = browser_of("admin").get(page_url(world.ours["webhooks_inbound.receipt"])).content.decode()
    assert "id=ATX_1&amp;note=••••" in content


def test_config_is_added_through_the_form(world: World, browser_of: Browser) -> None:
    client = browser_of("admin")
    choice = client.get("/admin/integrations/config/add/").content.decode()
    assert "?provider=africastalking" in choice
    assert "?provider=mpesa" in choice
    url = "/admin/integrations/config/add/?provider=africastalking"
    form = client.get(url)
    assert form.status_code == 200
    assert b'name="tenant"' not in form.content
    answer = client.post(url, _account(api_key="fresh-key-0123456789"))
    assert answer.status_code == 302, answer.context["errors"]
    made = Config.unscoped.get(label="Main")
    assert (made.tenant, made.provider_id, made.environment) == (world.school, "africastalking", "simulator")
    assert made.secrets()["api_key"] == "fresh-key-0123456789"
    assert "fresh-key-0123456789" not in made.sealed


def test_bad_form_names_the_field_and_stores_nothing(world: World, browser_of: Browser) -> None:
    before = Config.unscoped.count()
    answer = browser_of("admin").post("/admin/integrations/config/add/?provider=africastalking", _account(username=""))
    assert answer.status_code == 200
    assert "value_username" in answer.context["adminform"].form.errors
    assert Config.unscoped.count() == before


def test_tenant_of_a_new_config_can_not_be_smuggled_in(world: World, browser_of: Browser) -> None:
    smuggled = {**_account(), "label": "Smuggled", "tenant": str(world.studio.pk)}
    answer = browser_of("admin").post("/admin/integrations/config/add/?provider=africastalking", smuggled)
    assert answer.status_code == 302
    assert Config.unscoped.get(label="Smuggled").tenant == world.school


def test_secret_left_empty_keeps_what_is_stored(world: World, browser_of: Browser) -> None:
    config = world.ours["integrations.config"]
    client = browser_of("admin")
    form = client.get(page_url(config)).content.decode()
    assert f"••••{CANARY[-4:]}" in form
    given = _account(api_key="")
    given["label"] = "Renamed"
    assert client.post(page_url(config), given).status_code == 302
    config.refresh_from_db()
    assert config.label == "Renamed"
    assert config.secrets()["api_key"] == CANARY


def test_unknown_provider_leads_back_to_the_choice(world: World, browser_of: Browser) -> None:
    answer = browser_of("admin").get("/admin/integrations/config/add/?provider=nonesuch")
    assert answer.status_code == 200
    assert "providers" in answer.context


def test_deleting_a_config_in_use_switches_it_off(world: World, browser_of: Browser) -> None:
    config = world.ours["integrations.config"]
    answer = browser_of("admin").post(page_url(config, "delete"), {"post": "yes"}, follow=True)
    assert b"switched off instead" in answer.content
    config.refresh_from_db()
    assert config.is_active is False


def test_api_key_is_shown_once_and_works(world: World, browser_of: Browser) -> None:
    client = browser_of("admin")
    url = "/admin/integrations/apikey/add/"
    answer = client.post(
        url, {"name": "Accounting", "role": Role.STAFF, "scopes": "payments:read", "expires_at_0": "", "expires_at_1": ""}
    )
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    key = answer.context["value"]
    assert key.startswith("hub_")
    assert key.encode() in answer.content
    row = ApiKey.unscoped.get(name="Accounting")
    assert (row.tenant, row.role, row.scopes, row.key_hash) == (world.school, "staff", ["payments:read"], hash_key(key))
    for page in (list_url("integrations.apikey"), page_url(row), page_url(row, "history")):
        assert key not in client.get(page).content.decode()
    assert key not in json.dumps(dict(client.session.items()), default=str)
    assert all(key not in morsel.value for morsel in client.cookies.values())


def test_revoked_key_stays_revoked(world: World, browser_of: Browser) -> None:
    client, row = browser_of("admin"), world.ours["integrations.apikey"]
    assert client.post(page_url(row, "press", "revoke")).status_code == 302
    row.refresh_from_db()
    first = row.revoked_at
    assert first is not None
    client.post(page_url(row, "press", "revoke"))
    row.refresh_from_db()
    assert row.revoked_at == first


def test_endpoint_secret_is_shown_once(world: World, browser_of: Browser) -> None:
    client = browser_of("admin")
    given = {"name": "Books", "url": "http://127.0.0.1:8901/hook", "events": "payment.*\nmessage.failed", "is_active": "on"}
    answer = client.post("/admin/webhooks_outbound/endpoint/add/", given)
    assert answer.status_code == 200, answer.content.decode()[:500]
    endpoint = Endpoint.unscoped.get(name="Books")
    assert (endpoint.tenant, endpoint.events) == (world.school, ["payment.*", "message.failed"])
    assert answer.context["value"] == endpoint.signing_keys()[0]["secret"]
    assert answer.context["value"] not in client.get(page_url(endpoint)).content.decode()


@pytest.mark.parametrize(
    ("field", "value"), [("url", "http://169.254.169.254/latest"), ("url", "ftp://x.example/"), ("events", "not a type!")]
)
def test_bad_endpoint_is_refused(field: str, value: str, world: World, browser_of: Browser) -> None:
    before = Endpoint.unscoped.count()
    given = {"name": "Bad", "url": "https://books.example/hook", "events": "*", "is_active": "on", field: value}
    answer = browser_of("admin").post("/admin/webhooks_outbound/endpoint/add/", given)
    assert answer.status_code == 200
    assert field in answer.context["adminform"].form.errors
    assert Endpoint.unscoped.count() == before
