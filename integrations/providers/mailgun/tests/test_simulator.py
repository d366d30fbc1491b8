"""The fake alone: how strict it is, and what it shows."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from integrations.providers.mailgun.tests.hub import Hub
from integrations.providers.mailgun.tests.support import JANE, envelope

GOOD = {"from": "a@mg.school.example", "to": JANE, "subject": "s", "text": "t"}


def post(hub: Hub, fields: dict[str, Any], *, key: str = "", domain: str = "", **more: Any) -> requests.Response:
    url = f"{hub.running.url}/mailgun/v3/{domain or hub.domain}/messages"
    return requests.post(url, data=fields, auth=("api", key or hub.account.secrets["api_key"]), timeout=5, **more)


def test_a_form_is_as_good_as_multipart(hub: Hub) -> None:
    answer = post(hub, GOOD)
    assert (answer.status_code, answer.json()["message"]) == (200, "Queued. Thank you.")
    answer = post(hub, GOOD, files={"attachment": ("a.txt", b"x")})
    assert answer.status_code == 200
    assert [row["files"] for row in hub.messages()] == [[], [["attachment", "a.txt", 1]]]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"from": ""}, "'from' parameter is missing"),
        ({"to": ""}, "'to' parameter is missing"),
        ({"to": "nobody"}, "'to' parameter is not a valid address"),
        ({"to": [JANE, "x@"]}, "'to' parameter is not a valid address"),
        ({"cc": "a b"}, "'cc' parameter is not a valid address"),
        ({"text": ""}, "Need at least one of"),
        ({"html": "x", "template": "receipt"}, "Only one"),
        ({"template": "nothing"}, "not found"),
        ({"o:tracking": "perhaps"}, "'o:tracking' parameter is not valid"),
        ({"colour": "red"}, "'colour' is not a parameter"),
        ({"recipient-variables": "[]"}, "recipient-variables"),
        ({"v:x": "y" * 16384}, "limited to 16KB"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_kept(hub: Hub, changes: dict[str, Any], said: str) -> None:
    answer = post(hub, {**GOOD, **changes})
    assert answer.status_code == 400
    assert said in answer.json()["message"]
    assert hub.messages() == []


def test_keys_and_domains(hub: Hub) -> None:
    assert post(hub, GOOD, key="key-bad").status_code == 401
    answer = requests.post(f"{hub.running.url}/mailgun/v3/{hub.domain}/messages", data=GOOD, timeout=5)
    assert (answer.status_code, answer.json()) == (401, "Forbidden")
    assert hub.messages() == []


def test_a_double_send_is_two_rows(hub: Hub) -> None:
    hub.send()
    hub.send()
    rows = hub.messages()
    assert [(row["to"], row["message_id"], row["channel"]) for row in rows] == [(JANE, "mr_1@hub.example", "email")] * 2
    assert rows[0]["id"] != rows[1]["id"]


@pytest.mark.parametrize(("answer", "tries"), [((500, b""), 7), ((406, b""), 1), ((200, b""), 1)])
def test_a_bounce_is_told_again_until_it_is_taken(hub: Hub, answer: tuple[int, bytes], tries: int) -> None:
    hub.hooks.answer = answer
    hub.send(envelope("bounce@example.net"))
    hub.quiet()
    assert len(hub.hooks.received) == tries
    assert len({each.body for each in hub.hooks.received}) == 1


def test_a_delivery_is_told_once_only(hub: Hub) -> None:
    hub.hooks.answer = (500, b"")
    hub.send()
    hub.quiet()
    assert len(hub.hooks.received) == 1


@pytest.mark.parametrize(("fault", "count"), [("lose_callback", 0), ("duplicate_callback", 2)])
def test_faults_of_webhooks(hub: Hub, fault: str, count: int) -> None:
    hub.fault("delivered", fault)
    hub.send()
    hub.quiet()
    assert len(hub.hooks.received) == count


def test_the_accounts_are_apart(hub: Hub) -> None:
    hub.send()
    studio = next(each for each in hub.running.simulator("mailgun").accounts if each.label == "studio")
    answer = requests.get(
        f"{hub.running.url}/mailgun/v3/{studio.values['domain']}/events",
        auth=("api", studio.secrets["api_key"]),
        timeout=5,
    )
    assert (answer.status_code, answer.json()["items"]) == (200, [])


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/accounts/school", {"webhook_url": "ftp://x"}, 400),
        ("PUT", "/accounts/school", {"state": "asleep"}, 400),
        ("PUT", "/accounts/school", {"api_key": "x"}, 400),
        ("PUT", "/accounts/nobody", {"webhook_url": ""}, 404),
        ("POST", "/report", {"id": "nothing", "status": "opened"}, 404),
        ("POST", "/suppressions", {"account": "school", "list": "x", "address": JANE}, 400),
    ],
)
def test_controls_refuse_nonsense(hub: Hub, method: str, path: str, body: dict[str, Any], status: int) -> None:
    before = hub.control("GET", "/state")["accounts"]
    hub.control(method, path, body, status=status)
    assert hub.control("GET", "/state")["accounts"] == before


def test_an_unknown_report_is_refused(hub: Hub) -> None:
    hub.send()
    hub.control("POST", "/report", {"id": hub.messages()[0]["id"], "status": "eaten"}, status=400)
