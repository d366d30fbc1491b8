"""The pages of who stores his card: where they lead, what they say, how often the gateway is asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import requests
from django.test import Client
from rest_framework.test import APIClient

from integrations.contracts.errors import ProviderUnavailable
from integrations.contracts.failures import Failure
from integrations.contracts.ids import new_token
from integrations.contracts.payment import StoredMethod
from integrations.contracts.payment_features import MethodType
from integrations.models import Tenant
from integrations.simulators import running_simulators
from payments.models import SetupIntent
from payments.pages.rendering import HEADERS
from tests.factories import MovableClock, make_config, work_off
from tests.payments.fake_gateway import FakeGateway
from tests.payments.test_pages import links_of, refresh_of, text_of
from tests.payments.test_setups import CARD, PAGE, Begin, begin, config, gateway, methods, operations, said, stored

__all__ = ["begin", "config", "gateway"]  # fixtures, used by their names

pytestmark = pytest.mark.django_db(transaction=True)
PARTS = pytest.mark.parametrize("part", ["", "/return", "/cancel", "/status"])
Gateway = type[FakeGateway]


@pytest.fixture
def start(begin: Begin) -> Callable[..., SetupIntent]:
    """`start()`: a setup whose payer is sent to the gateway's page."""

    def make(state: str = "requires_action", **fields: Any) -> SetupIntent:
        fields.setdefault("next_action", PAGE if state == "requires_action" else None)
        body = begin(
            said(state, **fields), return_url="https://shop.example/saved?x=1", method={"type": "card"}
        ).json()  # fmt: skip
        return SetupIntent.unscoped.get(pk=body["id"])

    return make


Start = Callable[..., SetupIntent]


def get(setup: SetupIntent, part: str = "", **query: str) -> Any:
    return Client().get(f"/pay/{setup.page_token}{part}", query)


def asked(gateway: Gateway) -> int:
    return operations(gateway).count("setup_status")


def test_the_short_address_leads_to_the_gateway(start: Start, gateway: Gateway) -> None:
    response = get(start())
    assert (response.status_code, response["Location"]) == (302, PAGE["url"])
    assert asked(gateway) == 0


def test_what_the_gateway_answers_is_shown_at_once(start: Start, gateway: Gateway, tenant: Tenant) -> None:
    setup = start()
    gateway.answers["setup_status"] += [stored()]
    response = get(setup, "/return", setup_intent="si-1", redirect_status="failed")
    text = text_of(response)
    assert [word for word in ("Card saved", "Visa •••• 4242", "12/2030", "Springfield School") if word not in text] == []
    target = f"https://shop.example/saved?x=1&setup={setup.pk}&status=succeeded"
    assert (links_of(response), refresh_of(response)) == ([target], f"3;url={target}")
    assert [method.last4 for method in methods(tenant)] == ["4242"]
    get(setup, "/return")
    assert asked(gateway) == 1  # decided: nobody is asked any more


def test_the_gateway_is_asked_every_five_seconds_at_most(start: Start, gateway: Gateway, clock: MovableClock) -> None:
    setup = start()
    gateway.answers["setup_status"] += [said("requires_action")] * 3
    for seconds, times in ((0, 1), (0, 1), (4, 1), (1, 2), (4.9, 2), (0.1, 3)):
        clock.advance(seconds)
        response = get(setup, "/return")
        assert ("Checking your card" in text_of(response), refresh_of(response)) == (True, "3")
        assert links_of(response) == [PAGE["url"]]
        assert asked(gateway) == times


def test_a_gateway_that_is_down_changes_nothing(start: Start, gateway: Gateway, clock: MovableClock) -> None:
    setup = start()
    before = SetupIntent.unscoped.filter(pk=setup.pk).values().get()
    gateway.answers["setup_status"] += [ProviderUnavailable("down: SECRET")]
    first, second = get(setup, "/return"), get(setup, "/return")
    assert "Checking your card" in text_of(first)
    assert "SECRET" not in text_of(first) + text_of(second)
    assert asked(gateway) == 1
    assert SetupIntent.unscoped.filter(pk=setup.pk).values().get() == before


def test_approved_is_completed_by_the_queue(start: Start, gateway: Gateway, clock: MovableClock) -> None:
    setup = start()
    gateway.answers["setup_status"] += [said("approved")]
    response = get(setup, "/return")
    assert ("Checking your card" in text_of(response), links_of(response)) == (True, [])
    gateway.answers["complete_setup"] += [stored()]
    work_off()
    assert "Card saved" in text_of(get(setup, "/return"))


def test_who_leaves_may_go_on(start: Start, gateway: Gateway) -> None:
    setup = start()
    gateway.answers["setup_status"] += [said("requires_action")]
    response = get(setup, "/cancel")
    assert ("Not saved yet" in text_of(response), refresh_of(response)) == (True, None)
    assert links_of(response) == [
        PAGE["url"],
        f"https://shop.example/saved?x=1&setup={setup.pk}&status=requires_action",
    ]


def test_who_leaves_but_has_agreed_is_told_so(start: Start, gateway: Gateway) -> None:
    setup = start()
    gateway.answers["setup_status"] += [stored()]
    assert "Card saved" in text_of(get(setup, "/cancel"))


@pytest.mark.parametrize(
    ("code", "why"),
    [("expired_card", "The card has expired."), ("credentials_refused", "It could not be processed.")],
)
def test_a_refusal_says_why(code: str, why: str, start: Start, gateway: Gateway) -> None:
    setup = start("failed", failure=Failure.of(code, "provider text 4711"))
    text = text_of(get(setup, "/return"))
    assert ("Your card could not be saved" in text, why in text, "provider text" in text) == (True, True, False)
    assert asked(gateway) == 0


def test_of_an_account_nothing_is_shown(start: Start, gateway: Gateway) -> None:
    setup = start()
    account = StoredMethod(token="account-secret-7", customer_ref="cus-1", type=MethodType.REDIRECT, payer="jane@example.com")
    gateway.answers["setup_status"] += [said("succeeded", stored=account)]
    text = text_of(get(setup, "/return"))
    assert "Payment method saved" in text
    assert "jane@" not in text


@PARTS
def test_nothing_private_is_shown(part: str, start: Start, gateway: Gateway) -> None:
    setup = start()
    gateway.answers["setup_status"] += [stored()]
    get(setup, "/return")
    shown = text_of(get(setup, part))
    for word in (CARD.token, "cus-1", "si-1", "student-7", "Jane", "4b", setup.provider):
        assert word not in shown.replace(setup.pk, "")


@PARTS
def test_only_the_token_opens_it_and_only_for_looking(part: str, start: Start, gateway: Gateway) -> None:
    setup = start()
    for key in (setup.pk, new_token(), setup.page_token[:-1]):
        assert Client().get(f"/pay/{key}{part}").status_code == 404
    for method in ("post", "put", "delete", "head"):
        assert getattr(Client(), method)(f"/pay/{setup.page_token}{part}").status_code == 405
    assert asked(gateway) == 0


@PARTS
def test_every_answer_carries_the_headers_and_no_cookie(part: str, start: Start, gateway: Gateway) -> None:
    response = get(start("failed"), part)
    assert {name: response[name] for name in HEADERS} == HEADERS
    assert not response.cookies


def test_the_status_is_all_that_the_json_says(start: Start, gateway: Gateway) -> None:
    assert get(start(), "/status").json() == {"status": "requires_action"}
    assert asked(gateway) == 0


# --- with a real gateway behind it


def test_a_card_is_stored_by_the_gateways_form(
    tenant: Tenant, simulators: running_simulators, admin_api: APIClient, clock: MovableClock
) -> None:
    make_config(tenant, "stripe")
    body = {"provider": "stripe", "method": {"type": "redirect"}, "customer": {"id": "student-7"}}
    made = admin_api.post("/api/v1/payments/setup-intent", body, format="json").json()
    assert made["status"] == "requires_action", made
    setup = SetupIntent.unscoped.get(pk=made["id"])
    form = get(setup)
    html = form.content.decode()
    assert ("Save your card" in text_of(form), '"kind": "setup"' in html) == (True, True)
    assert f"/pay/{setup.page_token}/return" in html
    assert f"connect-src {simulators.url}" in form["Content-Security-Policy"]
    unsaved = get(setup, "/return")
    assert "is not saved yet" in text_of(unsaved)
    assert [url.rsplit("/", 1)[1] for url in links_of(unsaved)] == [setup.page_token]
    pay = {"ref": setup.pk, "action": "approve"}
    assert requests.post(f"{simulators.url}/control/stripe/payer", json=pay, timeout=10).status_code == 200
    assert "Checking" in text_of(get(setup))  # asked just now; no form any more
    clock.advance(5)
    shown = text_of(get(setup))
    assert ("Card saved" in shown, "Visa •••• 4242" in shown) == (True, True)
    assert [(method.customer_id, method.last4) for method in methods(tenant)] == [("student-7", "4242")]


def test_the_banks_page_is_never_where_the_link_leads(
    tenant: Tenant, simulators: running_simulators, admin_api: APIClient, clock: MovableClock
) -> None:
    config = make_config(tenant, "stripe")
    made = admin_api.post("/api/v1/payments/setup-intent", {"method": {"type": "card"}}, format="json").json()
    setup = SetupIntent.unscoped.get(pk=made["id"])
    secret = re.search(r'"client_secret": "([^"]+)"', get(setup).content.decode())
    assert secret is not None
    form = {
        "key": config.values["publishable_key"],
        "client_secret": secret[1],
        "payment_method": "pm_card_threeDSecure2Required",
        "return_url": "https://hub.example/back",
    }
    url = f"{simulators.url}/stripe/v1/setup_intents/{setup.provider_ref}/confirm"
    assert requests.post(url, data=form, timeout=10).json()["next_action"]["type"] == "redirect_to_url"
    assert "is not saved yet" in text_of(get(setup, "/return"))
    setup.refresh_from_db()
    assert setup.next_action["url"].endswith(f"/pay/{setup.page_token}")
    assert "Save your card" in text_of(get(setup))
