"""An account's own limits by the API and by the console's form."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse
from rest_framework.test import APIClient

from integrations.configs import services
from integrations.configs.forms import config_form_class
from integrations.contracts.errors import InvalidRequest
from integrations.models import AuditEntry, Config, ConfigStatus, Role, Tenant
from tests.factories import make_config, make_user

pytestmark = pytest.mark.django_db
BASE = "/api/v1/integrations/configs"
SMS = "africastalking"
DECLARED = {"rate": 10.0, "burst": 20, "concurrency": None, "daily": None}
OWN = {"rate": 2.5, "burst": 4, "concurrency": 3, "daily": 900}


def body(**changes: Any) -> dict[str, Any]:
    values = {"username": "springfield", "api_key": "atsk_0123456789abcdef"}
    return {"provider": SMS, "environment": "sandbox", "values": values, **changes}


def problems(answer: Any) -> list[str | None]:
    return sorted(each["attr"] for each in answer.json()["errors"])


def last_change() -> tuple[str, dict[str, Any]]:
    entry = AuditEntry.unscoped.order_by("-pk")[0]
    return entry.action, entry.changes


def test_they_are_written_and_read(admin_api: APIClient) -> None:
    answer = admin_api.post(BASE, body(limits=OWN))
    assert answer.status_code == 201
    assert (answer.json()["limits"], answer.json()["limits_in_force"]) == (OWN, OWN)
    url = f"{BASE}/{answer.json()['id']}"
    shown = admin_api.patch(url, {"limits": {"rate": 5, "burst": None}}).json()
    rate_alone = {"rate": 5.0, "burst": None, "concurrency": None, "daily": None}
    assert shown["limits"] == rate_alone
    assert shown["limits_in_force"] == {"rate": 5.0, "burst": 10, "concurrency": None, "daily": None}
    assert admin_api.patch(url, {"label": "x"}).json()["limits"] == rate_alone
    assert Config.unscoped.get().limits == {"rate": 5.0}
    put = {"environment": "sandbox", "values": {"username": "springfield"}}
    shown = admin_api.put(url, put).json()
    assert (shown["limits"], shown["limits_in_force"]) == (dict.fromkeys(DECLARED), DECLARED)


@pytest.mark.parametrize(
    ("limits", "attr"),
    [
        ({"rate": 0}, "limits.rate"),
        ({"rate": "fast"}, "limits.rate"),
        ({"rate": "nan"}, "limits.rate"),
        ({"burst": 0}, "limits.burst"),
        ({"concurrency": 1.5}, "limits.concurrency"),
        ({"daily": 10**12}, "limits.daily"),
        ({"speed": 5}, "limits.speed"),
        ([], "limits.non_field_errors"),
        (None, "limits"),
    ],
)
def test_bad_ones_are_named_and_change_nothing(admin_api: APIClient, tenant: Tenant, limits: Any, attr: str) -> None:
    config = make_config(tenant, SMS, limits={"rate": 3.0})
    for answer in (admin_api.patch(f"{BASE}/{config.pk}", {"limits": limits}), admin_api.post(BASE, body(limits=limits))):
        assert (answer.status_code, problems(answer)) == (400, [attr])
    assert Config.unscoped.get().limits == {"rate": 3.0}


def test_the_services_refuse_them_too(tenant: Tenant) -> None:
    config = make_config(tenant, SMS)
    with pytest.raises(InvalidRequest) as caught:
        services.update_config(config=config, limits={"daily": 0})
    assert caught.value.attr == "limits.daily"
    assert Config.unscoped.get().limits == {}


def test_a_change_is_audited_and_leaves_the_connection_as_it_was(tenant: Tenant) -> None:
    config = make_config(tenant, SMS)
    Config.unscoped.filter(pk=config.pk).update(status=ConfigStatus.OK)
    services.update_config(config=config, limits={"rate": 2, "daily": 50})
    assert last_change() == ("config.updated", {"limits.rate": [None, 2.0], "limits.daily": [None, 50]})
    services.update_config(config=config, limits={"daily": 60})
    assert last_change() == ("config.updated", {"limits.rate": [2.0, None], "limits.daily": [50, 60]})
    assert Config.unscoped.get().status == ConfigStatus.OK


# --- the form


def posted(**changes: Any) -> dict[str, Any]:
    return {
        "label": "Main",
        "environment": "sandbox",
        "is_active": "on",
        "value_username": "springfield",
        "value_api_key": "atsk_0123456789abcdef",
        "value_path": "bulk",
        "value_batch_size": "50",
        **changes,
    }


def test_the_form_shows_the_declared_and_stores_its_own(tenant: Tenant) -> None:
    form_class = config_form_class(SMS)
    assert form_class(None).fields["limit_rate"].widget.attrs["placeholder"] == "10"
    assert form_class(None).fields["limit_daily"].widget.attrs["placeholder"] == "no limit"
    given = {f"limit_{name}": str(value) for name, value in OWN.items()}
    filled = form_class(posted(tenant=tenant.pk, **given))
    assert filled.is_valid(), filled.errors
    stored = filled.save()
    assert stored.limits == OWN
    again = form_class(posted(tenant=tenant.pk, **{**given, "limit_rate": ""}), instance=Config.unscoped.get())
    assert again.initial["limit_burst"] == 4
    assert again.is_valid(), again.errors
    assert again.save().limits == {name: value for name, value in OWN.items() if name != "rate"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("rate", "0"), ("rate", "-1"), ("rate", "nan"), ("burst", "0"), ("concurrency", "1.5"), ("daily", "many")],
)
def test_the_form_names_the_bad_field(tenant: Tenant, name: str, value: str) -> None:
    filled = config_form_class(SMS)(posted(tenant=tenant.pk, **{f"limit_{name}": value}))
    assert not filled.is_valid()
    assert list(filled.errors) == [f"limit_{name}"]


def test_the_console_changes_them_and_shows_them_to_who_may_look(tenant: Tenant, client: Any) -> None:
    config = make_config(tenant, SMS, limits={"daily": 77})
    page = reverse("admin:integrations_config_change", args=[config.pk])
    client.force_login(make_user("looker", tenant=tenant, role=Role.AUDITOR))
    shown = client.get(page).content.decode()
    assert "Calls a day" in shown
    assert "77" in shown
    assert "limit_daily" not in shown
    client.force_login(make_user("boss", tenant=tenant, role=Role.ADMIN))
    assert 'name="limit_daily" value="77"' in client.get(page).content.decode()
    answer = client.post(page, posted(limit_daily="80"))
    assert answer.status_code == 302, answer.content.decode()
    assert Config.unscoped.get().limits == {"daily": 80}
