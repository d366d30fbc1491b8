"""The circuit breakers' pages: what an operator sees and does there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from integrations.contracts import clock
from integrations.contracts.errors import CircuitOpen
from integrations.models import AuditEntry, BreakerState, Config
from integrations.registry import config_view
from integrations.runtime import breaker
from tests import factories
from tests.admin.conftest import list_url, page_url

pytestmark = pytest.mark.django_db
Browser = Callable[[str], Client]


@pytest.fixture
def config(tenant: Any) -> Config:
    return factories.make_config(tenant, "africastalking", environment="sandbox")


@pytest.fixture
def row(config: Config) -> BreakerState:
    key, host = breaker.key_of(config_view(config))
    return BreakerState.objects.create(
        key=key,
        provider=config.provider_id,
        host=host,
        window_started_at=clock.now(),
        last_error="ProviderUnavailable: <b>answered 503</b>",
    )


def press(client: Client, row: BreakerState, button: str, data: dict[str, str] | None = None) -> list[tuple[str, str]]:
    answer = client.post(page_url(row, "press", button), data or {})
    assert answer.status_code == 302, answer.content.decode()[:300]
    return [(message.level_tag, str(message)) for message in get_messages(answer.wsgi_request)]


def test_held_open_for_an_hour_and_let_go(row: BreakerState, config: Config, browser_of: Browser) -> None:
    client = browser_of("operator")
    assert client.get(page_url(row, "press", "hold_open")).status_code == 200
    [(level, text)] = press(client, row, "hold_open", {"minutes": "60"})
    assert (level, text.startswith("Held open:")) == ("success", True)
    row.refresh_from_db()
    assert (row.forced, row.forced_by) == ("open", "operator")
    assert row.forced_until is not None
    assert timedelta(minutes=59) < row.forced_until - clock.now() <= timedelta(minutes=60)
    with pytest.raises(CircuitOpen, match="by hand"):
        breaker.check(config_view(config))
    page = client.get(page_url(row)).content.decode()
    assert "held open by operator until" in page
    assert "held-open" in client.get(list_url("integrations.breakerstate")).content.decode()
    assert press(client, row, "let_go") == [("success", "Let go: the calls decide again.")]
    breaker.check(config_view(config))
    done = AuditEntry.unscoped.filter(object_type="circuit").order_by("pk")
    assert list(done.values_list("tenant_id", "actor", "action")) == [
        (config.tenant_id, "operator", "circuit.held_open"),
        (config.tenant_id, "operator", "circuit.let_go"),
    ]


def test_held_closed_until_somebody_lets_go(row: BreakerState, browser_of: Browser) -> None:
    client = browser_of("operator")
    [(level, _text)] = press(client, row, "hold_closed", {"minutes": ""})
    row.refresh_from_db()
    assert (level, row.forced, row.forced_until) == ("success", "closed", None)
    assert "until somebody lets go" in client.get(page_url(row)).content.decode()


@pytest.mark.parametrize(
    ("fields", "offered"),
    [
        ({}, {"hold_open", "hold_closed"}),
        ({"state": "open"}, {"hold_open", "hold_closed", "reset"}),
        ({"state": "open", "forced": "open"}, {"hold_closed", "let_go"}),
        ({"forced": "closed"}, {"hold_open", "let_go"}),
        ({"forced": "closed", "forced_until": -1}, {"hold_open", "hold_closed"}),
    ],
)
def test_only_what_makes_sense_is_offered(
    fields: dict[str, Any], offered: set[str], row: BreakerState, browser_of: Browser
) -> None:
    if "forced_until" in fields:
        fields = {**fields, "forced_until": clock.now() + timedelta(seconds=fields["forced_until"])}
    BreakerState.objects.filter(pk=row.pk).update(**fields)
    client = browser_of("operator")
    found = client.get(page_url(row)).context["hub_buttons"]
    assert {each["button"].name for each in found} == offered
    for name in {"let_go", "reset"} - offered:
        assert press(client, row, name)[0][0] == "warning"


def test_a_span_that_is_not_offered_changes_nothing(row: BreakerState, browser_of: Browser) -> None:
    answer = browser_of("operator").post(page_url(row, "press", "hold_open"), {"minutes": "9999999"})
    assert (answer.status_code, list(answer.context["form"].errors)) == (200, ["minutes"])
    row.refresh_from_db()
    assert row.forced == ""


def test_the_page_says_what_happens_to_calls_meanwhile(row: BreakerState, browser_of: Browser) -> None:
    client = browser_of("operator")
    page = client.get(page_url(row)).content.decode()
    for text in ("What happens to calls while it is open", "the next provider; else another channel", "(503, Retry-After)"):
        assert text in page
    assert "fallback policies of the channel" in page
    assert "&lt;b&gt;answered 503" in page
    assert "<b>answered 503" not in page
    BreakerState.objects.filter(pk=row.pk).update(provider="gone")
    assert "Nothing yet." in client.get(page_url(row)).content.decode()


def of_account(config: Config, **fields: Any) -> BreakerState:
    key = f"{config.provider_id}|sim.example|{config.pk}"
    now = clock.now()
    values = {"key": key, "provider": config.provider_id, "host": "sim.example", "window_started_at": now, **fields}
    return BreakerState.objects.create(**values)


def test_the_list_says_whose_a_circuit_is(row: BreakerState, config: Config, browser_of: Browser) -> None:
    Config.unscoped.filter(pk=config.pk).update(label="Main office")
    of_account(config)
    of_account(config, key="gone|h|999999", provider="gone")
    url = list_url("integrations.breakerstate")
    client = browser_of("operator")
    page = client.get(url)
    shown = [(each.account, each.account_label, each.account_tenant) for each in page.context["cl"].result_list]
    assert set(shown) == {(None, None, None), (config.pk, "Main office", config.tenant.name), (999999, None, None)}
    text = page.content.decode()
    for words in ("Circuit breakers", "Africa&#x27;s Talking", "Main office", page_url(config), "removed"):
        assert words in text
    for word, found in (("main off", 1), (config.tenant.name, 1), ("sim.example", 1), ("gone", 1), ("africas", 2), ("\x00", 3)):
        assert client.get(url, {"q": word}).context["cl"].queryset.count() == found, word


def test_the_list_asks_no_question_per_row(config: Config, browser_of: Browser) -> None:
    client, url = browser_of("operator"), list_url("integrations.breakerstate")
    of_account(config)
    with CaptureQueriesContext(connection) as one_row:
        client.get(url)
    for number in range(3):
        other = factories.make_config(factories.make_tenant(f"tenant-{number}"), "africastalking", environment="sandbox")
        of_account(other)
    with CaptureQueriesContext(connection) as four_rows:
        client.get(url)
    assert len(four_rows) == len(one_row)


@pytest.mark.parametrize(
    ("fields", "age", "text", "listed"),
    [
        ({"failures": 3, "successes": 5}, 0, "3 of 8 calls that count now", "3 of 8"),
        ({"failures": 3, "successes": 5}, 31, "1 of 3 calls that count now", "1 of 3"),
        ({"failures": 3, "successes": 5}, 61, "no call that counts now", ""),
        (
            {"failures": 6, "successes": 2, "state": "open", "openings": 2},
            600,
            "6 of 8 calls when it opened, 2 times in a row",
            "",
        ),
    ],
)
def test_what_is_counted_is_what_counts_now(
    fields: dict[str, Any], age: int, text: str, listed: str, row: BreakerState, browser_of: Browser
) -> None:
    BreakerState.objects.filter(pk=row.pk).update(window_started_at=clock.now() - timedelta(seconds=age), **fields)
    client = browser_of("operator")
    assert text in client.get(page_url(row)).content.decode()
    assert listed in client.get(list_url("integrations.breakerstate")).content.decode()
    row.refresh_from_db()
    assert row.failures == fields["failures"], "looking changes nothing"


def test_a_probe_under_way_is_no_time_to_try_again(row: BreakerState, browser_of: Browser) -> None:
    BreakerState.objects.filter(pk=row.pk).update(state="half_open", retry_at=clock.now() + timedelta(seconds=40))
    assert "a call is finding out" in browser_of("operator").get(page_url(row)).content.decode()


@pytest.mark.parametrize(("held", "expected"), [("yes", 1), ("no", 2)])
def test_held_ones_are_found(held: str, expected: int, row: BreakerState, browser_of: Browser) -> None:
    BreakerState.objects.filter(pk=row.pk).update(forced="open", forced_until=clock.now() + timedelta(hours=1))
    for number, past in enumerate((None, clock.now() - timedelta(seconds=1))):
        hand = {"forced": "open", "forced_until": past} if past else {}
        BreakerState.objects.create(key=f"x|{number}", provider="x", host="h", window_started_at=clock.now(), **hand)
    answer = browser_of("operator").get(list_url("integrations.breakerstate"), {"held": held})
    assert answer.context["cl"].queryset.count() == expected


@pytest.mark.parametrize("role", ["admin", "auditor"])
def test_a_tenants_people_have_no_hand_on_it(role: str, row: BreakerState, browser_of: Browser) -> None:
    client = browser_of(role)
    assert client.get(list_url("integrations.breakerstate")).status_code == 403
    assert client.post(page_url(row, "press", "hold_open"), {"minutes": "60"}).status_code in {302, 403, 404}
    row.refresh_from_db()
    assert row.forced == ""
