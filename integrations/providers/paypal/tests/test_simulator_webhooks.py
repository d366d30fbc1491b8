"""The simulator's webhooks: signed, sent again, lost, early; and that its state survives."""

from __future__ import annotations

import base64
import json

import pytest
import requests

from integrations.providers.paypal.simulator import PaypalSimulator
from integrations.providers.paypal.tests.client import Client
from integrations.providers.paypal.tests.hub import Hub, payment
from integrations.simulators import running_simulators
from tests.simulators.support import wait_for


@pytest.fixture
def client(school: Hub) -> Client:
    return Client(school)


def test_what_is_not_taken_is_sent_again(school: Hub) -> None:
    path = school.point()
    school.hooks.answer = (500, b"")
    started = school.adapter().authorize(payment())
    school.payer(started.provider_ref)

    def tried(count: int) -> bool:
        school.clock.advance(0.5)
        return len(school.hooks.at(path)) >= count

    wait_for(lambda: tried(3))
    school.hooks.answer = (200, b"{}")
    school.clock.advance(60)
    wait_for(lambda: [each for each in school.control("GET", "/callbacks") if each["status"] == 200])
    first, *others = school.hooks.at(path)
    assert {each.json()["id"] for each in others} == {first.json()["id"]}
    assert {each.body for each in others} == {first.body}
    settled = len(school.hooks.at(path))
    school.clock.advance(3600)
    school.quiet()
    assert len(school.hooks.at(path)) == settled


def test_tries_come_to_an_end(school: Hub) -> None:
    path = school.point()
    school.hooks.answer = (503, b"")
    school.control("PUT", "/settings", {"tries": 3})
    started = school.adapter().authorize(payment())
    school.payer(started.provider_ref)

    def ended() -> bool:
        school.clock.advance(10)
        jobs = school.running.store.rows("SELECT * FROM jobs WHERE state IN ('pending', 'begun')")
        return len(school.hooks.at(path)) == 3 and not jobs

    wait_for(ended)


def test_a_lost_event_is_lost_and_a_double_one_comes_twice(school: Hub) -> None:
    path = school.point()
    school.fault("CHECKOUT.ORDER.APPROVED", "lose_callback")
    school.fault("PAYMENT.CAPTURE.COMPLETED", "duplicate_callback")
    school.paid()
    school.received("PAYMENT.CAPTURE.COMPLETED", 2)
    school.received("CHECKOUT.ORDER.COMPLETED")
    school.clock.advance(3600)
    school.quiet()
    kinds = [each.json()["event_type"] for each in school.hooks.at(path)]
    assert kinds.count("CHECKOUT.ORDER.APPROVED") == 0
    assert kinds.count("PAYMENT.CAPTURE.COMPLETED") == 2


def test_an_early_event_comes_before_the_answer(school: Hub) -> None:
    path = school.point()
    request = school.approved()
    school.fault("complete", "early_callback")
    school.adapter().complete(request)
    assert "PAYMENT.CAPTURE.COMPLETED" in [each.json()["event_type"] for each in school.hooks.at(path)]


def test_paypals_own_verdict_on_a_signature(school: Hub, client: Client) -> None:
    school.point()
    school.paid()
    request = school.received("PAYMENT.CAPTURE.COMPLETED")[0]
    headers = request.headers
    members = {
        "auth_algo": headers["paypal-auth-algo"],
        "cert_url": headers["paypal-cert-url"],
        "transmission_id": headers["paypal-transmission-id"],
        "transmission_sig": headers["paypal-transmission-sig"],
        "transmission_time": headers["paypal-transmission-time"],
        "webhook_id": school.account.values["webhook_id"],
    }

    def verdict(event: bytes, **changed: str) -> str:
        text = json.dumps({**members, **changed})[:-1].encode() + b',"webhook_event":' + event + b"}"
        sent = {"Authorization": f"Bearer {client.token}", "Content-Type": "application/json"}
        url = f"{school.base_url}/v1/notifications/verify-webhook-signature"
        return str(requests.post(url, data=text, headers=sent, timeout=5).json()["verification_status"])

    assert verdict(request.body) == "SUCCESS"
    assert verdict(json.dumps(json.loads(request.body)).encode()) == "FAILURE", "written anew it has other bytes"
    assert verdict(request.body, webhook_id="ANOTHER") == "FAILURE"
    forged = base64.b64encode(b"x" * 256).decode()
    assert verdict(request.body, transmission_sig=forged) == "FAILURE"


def test_events_are_kept_and_sent_again_on_demand(school: Hub, client: Client) -> None:
    path = school.point()
    school.paid()
    school.received("PAYMENT.CAPTURE.COMPLETED")
    listed = client.call("GET", "/v1/notifications/webhooks-events?event_type=PAYMENT.CAPTURE.COMPLETED&page_size=5").json()
    assert listed["count"] == 1
    number = listed["events"][0]["id"]
    assert client.call("GET", f"/v1/notifications/webhooks-events/{number}").json() == listed["events"][0]
    before = len(school.hooks.at(path))
    assert client.call("POST", f"/v1/notifications/webhooks-events/{number}/resend", {}).status_code == 202

    def again() -> bool:
        school.clock.advance(0.5)
        return [each.json()["id"] for each in school.hooks.at(path)].count(number) == 2

    wait_for(again)
    school.quiet()
    assert len(school.hooks.at(path)) == before + 1


def test_webhooks_by_api(school: Hub, client: Client) -> None:
    url = "https://shop.example/paypal"
    body = {"url": url, "event_types": [{"name": "PAYMENT.CAPTURE.COMPLETED"}]}
    made = client.call("POST", "/v1/notifications/webhooks", body)
    number = made.json()["id"]
    assert made.status_code == 201
    assert client.call("POST", "/v1/notifications/webhooks", body).json()["name"] == "WEBHOOK_URL_ALREADY_EXISTS"
    assert client.call("GET", f"/v1/notifications/webhooks/{number}").json()["url"] == url
    for wrong in (
        {**body, "url": "http://shop.example/"},
        {**body, "event_types": []},
        {**body, "url": "https://a.example:99/"},
    ):
        assert client.call("POST", "/v1/notifications/webhooks", wrong).status_code == 400
    assert client.call("DELETE", f"/v1/notifications/webhooks/{number}").status_code == 204
    assert client.call("GET", f"/v1/notifications/webhooks/{number}").status_code == 404
    assert len(client.call("GET", "/v1/notifications/webhooks").json()["webhooks"]) == 1


def test_state_survives_a_restart(school: Hub) -> None:
    paid = school.paid()
    folder = school.running.store.state_dir
    before = school.money()
    copy = folder.parent / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    with running_simulators([PaypalSimulator], state_dir=copy, clock=school.clock) as running:
        found = requests.get(f"{running.url}/control/paypal/money", timeout=5).json()["payments"]
        assert found == before
        assert found[0]["ref"] == paid.provider_ref
        assert running.simulator("paypal").accounts == PaypalSimulator.demo_accounts(folder)
