"""What one call costs in statements, and that the log tells the truth whenever it is read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from integrations.contracts.capabilities import Capability
from integrations.models import CallLog, Config, PrimaryConfig, Tenant
from integrations.oauth_client import tokens
from integrations.runtime.execute import execute
from integrations.runtime.jobs import Call
from integrations.secrets import _opened
from tests.runtime.conftest import config_for
from tests.runtime.service import Service
from tests.simulators.support import wait_for

pytestmark = pytest.mark.django_db(transaction=True)


def make(tenant: Tenant, operation: str = "act", **fields: Any) -> Any:
    return execute(Call(Capability.CRM, operation, ("v",), **fields), tenant_id=tenant.pk)


def statements(work: Callable[[], Any]) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        work()
    return [each["sql"] for each in captured]


@pytest.mark.parametrize("how", ["by id", "by provider", "primary", "the only one"])
def test_a_call_finds_its_account_and_logs_itself_in_three_statements(
    tenant: Tenant, config: Config, service: Service, how: str
) -> None:
    ways: dict[str, dict[str, Any]] = {"by id": {"config_id": config.pk}, "by provider": {"provider": config.provider_id}}
    named = ways.get(how, {})
    if how == "primary":
        config_for(tenant, label="another")
        PrimaryConfig.unscoped.create(tenant=tenant, category="crm", config=config)
    make(tenant, **named)
    found = statements(lambda: make(tenant, **named))
    assert len([each for each in found if 'FROM "integrations_config"' in each]) == 1
    logged = [each.split()[0] for each in found if 'integrations_calllog" ' in each]
    assert logged == ["INSERT", "UPDATE"]
    assert set(CallLog.unscoped.values_list("config_id", "status")) == {(config.pk, "success")}


def test_a_token_that_is_held_costs_one_statement(tenant: Tenant, config: Config, service: Service) -> None:
    service.will_answer(200, {"access_token": "tok-0123456789"})
    make(tenant, "act_with_token")
    found = statements(lambda: make(tenant, "act_with_token"))
    asked = [each for each in found if "oauthtoken" in each]
    assert len(asked) == 1
    assert not asked[0].endswith("FOR UPDATE")
    assert service.paths == ["/token", "/act", "/act"]
    assert tokens.EARLY.total_seconds() == 60


def test_until_the_answer_is_judged_the_row_says_pending(tenant: Tenant, config: Config, service: Service) -> None:
    service.gate = threading.Event()

    def call() -> None:
        try:
            make(tenant)
        finally:
            connection.close()

    thread = threading.Thread(target=call)
    thread.start()
    try:
        wait_for(lambda: service.received)
        assert CallLog.unscoped.get().status == "pending"
    finally:
        service.gate.set()
        thread.join(20)
    assert CallLog.unscoped.get().status == "success"


def test_a_bug_after_the_answer_leaves_the_answer_in_the_log(tenant: Tenant, config: Config, service: Service) -> None:
    with pytest.raises(RuntimeError, match="bug after"):
        make(tenant, "act_and_crash")
    row = CallLog.unscoped.get()
    assert (row.status, row.status_code, row.response_body) == ("success", 200, '{"ok": true}')


def test_a_secret_that_was_changed_is_opened_anew(tenant: Tenant, config: Config, service: Service) -> None:
    make(tenant)
    opened = _opened.cache_info().misses
    make(tenant)
    assert _opened.cache_info().misses == opened
    config.set_secrets({"api_key": "another-key"})
    config.save()
    make(tenant)
    assert service.received[-1][2]["Authorization"] == "Bearer another-key"
    assert CallLog.unscoped.order_by("-pk")[0].request_headers["Authorization"] == "••••"
