"""Rate limit, log and guard around one call."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from django.db import transaction

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.errors import (
    AuthenticationFailed,
    OutcomeUnknown,
    ProviderUnavailable,
    Throttled,
    UnsupportedOperation,
)
from integrations.contracts.provider import RateLimit
from integrations.http.client import NetworkInsideTransaction
from integrations.models import CallLog, Config, LogStatus, RateBucket, Tenant
from integrations.runtime.execute import execute
from integrations.runtime.jobs import Call
from tests.factories import MovableClock
from tests.runtime.conftest import config_for
from tests.runtime.service import SLUG, Service
from tests.runtime.support import SECRET, together

pytestmark = pytest.mark.django_db
Declare = Callable[..., Any]


@pytest.fixture(autouse=True)
def _standing(clock: MovableClock) -> None:
    """Everything here happens at a time that the test sets."""


def make(tenant: Tenant, operation: str = "ask", **fields: Any) -> Any:
    return execute(Call(Capability.CRM, operation, ("v",), reference=("thing", "t1"), **fields), tenant_id=tenant.pk)


# --- the rate limit


@pytest.mark.django_db(transaction=True)
def test_the_limit_is_exact_across_threads(
    tenant: Tenant, config: Config, service: Service, provider: Declare, clock: MovableClock
) -> None:
    provider(rate_limit=RateLimit(rate=2, burst=13))

    def try_four(_number: int) -> int:
        made = 0
        for _ in range(4):
            try:
                make(tenant)
                made += 1
            except Throttled:
                continue
        return made

    assert sum(together(8, try_four)) == 13
    assert len(service.received) == 13
    clock.advance(1)
    assert sum(together(8, try_four)) == 2
    assert len(service.received) == 15


def test_a_bucket_holds_no_more_than_its_burst(clock: MovableClock) -> None:
    assert RateBucket.take("b", rate=1, burst=3) == (2.0, None)
    clock.advance(days=1)
    assert [RateBucket.take("b", rate=1, burst=3)[1] for _ in range(5)] == [None, None, None, 1.0, 1.0]


def test_a_clock_that_lags_hands_no_second_out_twice(clock: MovableClock) -> None:
    for _ in range(2):
        RateBucket.take("b", rate=1, burst=2)
    clock.advance(1)
    assert RateBucket.take("b", rate=1, burst=2)[1] is None
    clock.advance(-1)
    assert RateBucket.take("b", rate=1, burst=2)[1] == 1.0
    clock.advance(1)
    assert RateBucket.take("b", rate=1, burst=2)[1] == 1.0


def test_operations_and_configs_have_limits_of_their_own(tenant: Tenant, config: Config, provider: Declare) -> None:
    provider(rate_limit=RateLimit(rate=1, burst=1))
    second = config_for(tenant, label="second")
    for config_id, operation in [(config.pk, "ask"), (config.pk, "act"), (second.pk, "ask")]:
        assert make(tenant, operation, config_id=config_id) == "v"
    with pytest.raises(Throttled) as caught:
        make(tenant, config_id=config.pk)
    assert caught.value.retry_after == 1.0


# --- what an answer means


@pytest.mark.parametrize(("operation", "expected"), [("act", OutcomeUnknown), ("ask", ProviderUnavailable)])
def test_an_unreadable_answer(
    tenant: Tenant, config: Config, service: Service, operation: str, expected: type[Exception]
) -> None:
    service.will_answer(200, {"unexpected": SECRET})
    with pytest.raises(expected) as caught:
        make(tenant, operation)
    assert type(caught.value) is expected
    assert str(caught.value) == "The provider's answer could not be read: ok is missing."
    log = CallLog.unscoped.get()
    assert (log.status, log.status_code) == (LogStatus.FAILED, 200)


def test_a_capability_that_the_provider_lacks(tenant: Tenant, config: Config, service: Service) -> None:
    with pytest.raises(UnsupportedOperation):
        execute(Call(Capability.LMS, "ask", ("v",), config_id=config.pk), tenant_id=tenant.pk)
    assert service.received == []


# --- the log


def test_each_exchange_is_one_row(tenant: Tenant, config: Config, service: Service) -> None:
    make(tenant, "act")

    row = CallLog.unscoped.get()
    assert (row.tenant_id, row.config_id, row.provider, row.direction) == (tenant.pk, config.pk, SLUG, "outbound")
    assert (row.operation, row.method, row.status, row.status_code) == ("act", "POST", "success", 200)
    assert (row.reference_type, row.reference_id) == ("thing", "t1")
    assert json.loads(row.response_body) == {"ok": True}
    assert row.duration_ms is not None


def test_no_spelling_of_a_secret_is_in_the_log(tenant: Tenant, config: Config, service: Service) -> None:
    spelt = {
        "plain": SECRET,
        "quoted": quote(SECRET, safe=""),
        "plus": quote_plus(SECRET),
        "lower": re.sub("%..", lambda found: found[0].lower(), quote(SECRET, safe="")),
        "base64": base64.b64encode(SECRET.encode()).decode(),
        "base64url": base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
        "json": json.dumps(SECRET)[1:-1],
        "json utf-8": json.dumps(SECRET, ensure_ascii=False)[1:-1],
    }
    echo = {**spelt, "api_key": "other", "nested": json.dumps({"inner": SECRET})}
    service.will_answer(401, echo, headers={"X-Echo": spelt["quoted"], "Set-Cookie": "session=abc"})
    service.will_answer(401, " ".join(spelt.values()).encode(), headers={"Content-Type": "text/plain"})

    for _ in range(2):
        with pytest.raises(AuthenticationFailed) as caught:
            make(tenant, "act")
        assert (str(caught.value), caught.value.message) == ("refused ••••", "refused ••••")

    rows = list(CallLog.unscoped.order_by("pk"))
    assert len(rows) == 2
    for row in rows:
        everything = json.dumps(
            [row.url, row.request_headers, row.request_body, row.response_headers, row.response_body, row.error],
            ensure_ascii=False,
        )
        for name, text in spelt.items():
            assert text not in everything, name
        assert "geheim" not in everything
        assert row.request_headers["Authorization"] == "••••"
        assert row.request_headers["X-Note"] == "for ••••"
        assert json.loads(row.request_body) == {"value": "v", "api_key": "••••", "note": "key ••••"}
        assert row.url.endswith("/act?token=••••")
        assert row.error == "refused ••••"
    assert rows[0].response_headers["set-cookie"] == "••••"
    assert json.loads(rows[0].response_body)["api_key"] == "••••"
    sent = service.received[0]
    assert json.loads(sent[3])["api_key"] == SECRET, "the provider did get the secret"


def test_a_token_just_fetched_is_masked_too(tenant: Tenant, config: Config, service: Service) -> None:
    token = "tok-0123456789abcdef"
    service.will_answer(200, {"access_token": token})
    service.will_answer(200, {"you": token})

    assert make(tenant, "act_with_token") == token

    rows = list(CallLog.unscoped.order_by("pk"))
    assert [row.operation for row in rows] == ["token", "act"]
    for row in rows:
        assert token not in json.dumps(
            [row.url, row.request_headers, row.request_body, row.response_headers, row.response_body]
        )


def test_a_refused_connection_is_logged_as_failed(tenant: Tenant, provider: Declare, service: Service) -> None:
    provider(base_urls={Environment.PRODUCTION: "http://127.0.0.1:9"})
    config_for(tenant)
    with pytest.raises(Exception, match="not allowed"):
        make(tenant)
    assert CallLog.unscoped.count() == 0, "port 9 is not even dialled"


# --- no network inside a transaction


@pytest.mark.parametrize("operation", ["ask", "act"])
def test_a_call_inside_a_transaction_is_refused_and_sends_nothing(
    tenant: Tenant, config: Config, service: Service, operation: str
) -> None:
    with transaction.atomic(), pytest.raises(NetworkInsideTransaction):
        make(tenant, operation)
    assert service.received == []
    assert CallLog.unscoped.count() == 0
    assert make(tenant, operation) == "v"


def test_before_effect_runs_once_and_what_it_raises_stops_the_call(tenant: Tenant, config: Config, service: Service) -> None:
    calls: list[int] = []

    def refuse() -> None:
        calls.append(len(service.received))
        raise RuntimeError("lease lost")

    call = Call(Capability.CRM, "act", ("v",))
    with pytest.raises(RuntimeError, match="lease lost"):
        execute(call, tenant_id=tenant.pk, before_effect=refuse)
    assert calls == [0]
    assert service.received == []
    assert CallLog.unscoped.count() == 0
