"""What registering webhooks brings is stored in the config: only those fields, sealed where secret, in one piece."""

from __future__ import annotations

from threading import Thread
from typing import Any

import pytest
from django.db import connection

from integrations.configs import registrations, services
from integrations.contracts.adapter import Registration
from integrations.contracts.errors import BadReply, Conflict
from integrations.models import Config, ConfigStatus, ExternalReference, OAuthToken, Tenant
from tests.configs.sample_fixtures import gateway, sample_config
from tests.configs.sample_gateway import SIGNING, TEST_KEY, SampleGateway

__all__ = ["gateway"]
pytestmark = pytest.mark.django_db(transaction=True)
BROUGHT = Registration("Endpoint we_1 listens.", values={"endpoint_id": "we_1"}, secrets={"webhook_secret": SIGNING})


def row(config: Config) -> Config:
    return Config.unscoped.get(pk=config.pk)


def routes(config: Config) -> set[tuple[str, str]]:
    return set(ExternalReference.unscoped.filter(config=config, object_type="config").values_list("kind", "external_id"))


def test_values_and_secrets_are_stored_and_routed(tenant: Tenant, gateway: type[SampleGateway], settings: Any) -> None:
    config = sample_config(tenant, values={"statement": "SCHOOL"})
    assert services.test_config(config=config).ok
    gateway.answer = BROUGHT
    outcome = services.register_webhooks(config=row(config))
    assert (outcome.ok, outcome.status, outcome.detail) == (True, "registered", "Endpoint we_1 listens.")
    assert gateway.asked == [{"events": f"{settings.PUBLIC_BASE_URL}/hooks/{config.hook_token}/events"}]
    stored = row(config)
    assert stored.values == {"statement": "SCHOOL", "endpoint_id": "we_1", "multicapture": False}
    assert stored.secrets() == {"secret_key": TEST_KEY, "webhook_secret": SIGNING}
    assert SIGNING not in stored.sealed
    assert routes(config) == {("endpoint_id", "we_1")}
    assert (stored.status, stored.is_active) == (ConfigStatus.OK, True)
    assert registrations.is_registered(stored)


def test_the_callers_row_is_brought_up_to_date(tenant: Tenant, gateway: type[SampleGateway]) -> None:
    config = sample_config(tenant)
    gateway.answer = BROUGHT
    services.register_webhooks(config=config)
    assert (config.values["endpoint_id"], config.secrets()["webhook_secret"]) == ("we_1", SIGNING)
    assert services.test_config(config=config).ok
    assert row(config).status == ConfigStatus.OK


def test_a_registration_without_anything_to_store_leaves_the_row_alone(tenant: Tenant, gateway: type[SampleGateway]) -> None:
    config = sample_config(tenant)
    before = Config.unscoped.filter(pk=config.pk).values().get()
    services.register_webhooks(config=config)
    assert Config.unscoped.filter(pk=config.pk).values().get() == before
    assert registrations.is_registered(row(config))


def test_done_twice_stores_the_newer_and_one_mark(tenant: Tenant, gateway: type[SampleGateway]) -> None:
    config = sample_config(tenant)
    gateway.answer = BROUGHT
    services.register_webhooks(config=config)
    gateway.answer = Registration("Made anew.", values={"endpoint_id": "we_2"})
    services.register_webhooks(config=config)
    assert routes(config) == {("endpoint_id", "we_2")}
    assert row(config).secrets()["webhook_secret"] == SIGNING
    assert ExternalReference.unscoped.filter(config=config, kind=registrations.KIND).count() == 1


def test_a_change_of_other_fields_meanwhile_is_kept(tenant: Tenant, gateway: type[SampleGateway]) -> None:
    config = sample_config(tenant)
    newer = "sk_test_fedcba9876543210"

    def edit() -> None:
        assert not connection.in_atomic_block
        services.update_config(config=config, values={"statement": "NEW", "secret_key": newer}, label="renamed")

    gateway.answer, gateway.during = BROUGHT, edit
    services.register_webhooks(config=config)
    stored = row(config)
    assert stored.values == {"statement": "NEW", "endpoint_id": "we_1", "multicapture": False}
    assert stored.secrets() == {"secret_key": newer, "webhook_secret": SIGNING}
    assert stored.label == "renamed"
    assert not registrations.is_registered(stored), "it may be another account now"


def test_replacing_a_config_keeps_what_the_provider_assigned(tenant: Tenant, gateway: type[SampleGateway]) -> None:
    config = sample_config(tenant, values={"statement": "SCHOOL"})
    gateway.answer = BROUGHT
    services.register_webhooks(config=config)
    services.update_config(config=config, values={"multicapture": False}, replace=True)
    assert row(config).values == {"endpoint_id": "we_1", "multicapture": False}
    services.update_config(config=config, values={"endpoint_id": "we_2"}, replace=True)
    assert row(config).values["endpoint_id"] == "we_2"


def test_one_registration_of_a_config_at_a_time(tenant: Tenant, gateway: type[SampleGateway]) -> None:
    config, other = sample_config(tenant), sample_config(tenant)
    problems: list[Exception | None] = []

    def another() -> None:
        def press(which: Config) -> None:
            try:
                services.register_webhooks(config=row(which))
                problems.append(None)
            except Conflict as problem:
                problems.append(problem)
            finally:
                connection.close()

        gateway.during = None
        for which in (config, other):
            thread = Thread(target=press, args=(which,))
            thread.start()
            thread.join()

    gateway.during = another
    services.register_webhooks(config=config)
    assert isinstance(problems[0], Conflict)
    assert problems[1:] == [None]
    assert len(gateway.asked) == 2
    services.register_webhooks(config=config)  # free again


@pytest.mark.parametrize("what", ["moved", "removed"])
def test_a_config_that_is_another_one_meanwhile_takes_nothing(tenant: Tenant, gateway: type[SampleGateway], what: str) -> None:
    config = sample_config(tenant)

    def happens() -> None:
        if what == "removed":
            assert services.delete_config(config=row(config))
        else:
            services.update_config(config=config, environment="production", values={"secret_key": "sk_live_0123456789"})

    gateway.answer, gateway.during = BROUGHT, happens
    with pytest.raises(Conflict):
        services.register_webhooks(config=config)
    left = Config.unscoped.filter(pk=config.pk)
    assert [(each.environment, each.values) for each in left] == (
        [] if what == "removed" else [("production", {"multicapture": False})]
    )
    assert not ExternalReference.unscoped.filter(object_id=str(config.pk)).exists()


@pytest.mark.parametrize(
    ("brought", "named"),
    [
        (Registration("x", values={"shoe_size": "43"}), "shoe_size"),
        (Registration("x", values={"endpoint_id": "we_1"}, secrets={"webhook_secret": "strange"}), "webhook_secret"),
        (Registration("x", values={"endpoint_id": 7}), "endpoint_id"),
        (Registration("x", values={"endpoint_id": "we\0"}), "endpoint_id"),
    ],
)
def test_what_the_schema_does_not_take_is_not_stored(
    tenant: Tenant, gateway: type[SampleGateway], brought: Registration, named: str
) -> None:
    config = sample_config(tenant)
    before = Config.unscoped.filter(pk=config.pk).values().get()
    gateway.answer = brought
    with pytest.raises(BadReply) as caught:
        services.register_webhooks(config=config)
    assert named in caught.value.message
    assert "strange" not in caught.value.message
    assert Config.unscoped.filter(pk=config.pk).values().get() == before
    assert not registrations.is_registered(config)


def test_a_secret_is_sealed_whatever_the_adapter_calls_it(tenant: Tenant, gateway: type[SampleGateway]) -> None:
    config = sample_config(tenant)
    gateway.answer = Registration("x", values={"webhook_secret": SIGNING})
    services.register_webhooks(config=config)
    assert "webhook_secret" not in row(config).values
    assert row(config).secrets()["webhook_secret"] == SIGNING


def test_what_makes_a_registration_old(tenant: Tenant, gateway: type[SampleGateway], settings: Any) -> None:
    config = sample_config(tenant)
    services.register_webhooks(config=config)
    services.update_config(config=config, label="renamed")
    assert registrations.is_registered(row(config))
    settings.PUBLIC_BASE_URL = "https://moved.example"
    assert not registrations.is_registered(row(config))
    services.register_webhooks(config=row(config))
    assert registrations.is_registered(row(config))
    services.update_config(config=config, values={"secret_key": "sk_test_another_account"})
    assert not registrations.is_registered(row(config))


def test_a_token_that_is_held_stays(tenant: Tenant, gateway: type[SampleGateway]) -> None:
    config = sample_config(tenant)
    token = OAuthToken.unscoped.create(tenant=tenant, config=config)
    gateway.answer = BROUGHT
    services.register_webhooks(config=config)
    assert OAuthToken.unscoped.filter(pk=token.pk).exists()


def test_a_mark_keeps_no_config_from_being_removed(tenant: Tenant, gateway: type[SampleGateway]) -> None:
    config = sample_config(tenant)
    gateway.answer = BROUGHT
    services.register_webhooks(config=config)
    assert services.delete_config(config=row(config)) is True
    assert not ExternalReference.unscoped.filter(object_id=str(config.pk)).exists()
