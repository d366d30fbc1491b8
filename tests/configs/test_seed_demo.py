"""`seed_demo`: two tenants that can be used at once, safe to run again, JSON and nothing else on stdout."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from rest_framework.test import APIClient

from integrations.configs import services
from integrations.management import samples
from integrations.models import ApiKey, CallLog, Config, Membership, PrimaryConfig, Provider, QueueItem, Tenant, User
from integrations.registry import providers
from integrations.runtime import jobs
from integrations.simulators import running_simulators
from tests.factories import work_off


def seed() -> dict[str, Any]:
    out = StringIO()
    call_command("seed_demo", "--json", stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def counts() -> dict[str, int]:
    models = {"tenants": Tenant, "users": User, "members": Membership, "configs": Config, "primaries": PrimaryConfig}
    models |= {"logs": CallLog, "items": QueueItem, "providers": Provider}
    return {name: model._base_manager.count() for name, model in models.items()}


@pytest.mark.django_db
def test_the_json_is_as_documented_and_its_logins_work(simulators: running_simulators, settings: Any) -> None:
    answer = seed()
    assert set(answer) == {"base_url", "simulator_url", "superuser", "tenants"}
    assert (answer["base_url"], answer["simulator_url"]) == (settings.PUBLIC_BASE_URL, simulators.url)
    assert [(each["slug"], each["name"]) for each in answer["tenants"]] == [
        ("springfield-school", "Springfield School"),
        ("lens-and-light", "Lens & Light Studio"),
    ]
    logins = [answer["superuser"]]
    for tenant in answer["tenants"]:
        assert set(tenant) == {"slug", "name", "api_key", "admin", "staff"}
        logins += [tenant["admin"], tenant["staff"]]
        client = APIClient(HTTP_AUTHORIZATION=f"Bearer {tenant['api_key']}")
        shown = client.get("/api/v1/integrations/configs").json()["results"]
        able = {slug for slug, provider in providers().items() if provider.simulator}
        assert {each["provider"] for each in shown} == able
        assert all(each["is_active"] and each["environment"] == "simulator" for each in shown)
        primary = sorted((category, each["provider"]) for each in shown for category in each["primary"])
        assert [category for category, _ in primary] == sorted({kind for slug in able for kind in providers()[slug].categories})
        assert {("payment", "mpesa"), ("sms", "africastalking")} <= set(primary)
        assert client.get("/api/v1/integrations/logs").json()["results"][0]["provider"] == "sample"
        assert len(client.get("/api/v1/integrations/queue").json()["results"]) == 3
    assert len(logins) == 5
    for login in logins:
        assert set(login) == {"username", "password"}
        assert Client().login(**login)
        assert User.objects.get(username=login["username"]).is_staff
    assert User.objects.get(username=answer["superuser"]["username"]).is_superuser
    assert set(Provider.objects.filter(installed=True).values_list("slug", flat=True)) == set(providers())


@pytest.mark.django_db(transaction=True)
def test_the_simulator_takes_the_seeded_accounts(simulators: running_simulators) -> None:
    seed()
    for config in Config.unscoped.all():
        assert services.test_config(config=config).ok, config


@pytest.mark.django_db
def test_a_second_run_adds_nothing_but_fresh_keys(simulators: running_simulators) -> None:
    first = seed()
    before = counts()
    second = seed()
    assert counts() == before
    for old, new in zip(first["tenants"], second["tenants"], strict=True):
        assert old["api_key"] != new["api_key"]
        health = "/api/v1/integrations/configs"
        assert APIClient(HTTP_AUTHORIZATION=f"Bearer {old['api_key']}").get(health).status_code == 401
        assert APIClient(HTTP_AUTHORIZATION=f"Bearer {new['api_key']}").get(health).status_code == 200
        assert not Client().login(**old["admin"])
    assert ApiKey.unscoped.filter(revoked_at__isnull=True).count() == 2


@pytest.mark.django_db
def test_refused_outside_of_the_demo(settings: Any) -> None:
    settings.DEMO = False
    with pytest.raises(CommandError):
        call_command("seed_demo")
    assert not Tenant.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_sample_item_can_be_retried(simulators: running_simulators) -> None:
    samples.register()
    key = seed()["tenants"][0]["api_key"]
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {key}")
    (failed,) = client.get("/api/v1/integrations/queue?state=failed").json()["results"]
    assert client.post(f"/api/v1/integrations/queue/{failed['id']}/retry").status_code == 200
    work_off()
    assert client.get(f"/api/v1/integrations/queue/{failed['id']}").json()["state"] == "completed"
    assert CallLog.unscoped.get(operation="sample.run").item_id == failed["id"]
    assert isinstance(jobs.get(samples.KIND), samples.SampleJob)
