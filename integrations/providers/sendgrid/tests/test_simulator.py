"""What the fake refuses and answers, asked around the adapter."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.structures import CaseInsensitiveDict

from integrations.providers.sendgrid.simulator import SendGridSimulator
from integrations.providers.sendgrid.simulator.checks import problems
from integrations.providers.sendgrid.tests.hub import Hub
from integrations.simulators import ManualClock, SimRequest, running_simulators
from tests.simulators.support import Receiver

NOW = 1_795_000_000.0


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    clock = ManualClock()
    with (
        Receiver() as hooks,
        running_simulators([SendGridSimulator], state_dir=tmp_path, clock=clock) as running,
    ):
        yield Hub(running, clock, hooks, SendGridSimulator.demo_accounts(tmp_path)[0])
        assert running.violations == []


def mail(**changes: Any) -> dict[str, Any]:
    given = {
        "personalizations": [{"to": [{"email": "jane@example.net"}]}],
        "from": {"email": "no-reply@shop.example"},
        "subject": "S",
        "content": [{"type": "text/plain", "value": "T"}],
        **changes,
    }
    return {name: value for name, value in given.items() if value is not None}


def one(**changes: Any) -> list[dict[str, Any]]:
    return [{"to": [{"email": "jane@example.net"}], **changes}]


def test_a_whole_message_has_no_problems() -> None:
    assert problems(mail(), NOW) == []
    assert problems(mail(template_id="d-1", content=None, subject=None), NOW) == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"personalizations": []}, "personalizations"),
        ({"personalizations": one() * 1001}, "personalizations"),
        ({"personalizations": [{"to": [{"email": f"p{n}@example.net"} for n in range(1001)]}]}, "personalizations"),
        ({"personalizations": [{"to": []}]}, "personalizations.0.to"),
        ({"personalizations": [{"to": [{"email": "no"}]}]}, "personalizations.0.to.0.email"),
        ({"personalizations": one(cc=[{"email": "JANE@example.net"}])}, "personalizations.0.cc"),
        ({"personalizations": one(custom_args={"a": 1})}, "personalizations.0.custom_args"),
        ({"personalizations": one(custom_args={"a": "x" * 10_000})}, "personalizations.0.custom_args"),
        ({"personalizations": one(headers={"Subject": "x"})}, "personalizations.0.headers"),
        ({"personalizations": one(dynamic_template_data={})}, "personalizations.0.dynamic_template_data"),
        ({"personalizations": one(color="red")}, "personalizations.0"),
        ({"from": None}, "from.email"),
        ({"from": {"email": "no"}}, "from.email"),
        ({"subject": None}, "subject"),
        ({"content": None}, "content"),
        ({"content": [{"type": "text/plain", "value": ""}]}, "content.0.value"),
        ({"content": [{"type": "text/html", "value": "a"}, {"type": "text/plain", "value": "b"}]}, "content"),
        ({"attachments": [{"content": "***", "filename": "a"}]}, "attachments.0.content"),
        ({"attachments": [{"content": "YQ==", "filename": ""}]}, "attachments.0.filename"),
        ({"categories": ["a", "a"]}, "categories"),
        ({"categories": ["a" * 256]}, "categories"),
        ({"reply_to": {"email": "a@b.example"}, "reply_to_list": []}, "reply_to"),
        ({"send_at": int(NOW) + 73 * 3600}, "send_at"),
        ({"headers": {"Received": "x"}}, "headers"),
        ({"colour": 1}, None),
    ],
)
def test_what_is_refused(changes: dict[str, Any], field: str | None) -> None:
    assert [each["field"] for each in problems(mail(**changes), NOW)] == [field]


def test_answers_to_a_send(hub: Hub) -> None:
    answer = hub.api("POST", "/v3/mail/send", mail())
    assert (answer.status_code, answer.content) == (202, b"")
    assert len(base64.urlsafe_b64decode(answer.headers["X-Message-Id"] + "==")) == 16
    assert {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} <= set(answer.headers)
    refused = hub.api("POST", "/v3/mail/send", mail(subject=None))
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "subject")
    assert len(hub.messages()) == 1


def test_the_sandbox_mode_checks_and_delivers_nothing(hub: Hub) -> None:
    sandbox = {"sandbox_mode": {"enable": True}}
    headers = CaseInsensitiveDict(
        {"Authorization": f"Bearer {hub.account.secrets['api_key']}", "Content-Type": "application/json"}
    )
    # Asked of the object: the vendor's description does not know the 200 of the sandbox mode, and the server holds to it.
    body = json.dumps(mail(mail_settings=sandbox)).encode()
    simulator = hub.running.simulator("sendgrid")
    assert isinstance(simulator, SendGridSimulator)
    reply = simulator.send(SimRequest("POST", "/v3/mail/send", {}, headers, body, "send"))
    assert (reply.status, reply.body, "X-Message-Id" in reply.headers) == (200, b"", False)
    assert hub.api("POST", "/v3/mail/send", mail(mail_settings=sandbox, subject=None)).status_code == 400
    assert hub.messages() == []


def test_only_json_with_the_right_key(hub: Hub) -> None:
    url = f"{hub.running.url}/sendgrid/v3/mail/send"
    good = {"Authorization": f"Bearer {hub.account.secrets['api_key']}"}
    assert requests.post(url, json=mail(), timeout=5).status_code == 401
    assert requests.post(url, json=mail(), headers={"Authorization": "Bearer SG.bad"}, timeout=5).status_code == 401
    assert requests.post(url, data=b"[1]", headers={**good, "Content-Type": "application/json"}, timeout=5).status_code == 400
    assert hub.messages() == []


def test_a_name_with_a_bare_comma_is_taken_and_dropped(hub: Hub) -> None:
    hub.listen()
    bare = [{"to": [{"email": "jane@example.net", "name": "Doe, Jane"}]}]
    assert hub.api("POST", "/v3/mail/send", mail(personalizations=bare)).status_code == 202
    assert hub.said(1) == [("dropped", "failed")]


def test_webhook_settings(hub: Hub) -> None:
    root = "/v3/user/webhooks/event/settings"
    assert hub.api("GET", f"{root}/all").json() == {"max_allowed": 5, "webhooks": [{}]}
    made = hub.api("POST", root, {"url": "https://hub.example/e", "enabled": True, "open": True}).json()
    assert (made["open"], made["click"], "public_key" in made) == (True, False, False)
    twin = hub.api("POST", root, {"url": "https://hub.example/e"})
    assert (twin.status_code, twin.json()["errors"][0]["id"]) == (400, made["id"])
    assert hub.api("GET", f"{root}/signed/{made['id']}").json()["public_key"] == ""
    key = hub.api("PATCH", f"{root}/signed/{made['id']}", {"enabled": True}).json()["public_key"]
    assert hub.api("GET", f"{root}/all").json()["webhooks"][0]["public_key"] == key
    assert len(base64.b64decode(key)) == 91
    assert hub.api("DELETE", f"{root}/{made['id']}").status_code == 204
    assert hub.api("GET", f"{root}/{made['id']}").status_code == 404


def test_kinds_of_events_that_nobody_asked_for_are_not_posted(hub: Hub) -> None:
    settings = {"url": f"{hub.hooks.url}{hub.path}", "enabled": True, "delivered": True}
    assert hub.api("POST", "/v3/user/webhooks/event/settings", settings).status_code == 201
    hub.api("POST", "/v3/mail/send", mail())
    (post,) = hub.posts(1)
    assert [each["event"] for each in post.json()] == ["delivered"]
    assert "x-twilio-email-event-webhook-signature" not in post.headers


def test_global_unsubscribes(hub: Hub) -> None:
    answer = hub.api("POST", "/v3/asm/suppressions/global", {"recipient_emails": ["jane@example.net"]})
    assert (answer.status_code, answer.json()) == (201, {"recipient_emails": ["jane@example.net"]})
    assert [each["email"] for each in hub.api("GET", "/v3/suppression/unsubscribes").json()] == ["jane@example.net"]
    hub.api("POST", "/v3/asm/suppressions/global", {"recipient_emails": ["a@example.net"]})
    pages = [hub.api("GET", f"/v3/suppression/unsubscribes?limit=1&offset={offset}").json() for offset in range(3)]
    assert [[each["email"] for each in page] for page in pages] == [["a@example.net"], ["jane@example.net"], []]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/accounts/nobody", {"webhook_url": ""}, 404),
        ("PUT", "/accounts/school", {"webhook_url": "ftp://x"}, 400),
        ("PUT", "/accounts/school", {"credits": -1}, 400),
        ("PUT", "/accounts/school", {"color": 1}, 400),
        ("POST", "/report", {"id": "none", "status": "open"}, 404),
    ],
)
def test_wrong_controls(hub: Hub, method: str, path: str, body: dict[str, Any], status: int) -> None:
    hub.control(method, path, body, status=status)


def test_an_unknown_report_is_refused(hub: Hub) -> None:
    hub.api("POST", "/v3/mail/send", mail())
    hub.control("POST", "/report", {"id": hub.messages()[0]["id"], "status": "exploded"}, status=400)
