"""The circuit breakers' pages: what an operator sees and does there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client

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
    for text in ("What happens to calls while it is open", "the next provider; else another channel", "Retry-After"):
        assert text in page
    assert "fallback policies of the channel" in page
    assert "&lt;b&gt;answered 503" in page
    assert "<b>answered 503" not in page
    BreakerState.objects.filter(pk=row.pk).update(provider="gone")
    assert "Nothing yet." in client.get(page_url(row)).content.decode()


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
