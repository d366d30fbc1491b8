"""The admin's form: generated fields, secrets that never travel back, writing through the services."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.configs.forms import ConfigForm, config_form_class
from integrations.models import Config, Tenant
from integrations.registry import get_provider
from tests.factories import make_config

pytestmark = pytest.mark.django_db
SECRET = "atsk_0123456789abcdef"


def posted(tenant: Tenant, **changes: Any) -> dict[str, Any]:
    base = {
        "tenant": tenant.pk,
        "label": "Main",
        "environment": "sandbox",
        "is_active": "on",
        "value_username": "springfield",
        "value_api_key": SECRET,
        "value_path": "bulk",
        "value_batch_size": "50",
    }
    return {**base, **changes}


def form(data: dict[str, Any] | None, **options: Any) -> ConfigForm:
    return config_form_class("africastalking")(data, **options)


def test_one_field_for_each_of_the_schema() -> None:
    fields = {name for name in form(None).fields if name.startswith("value_")}
    assert fields == {f"value_{field.name}" for field in get_provider("africastalking").config}


def test_valid_data_are_stored_through_the_services(tenant: Tenant) -> None:
    filled = form(posted(tenant))
    assert filled.is_valid(), filled.errors
    stored = filled.save()
    row = Config.unscoped.get(pk=stored.pk)
    assert row.values == {"username": "springfield", "path": "bulk", "batch_size": 50}
    assert row.secrets() == {"api_key": SECRET}
    assert (row.tenant, row.label, row.environment) == (tenant, "Main", "sandbox")


def test_the_admins_two_steps(tenant: Tenant) -> None:
    filled = form(posted(tenant))
    assert filled.is_valid()
    instance = filled.save(commit=False)
    assert instance.pk is None
    assert not Config.unscoped.exists()
    filled.apply(tenant=tenant)
    assert instance.pk == Config.unscoped.get().pk


def test_a_stored_secret_is_shown_by_its_end_only_and_kept_when_left_empty(tenant: Tenant) -> None:
    config = make_config(tenant, "africastalking", {"api_key": SECRET})
    page = form(None, instance=config).as_p()
    assert SECRET not in page
    assert 'placeholder="••••cdef"' in page
    filled = form(posted(tenant, value_api_key="", value_username="renamed"), instance=config)
    assert filled.is_valid(), filled.errors
    filled.save()
    row = Config.unscoped.get(pk=config.pk)
    assert row.secrets() == {"api_key": SECRET}
    assert row.values["username"] == "renamed"


def test_a_bound_form_does_not_echo_the_secret(tenant: Tenant) -> None:
    filled = form(posted(tenant, value_username="has space"))
    assert not filled.is_valid()
    assert set(filled.errors) == {"value_username"}
    assert SECRET not in filled.as_p()
    assert not Config.unscoped.exists()


def test_a_check_over_several_fields_is_shown_at_its_field(tenant: Tenant) -> None:
    config = make_config(tenant, "mpesa")
    data = {f"value_{name}": value for name, value in config.values.items()}
    data |= {"tenant": tenant.pk, "environment": "simulator", "is_active": "on", "value_certificate": ""}
    filled = config_form_class("mpesa")(data, instance=config)
    assert not filled.is_valid()
    assert filled.errors["value_certificate"] == ["is required to use an initiator"]


def test_an_optional_secret_can_be_removed(tenant: Tenant) -> None:
    config = make_config(tenant, "mpesa")
    data = {f"value_{name}": value for name, value in config.values.items()}
    data |= {"tenant": tenant.pk, "environment": "simulator", "is_active": "on"}
    data |= {"value_initiator_name": "", "value_certificate": "", "clear_initiator_password": "on"}
    filled = config_form_class("mpesa")(data, instance=config)
    assert filled.is_valid(), filled.errors
    filled.save()
    assert set(Config.unscoped.get(pk=config.pk).secrets()) == {"consumer_key", "consumer_secret", "passkey"}


def test_simulator_is_no_choice_outside_of_the_demo(tenant: Tenant, settings: Any) -> None:
    settings.DEMO = False
    filled = form(posted(tenant, environment="simulator"))
    assert not filled.is_valid()
    assert set(filled.errors) == {"environment"}
