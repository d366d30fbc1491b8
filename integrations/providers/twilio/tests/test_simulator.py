"""The simulator itself: what it refuses, how it calls back and tries again, its controls."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import pytest
import requests

from integrations.contracts.messaging import Target
from integrations.providers.twilio.signature import fits
from integrations.providers.twilio.tests.hub import Hub
from tests.simulators.support import wait_for

NUMBER = "+254711000123"


def post(hub: Hub, form: dict[str, str] | str, *, auth: tuple[str, str] | None = None) -> requests.Response:
    values, secrets = hub.account.values, hub.account.secrets
    url = f"{hub.running.url}/twilio/2010-04-01/Accounts/{values['account_sid']}/Messages.json"
    return requests.post(url, data=form, auth=auth or (values["account_sid"], secrets["auth_token"]), timeout=5)


def order(hub: Hub, **changes: str) -> dict[str, str]:
    given = {"To": NUMBER, "From": str(hub.account.values["sender"]), "Body": "Hello"}
    return {name: value for name, value in {**given, **changes}.items() if value}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"To": ""}, 21604),
        ({"From": ""}, 21603),
        ({"Body": ""}, 21602),
        ({"Body": "x" * 1601}, 21617),
        ({"To": "0711000123"}, 21211),
        ({"From": "+15017120000"}, 21606),
        ({"To": f"whatsapp:{NUMBER}"}, 21910),
        ({"StatusCallback": "http://under_score.example/x"}, 21609),
        ({"StatusCallback": "/status"}, 21609),
        ({"MediaUrl": "file:///etc/passwd"}, 21620),
        ({"ValidityPeriod": "0"}, 20001),
        ({"ValidityPeriod": "36001"}, 20001),
        ({"SendAt": "2026-11-22T00:00:00Z"}, 20001),
    ],
)
def test_what_is_refused(school: Hub, changes: dict[str, str], code: int) -> None:
    answer = post(school, order(school, **changes))
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json().keys() == {"code", "message", "more_info", "status"}
    assert school.messages() == []


def test_who_is_not_known(school: Hub, studio: Hub) -> None:
    token = school.account.secrets["auth_token"]
    for user, password in (
        (school.account.values["account_sid"], "x"),
        (studio.account.values["account_sid"], token),
        ("", ""),
        (studio.account.values["api_key_sid"], studio.account.secrets["auth_token"]),
    ):
        answer = post(school, order(school), auth=(str(user), password))
        assert (answer.status_code, answer.json()["code"]) == (401, 20003)
    own = (str(studio.account.values["account_sid"]), studio.account.secrets["auth_token"])
    assert post(school, order(school), auth=own).status_code == 404
    assert school.messages() == studio.messages() == []


def test_a_standard_key_may_not_read_the_account(studio: Hub) -> None:
    url = f"{studio.running.url}/twilio/2010-04-01/Accounts/{studio.account.values['account_sid']}.json"
    key = (studio.account.values["api_key_sid"], studio.account.secrets["api_key_secret"])
    assert requests.get(url, auth=key, timeout=5).status_code == 401
    own = (studio.account.values["account_sid"], studio.account.secrets["auth_token"])
    assert requests.get(url, auth=own, timeout=5).json()["status"] == "active"


def test_a_list_is_paged_and_dated(school: Hub) -> None:
    for number in range(3):
        post(school, order(school, Body=f"No. {number}", To="+254711000902"))
    url = f"{school.running.url}/twilio/2010-04-01/Accounts/{school.account.values['account_sid']}/Messages.json"
    own = (school.account.values["account_sid"], school.account.secrets["auth_token"])

    def get(path: str = "", **query: str) -> Any:
        answer = requests.get(f"{school.running.url}/twilio{path}" if path else url, params=query, auth=own, timeout=5)
        assert answer.status_code == 200
        return answer.json()

    first = get(To="+254711000902", PageSize="2")
    assert [each["body"] for each in first["messages"]] == ["No. 2", "No. 1"]
    second = get(first["next_page_uri"])
    assert [each["body"] for each in second["messages"]] == ["No. 0"]
    assert second["next_page_uri"] is None
    assert get(To="+254711000902", **{"DateSent>": "2026-11-20"})["messages"] == [], "not sent yet"

    def sent() -> Any:
        school.clock.advance(0.5)
        return len(get(**{"DateSent>": "2026-11-20"})["messages"]) == 3

    wait_for(sent)
    assert get(**{"DateSent>": "2026-11-22"})["messages"] == []
    assert get(**{"DateSent<": "2026-11-20"})["messages"] == []
    assert len(get(DateSent="2026-11-21")["messages"]) == 3
    assert get(To=NUMBER)["messages"] == []


def test_two_sends_are_two_rows_and_on_the_phone(school: Hub) -> None:
    for _ in range(2):
        school.sms().send(school.text(NUMBER))
    assert [(row["to"], row["ref"]) for row in school.messages()] == [(NUMBER, "ref_1")] * 2
    inbox = requests.get(f"{school.running.url}/control/phone/inbox", params={"number": NUMBER}, timeout=5).json()
    rows = inbox["messages"] if isinstance(inbox, dict) else inbox
    assert [row["text"] for row in rows] == ["Fees received."] * 2


@pytest.mark.parametrize(
    ("overrides", "answer", "calls"),
    [
        ("#rc=3&rp=all", 500, 4),
        ("#rc=3&rp=all", 401, 4),
        ("#rc=2&rp=5xx", 503, 3),
        ("#rc=2&rp=5xx", 404, 1),
        ("", 500, 1),
        ("#rc=3&rp=all", 200, 1),
    ],
)
def test_a_callback_that_fails_is_tried_again_as_its_address_says(school: Hub, overrides: str, answer: int, calls: int) -> None:
    school.hooks.answer = (answer, b"")
    school.control("PUT", "/settings", {"report_delay": 1000})
    made = post(school, order(school, StatusCallback=f"{school.hooks.url}/retry?ref=r1{overrides}")).json()
    school.control("POST", "/report", {"id": made["sid"], "status": "sent"})

    def quiet() -> bool:
        school.clock.advance(2)
        jobs = [job for job in school.running.scheduler.jobs("twilio") if job["name"] in ("status_callback", "retry")]
        settled = [job for job in jobs if job["state"] in ("done", "failed")]
        return len(settled) == len(jobs) and len(school.hooks.at("/retry")) >= calls

    wait_for(quiet)
    found = school.hooks.at("/retry")
    assert len(found) == calls
    assert {each.path for each in found} == {"/retry?ref=r1"}
    assert len({each.body for each in found}) == 1


def test_nobody_listens_and_twilio_tries_once_more(school: Hub) -> None:
    school.control("PUT", "/settings", {"report_delay": 1000})
    made = post(school, order(school, StatusCallback="http://127.0.0.1:1/status")).json()
    school.control("POST", "/report", {"id": made["sid"], "status": "sent"})

    def settled() -> bool:
        school.clock.advance(2)
        jobs = [job for job in school.running.scheduler.jobs("twilio") if job["name"] == "status_callback"]
        return [job["state"] for job in jobs] == ["failed", "failed"]

    wait_for(settled)


def test_a_lost_callback_is_not_tried_again(school: Hub) -> None:
    school.fault("status_callback", "lose_callback")
    school.sms().send(school.text(NUMBER))
    (event,) = [school.fact(each) for each in school.received(1)]
    assert event.provider_event_type == "message.delivered"


def test_a_message_that_names_no_place_is_reported_where_the_account_says(school: Hub) -> None:
    school.sms().send(school.text(NUMBER, callback_url=""))
    calls = school.received(2, "inbound")
    assert [dict(parse_qsl(each.body.decode()))["MessageStatus"] for each in calls] == ["sent", "delivered"]
    first = calls[0]
    token, kind = school.account.secrets["auth_token"], first.headers["content-type"]
    url = f"{school.callback_url}/inbound"
    assert fits(token, first.headers["x-twilio-signature"], url, first.body, kind) is True


def test_a_state_never_goes_back(school: Hub) -> None:
    (result,) = school.sms().send(school.text("+254711000903")).recipients
    school.received(2)
    assert school.messages()[0]["state"] == "delivered"
    school.control("POST", "/report", {"id": result.provider_ref, "status": "undelivered", "error_code": 30003})
    assert (school.messages()[0]["state"], school.messages()[0]["error_code"]) == ("undelivered", 30003)
    school.control("POST", "/report", {"id": result.provider_ref, "status": "delivered"})
    assert school.messages()[0]["state"] == "undelivered"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/accounts/nobody", {"webhook_url": ""}, 404),
        ("PUT", "/accounts/school", {"webhook_url": "ftp://x"}, 400),
        ("PUT", "/accounts/school", {"webhook": "x"}, 400),
        ("POST", "/report", {"id": "SM1", "status": "read"}, 404),
        ("POST", "/incoming", {"from": "0711", "text": "x"}, 400),
        ("POST", "/incoming", {"from": NUMBER, "text": ""}, 400),
        ("POST", "/incoming", {"from": NUMBER, "text": "x", "channel": "pigeon"}, 400),
        ("POST", "/incoming", {"from": NUMBER, "text": "x", "account": "nobody"}, 404),
        ("POST", "/nothing", {}, 404),
    ],
)
def test_controls_that_are_refused(school: Hub, method: str, path: str, body: dict[str, str], status: int) -> None:
    school.control(method, path, body, status=status)


def test_an_unknown_status_is_refused(school: Hub) -> None:
    (result,) = school.sms().send(school.text(NUMBER)).recipients
    school.control("POST", "/report", {"id": result.provider_ref, "status": "eaten"}, status=400)
    assert school.messages()[0]["state"] == "queued"


def test_a_customer_writes_on_the_phone_page(school: Hub) -> None:
    form = {"msisdn": "254711000123", "account": "school", "channel": "whatsapp", "text": "Hi"}
    assert school.control("POST", "/write", form)["from"] == NUMBER
    (call,) = school.received(1, "inbound")
    assert dict(parse_qsl(call.body.decode()))["From"] == f"whatsapp:{NUMBER}"
    school.whatsapp().send(school.chat(NUMBER, text="Karibu", target=Target(NUMBER, "ref_9")))
    assert school.messages()[0]["ref"] == "ref_9"
    assert [school.fact(each).provider_event_type for each in school.received(2)] == ["message.sent", "message.delivered"]


def test_the_control_page_shows_no_secret(studio: Hub) -> None:
    shown = str(studio.running.simulator("twilio").state())
    assert str(studio.account.values["account_sid"]) in shown
    assert all(secret not in shown for secret in studio.account.secrets.values())
