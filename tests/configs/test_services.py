"""Creating, changing, choosing and removing configs; failure tests assert that nothing was written."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.test import Client, override_settings

from integrations.configs import schemas, services
from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.contracts.schema import SchemaErrors
from integrations.models import (
    CallLog,
    Config,
    ConfigStatus,
    ExternalReference,
    OAuthToken,
    PrimaryConfig,
    Provider,
    QueueItem,
    Tenant,
)
from tests.factories import demo_values, make_config, make_log
from webhooks.inbound.endpoints import services as inbound
from webhooks.inbound.models import InboundEndpoint

pytestmark = pytest.mark.django_db
SMS = "africastalking"
MPESA = "mpesa"


def sms_values(**changes: object) -> dict[str, object]:
    return {"username": "springfield", "api_key": "atsk_0123456789abcdef", **changes}


def create(tenant: Tenant, values: dict[str, object] | None = None, **fields: object) -> Config:
    given = {"provider": SMS, "environment": "sandbox", **fields}
    return services.create_config(tenant=tenant, values=sms_values() if values is None else values, **given)


def routes(config: Config) -> set[tuple[str, str]]:
    mine = ExternalReference.unscoped.filter(config=config)
    return set(mine.values_list("kind", "external_id"))


def test_secrets_are_sealed_and_plain_values_are_not(tenant: Tenant) -> None:
    config = create(tenant)
    stored = Config.unscoped.get(pk=config.pk)
    assert stored.values == {"username": "springfield", "path": "classic", "batch_size": 100}
    assert stored.secrets() == {"api_key": "atsk_0123456789abcdef"}
    assert "atsk_0123456789abcdef" not in stored.sealed
    assert stored.masked_secrets() == {"api_key": "••••cdef"}


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"provider": "nobody"}, "provider"),
        ({"environment": "moon"}, "environment"),
        ({"label": "x" * 101}, "label"),
        ({"label": "a\0b"}, "label"),
    ],
)
def test_a_bad_argument_is_named_and_nothing_is_stored(tenant: Tenant, changes: dict[str, str], attr: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        create(tenant, **changes)
    assert caught.value.attr == attr
    assert not Config.unscoped.exists()


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"api_key": "atsk_0123456789abcdef"}, "username"),
        (sms_values(username="has space"), "username"),
        (sms_values(batch_size=0), "batch_size"),
        (sms_values(shoe_size=43), "shoe_size"),
        (sms_values(api_key="••••cdef"), "api_key"),
        (sms_values(username="nul\0byte"), "username"),
        (sms_values(username="surrogate\ud800"), "username"),
    ],
)
def test_a_bad_value_is_named_and_nothing_is_stored(tenant: Tenant, values: dict[str, object], field: str) -> None:
    with pytest.raises(SchemaErrors) as caught:
        create(tenant, values)
    assert set(caught.value.errors) == {field}
    assert not Config.unscoped.exists()
    assert not ExternalReference.unscoped.exists()


def test_a_provider_that_is_switched_off_takes_no_active_config(tenant: Tenant) -> None:
    Provider.objects.filter(pk=SMS).update(enabled=False)
    with pytest.raises(InvalidRequest, match="switched off"):
        create(tenant)
    assert not Config.unscoped.exists()


@override_settings(DEMO=False)
def test_simulators_exist_in_the_demo_only(tenant: Tenant) -> None:
    with pytest.raises(InvalidRequest) as caught:
        create(tenant, environment="simulator")
    assert caught.value.attr == "environment"
    assert not Config.unscoped.exists()


def test_an_inactive_config_may_be_incomplete_but_not_wrong(tenant: Tenant) -> None:
    config = create(tenant, {"api_key": "atsk_0123456789abcdef"}, is_active=False)
    assert schemas.missing(config) == {"username": "is required"}
    with pytest.raises(SchemaErrors) as caught:
        services.update_config(config=config, is_active=True)
    assert caught.value.errors == {"username": "is required"}
    assert not Config.unscoped.get(pk=config.pk).is_active
    with pytest.raises(SchemaErrors):
        services.update_config(config=config, values={"username": "has space"})
    services.update_config(config=config, values={"username": "springfield"}, is_active=True)
    assert Config.unscoped.get(pk=config.pk).is_active


@pytest.mark.parametrize("given", [{}, {"api_key": ""}])
def test_a_secret_that_is_not_given_keeps_its_value(tenant: Tenant, given: dict[str, str]) -> None:
    config = create(tenant)
    services.update_config(config=config, values={"username": "renamed", **given}, replace=True)
    stored = Config.unscoped.get(pk=config.pk)
    assert stored.secrets() == {"api_key": "atsk_0123456789abcdef"}
    assert stored.values["username"] == "renamed"


def test_an_optional_secret_given_as_none_is_removed_and_a_required_one_is_not(tenant: Tenant) -> None:
    config = make_config(tenant, MPESA)
    assert "initiator_password" in config.secrets()
    services.update_config(config=config, values={"initiator_name": None, "initiator_password": None, "certificate": None})
    assert "initiator_password" not in Config.unscoped.get(pk=config.pk).secrets()
    with pytest.raises(SchemaErrors) as caught:
        services.update_config(config=config, values={"passkey": None})
    assert caught.value.errors == {"passkey": "is required"}
    assert "passkey" in Config.unscoped.get(pk=config.pk).secrets()


def test_patch_merges_and_replace_resets(tenant: Tenant) -> None:
    config = create(tenant, sms_values(sender_id="SCHOOL", batch_size=7))
    services.update_config(config=config, values={"batch_size": 9})
    assert Config.unscoped.get(pk=config.pk).values["sender_id"] == "SCHOOL"
    services.update_config(config=config, values={"username": "springfield"}, replace=True)
    assert Config.unscoped.get(pk=config.pk).values == {"username": "springfield", "path": "classic", "batch_size": 100}


def test_changed_credentials_make_it_untested_and_drop_the_token(tenant: Tenant) -> None:
    config = create(tenant)
    Config.unscoped.filter(pk=config.pk).update(status=ConfigStatus.OK, status_detail="fine")
    OAuthToken.unscoped.create(tenant=tenant, config=config, sealed="x.y")
    services.update_config(config=config, label="Main")
    assert Config.unscoped.get(pk=config.pk).status == ConfigStatus.OK
    assert OAuthToken.unscoped.filter(config=config).exists()
    services.update_config(config=config, values={"api_key": "atsk_fedcba9876543210"})
    stored = Config.unscoped.get(pk=config.pk)
    assert (stored.status, stored.status_detail) == (ConfigStatus.UNTESTED, "")
    assert not OAuthToken.unscoped.filter(config=config).exists()


def test_routing_references_follow_the_values(tenant: Tenant) -> None:
    config = make_config(tenant, MPESA, account="studio")
    assert routes(config) == {("shortcode", "5123456"), ("store_number", "600426")}
    services.update_config(config=config, values={"shortcode": "600111", "store_number": "", "product": "paybill"})
    assert routes(config) == {("shortcode", "600111")}
    services.update_config(config=config, is_active=False)
    assert routes(config) == {("shortcode", "600111")}
    assert services.delete_config(config=config)
    assert not ExternalReference.unscoped.exists()


def primaries(tenant: Tenant) -> dict[str, int]:
    return dict(PrimaryConfig.unscoped.filter(tenant=tenant).values_list("category", "config_id"))


def test_the_only_active_config_is_primary(tenant: Tenant, other_tenant: Tenant) -> None:
    make_config(other_tenant, SMS)
    off = create(tenant, is_active=False)
    assert primaries(tenant) == {}
    first = create(tenant)
    second = create(tenant)
    assert primaries(tenant) == {"sms": first.pk}
    assert services.set_primary(config=second) == ["sms"]
    assert primaries(tenant) == {"sms": second.pk}
    services.update_config(config=second, is_active=False)
    assert primaries(tenant) == {"sms": first.pk}
    with pytest.raises(Conflict):
        services.set_primary(config=off)
    with pytest.raises(InvalidRequest) as caught:
        services.set_primary(config=first, category="payment")
    assert caught.value.attr == "category"
    assert primaries(tenant) == {"sms": first.pk}


def test_without_a_primary_nobody_picks_among_several(tenant: Tenant) -> None:
    primary, _second, _third = create(tenant), create(tenant), create(tenant)
    services.delete_config(config=primary)
    assert primaries(tenant) == {}


def test_an_unused_config_goes_and_its_log_stays(tenant: Tenant) -> None:
    config = create(tenant)
    log = make_log(tenant, provider=SMS, config=config)
    assert services.delete_config(config=config) is True
    assert not Config.unscoped.exists()
    assert CallLog.unscoped.get(pk=log.pk).config_id is None


def test_its_way_in_goes_with_a_config_unless_something_came_in(tenant: Tenant) -> None:
    quiet, busy = create(tenant), create(tenant)
    inbound.ensure_rows(tenants=[tenant])
    assert InboundEndpoint.unscoped.filter(config__in=[quiet, busy]).count() == 2
    assert services.delete_config(config=quiet) is True
    assert list(InboundEndpoint.unscoped.values_list("config_id", flat=True)) == [busy.pk]
    report = b"id=ATXid_1&status=Success&phoneNumber=%2B254712345678"
    kind = "application/x-www-form-urlencoded"
    assert Client().post(f"/hooks/{busy.hook_token}/dlr", report, content_type=kind).status_code == 200
    assert services.delete_config(config=busy) is False


def test_what_goes_with_a_config_is_there() -> None:
    assert all(apps.get_model(label) for label in services.EXPENDABLE)


def test_a_config_with_queued_work_is_switched_off_instead(tenant: Tenant) -> None:
    config = create(tenant)
    QueueItem.unscoped.create(tenant=tenant, kind="sample", config=config)
    assert services.delete_config(config=config) is False
    assert not Config.unscoped.get(pk=config.pk).is_active
    assert primaries(tenant) == {}


def test_callback_urls_are_below_the_configs_own_path(tenant: Tenant) -> None:
    config = make_config(tenant, SMS)
    with override_settings(PUBLIC_BASE_URL="https://hub.example.org"):
        urls = {each.purpose: each.url for each in services.callback_urls(config)}
    base = f"https://hub.example.org/hooks/{config.hook_token}"
    assert urls == {each: f"{base}/{each}" for each in ("dlr", "inbox", "optout")}
    assert demo_values(SMS, "school")["username"] == config.values["username"]
