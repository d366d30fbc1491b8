"""The simulated Graph API, called by a client that shares no code with the adapter."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from integrations.providers.whatsapp.simulator import WhatsAppSimulator
from integrations.providers.whatsapp.simulator.magic import MAGIC
from integrations.simulators import DemoAccount, ManualClock, running_simulators
from tests.simulators.support import Receiver, at_rest, pass_time, wait_for

TO = "+254712345678"
TEXT = {"type": "text", "text": {"body": "Hello"}}
TEMPLATE = {"type": "template", "template": {"name": "hello_world", "language": {"code": "en_US"}}}


@dataclass
class Account:
    running: running_simulators
    clock: ManualClock
    hooks: Receiver
    demo: DemoAccount

    def call(self, method: str, path: str, token: str = "", **given: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token or self.demo.secrets['access_token']}"}
        url = f"{self.running.url}/whatsapp/v25.0/{path}"
        return requests.request(method, url, headers=headers, timeout=5, **given)

    def send(self, to: str = TO, token: str = "", **body: Any) -> requests.Response:
        whole = {"messaging_product": "whatsapp", "recipient_type": "individual", "to": to, **(body or TEMPLATE)}
        return self.call("POST", f"{self.demo.values['phone_number_id']}/messages", token, json=whole)

    def control(self, method: str, path: str, body: Any = None) -> requests.Response:
        return requests.request(method, f"{self.running.url}/control/whatsapp/{path}", json=body, timeout=5)

    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control("GET", "messages").json()["messages"]
        return found

    def told(self, count: int) -> list[Any]:
        """Let time pass until so many webhooks came; return their changes, signatures checked."""

        def look() -> bool:
            pass_time(self.running, self.clock, 0.5)
            return len(self.hooks.received) >= count

        wait_for(look)
        found = []
        for each in self.hooks.received:
            digest = hmac.new(self.demo.secrets["app_secret"].encode(), each.body, hashlib.sha256).hexdigest()
            assert each.headers["x-hub-signature-256"] == f"sha256={digest}"
            (entry,) = json.loads(each.body)["entry"]
            assert entry["id"] == self.demo.values["waba_id"]
            found += entry["changes"]
        return found


@pytest.fixture
def school(tmp_path: Path) -> Iterator[Account]:
    clock = ManualClock()
    with Receiver() as hooks, running_simulators([WhatsAppSimulator], state_dir=tmp_path, clock=clock) as running:
        account = Account(running, clock, hooks, running.simulator("whatsapp").accounts[0])
        assert account.control("PUT", "accounts/school", {"webhook_url": f"{hooks.url}/hook"}).status_code == 200
        yield account
        assert running.violations == []


def code_of(answer: requests.Response) -> tuple[int, int]:
    return answer.status_code, answer.json()["error"]["code"]


def test_the_answer_to_a_template_is_the_documented_one(school: Account) -> None:
    answer = school.send()
    wamid = answer.json()["messages"][0]["id"]
    assert wamid.startswith("wamid.")
    assert answer.json() == {
        "messaging_product": "whatsapp",
        "contacts": [{"input": TO, "wa_id": "254712345678"}],
        "messages": [{"id": wamid, "message_status": "accepted"}],
    }


def test_two_sends_are_two_rows(school: Account) -> None:
    assert [school.send(**TEMPLATE, biz_opaque_callback_data="r1").status_code for _ in range(2)] == [200, 200]
    assert [(row["to"], row["ref"], row["state"]) for row in school.rows()] == [(TO, "r1", "accepted")] * 2


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"messaging_product": "sms", **TEMPLATE}, (400, 100)),
        ({"to": "", **TEMPLATE}, (400, 100)),
        ({"to": "x12", **TEMPLATE}, (400, 131009)),
        ({"recipient_type": "group", **TEMPLATE}, (400, 131009)),
        ({"type": "fax", "fax": {}}, (400, 131051)),
        ({"type": "text"}, (400, 131008)),
        ({"type": "text", "text": {"body": ""}}, (400, 131008)),
        ({"type": "text", "text": {"body": "x" * 4097}}, (400, 100)),
        ({**TEMPLATE, "ref": "x"}, (400, 100)),
        ({**TEMPLATE, "biz_opaque_callback_data": "x" * 513}, (400, 100)),
        ({"type": "image", "image": {}}, (400, 131009)),
        ({"type": "image", "image": {"id": "700000000000001"}}, (400, 131009)),
        ({"type": "image", "image": {"link": "ftp://x"}}, (400, 100)),
        ({"type": "audio", "audio": {"link": "https://x.example/", "caption": "x"}}, (400, 100)),
        ({"type": "template", "template": {"name": "hello_world"}}, (400, 131008)),
        ({"type": "template", "template": {"name": "new_timetable", "language": {"code": "en"}}}, (404, 132001)),
        ({"type": "template", "template": {"name": "paused_offer", "language": {"code": "en"}}}, (400, 132015)),
        ({"status": "read", "message_id": "wamid.x"}, (400, 100)),
    ],
)
def test_requests_that_are_refused_leave_nothing(school: Account, body: dict[str, Any], expected: tuple[int, int]) -> None:
    assert code_of(school.send(**body)) == expected
    assert (school.rows(), school.hooks.received) == ([], [])


def test_who_may_call_what(school: Account) -> None:
    number, other = school.demo.values["phone_number_id"], school.running.simulator("whatsapp").accounts[1]
    assert code_of(school.send(token="EAAGwrong")) == (401, 190)
    assert code_of(school.send(token=other.secrets["access_token"])) == (400, 100)
    assert code_of(school.call("GET", str(other.values["phone_number_id"]))) == (400, 100)
    assert code_of(school.call("GET", f"{number}?fields=balance")) == (400, 100)
    assert code_of(school.call("GET", f"{other.values['waba_id']}/message_templates")) == (400, 100)
    url = f"{school.running.url}/whatsapp/25/{number}"
    headers = {"Authorization": f"Bearer {school.demo.secrets['access_token']}"}
    assert code_of(requests.get(url, headers=headers, timeout=5)) == (400, 2500)
    assert school.rows() == []


def test_files_belong_to_an_account_and_their_address_ends(school: Account) -> None:
    fields = {
        "messaging_product": (None, "whatsapp"),
        "type": (None, "image/png"),
        "file": ("a.png", b"\x89PNG\r\n", "image/png"),
    }
    made = school.call("POST", f"{school.demo.values['phone_number_id']}/media", files=fields)
    media_id = made.json()["id"]
    shown = school.call("GET", media_id).json()
    assert (shown["mime_type"], shown["file_size"]) == ("image/png", "6")
    assert shown["sha256"] == hashlib.sha256(b"\x89PNG\r\n").hexdigest()
    own = {"Authorization": f"Bearer {school.demo.secrets['access_token']}"}
    other = school.running.simulator("whatsapp").accounts[1].secrets["access_token"]
    assert requests.get(shown["url"], headers=own, timeout=5).content == b"\x89PNG\r\n"
    assert requests.get(shown["url"], timeout=5).status_code == 401
    assert requests.get(shown["url"], headers={"Authorization": f"Bearer {other}"}, timeout=5).status_code == 404
    assert requests.get(f"{shown['url']}x", headers=own, timeout=5).status_code == 404
    school.clock.advance(301)
    assert requests.get(shown["url"], headers=own, timeout=5).status_code == 404
    assert code_of(school.call("GET", media_id, other)) == (400, 100)


@pytest.mark.parametrize("missing", ["messaging_product", "file", "type"])
def test_uploads_that_are_refused(school: Account, missing: str) -> None:
    fields: dict[str, Any] = {"messaging_product": (None, "whatsapp"), "type": (None, "a/b"), "file": ("a", b"x", "a/c")}
    if missing != "type":
        fields = {name: value for name, value in fields.items() if name != missing}
    answer = school.call("POST", f"{school.demo.values['phone_number_id']}/media", files=fields)
    assert code_of(answer) == (400, 100)


def test_templates_come_in_pages(school: Account) -> None:
    path, found, after = f"{school.demo.values['waba_id']}/message_templates", [], ""
    for _ in range(3):
        page = school.call("GET", path, params={"limit": "4", **({"after": after} if after else {})}).json()
        found.append([each["name"] for each in page["data"]])
        after = page["paging"]["cursors"]["after"]
    assert [len(names) for names in found] == [4, 4, 2]
    assert "next" not in page["paging"]
    assert code_of(school.call("GET", path, params={"limit": "many"})) == (400, 100)


def test_statuses_come_signed_and_in_metas_spelling(school: Account) -> None:
    wamid = school.send(**TEMPLATE, biz_opaque_callback_data="r1").json()["messages"][0]["id"]
    sent, delivered = school.told(2)
    assert sent["field"] == "messages"
    assert sent["value"]["metadata"] == {"display_phone_number": "254700000042", "phone_number_id": "400000000000042"}
    (entry,) = delivered["value"]["statuses"]
    assert (entry["id"], entry["status"], entry["recipient_id"]) == (wamid, "delivered", "254712345678")
    assert (entry["biz_opaque_callback_data"], entry["pricing"]["category"]) == ("r1", "utility")


def test_texts_outside_of_ascii_are_escaped(school: Account) -> None:
    school.control("POST", "inbound", {"account": "school", "from": TO, "text": "ä/ö"})
    school.told(1)
    assert b'"\\u00e4\\/\\u00f6"' in school.hooks.received[0].body


def test_several_reports_in_one_body(school: Account) -> None:
    school.control("PUT", "accounts/school", {"webhook_url": ""})
    ids = [school.send().json()["messages"][0]["id"] for _ in range(2)]
    school.control("PUT", "accounts/school", {"webhook_url": f"{school.hooks.url}/hook"})
    reports = [{"id": ids[0], "status": "read"}, {"id": ids[1], "status": "failed", "code": 131050, "title": "Stopped"}]
    assert school.control("POST", "report", {"reports": reports}).json() == {"reported": 2}
    (change,) = school.told(1)
    read, failed = change["value"]["statuses"]
    assert (read["id"], read["status"], failed["id"], failed["errors"][0]["code"]) == (ids[0], "read", ids[1], 131050)


def test_what_is_not_taken_comes_again_some_times(school: Account) -> None:
    school.hooks.answer = (503, b"")
    school.control("POST", "inbound", {"account": "school", "from": TO, "text": "Hi"})
    school.told(5)
    wait_for(lambda: pass_time(school.running, school.clock, 1000) and school.clock.now() > 1_783_661_526 + 3000)
    wait_for(lambda: at_rest(school.running))
    assert len(school.hooks.received) == 5
    assert len({each.body for each in school.hooks.received}) == 1


def test_a_lost_report_is_not_sent_again(school: Account) -> None:
    school.control("POST", "faults", {"operation": "status", "fault": "lose_callback"})
    school.send()
    (delivered,) = school.told(1)
    assert delivered["value"]["statuses"][0]["status"] == "delivered"


def test_a_customer_writes_on_the_phone_page(school: Account) -> None:
    assert code_of(school.send(**TEXT)) == (400, 131047)
    form = {"msisdn": "0712345678", "account": "school", "text": "Jambo"}
    assert school.control("POST", "write", form).status_code == 200
    (change,) = school.told(1)
    (message,) = change["value"]["messages"]
    assert (message["from"], message["text"]["body"]) == ("254712345678", "Jambo")
    assert school.send(**TEXT).status_code == 200
    assert school.send("+254712345047", **TEXT).json()["error"]["code"] == 131047


def test_the_window_can_be_left_open(school: Account) -> None:
    assert school.control("PUT", "settings", {"enforce_window": False}).status_code == 200
    assert school.send(**TEXT).status_code == 200
    assert code_of(school.send("+254712345047", **TEXT)) == (400, 131047)


def test_controls_refuse_what_is_wrong(school: Account) -> None:
    wamid = school.send().json()["messages"][0]["id"]
    tried = [
        ("PUT", "accounts/nobody", {"webhook_url": ""}, 404),
        ("PUT", "accounts/school", {"webhook_url": "ftp://x"}, 400),
        ("PUT", "accounts/school", {"url": "http://x"}, 400),
        ("POST", "report", {"id": "wamid.x", "status": "read"}, 404),
        ("POST", "report", {"id": wamid, "status": "teleported"}, 400),
        ("POST", "inbound", {"account": "school", "from": "", "text": "x"}, 400),
        ("POST", "inbound", {"account": "school", "from": TO}, 400),
        ("POST", "inbound", {"account": "nobody", "from": TO, "text": "x"}, 404),
        ("PUT", "templates/school/nothing", {"status": "PAUSED"}, 404),
        ("PUT", "templates/school/hello_world", {"status": "GONE"}, 400),
    ]
    for method, path, wrong, status in tried:
        assert school.control(method, path, wrong).status_code == status, (path, wrong)


def test_a_messages_life_is_seen_in_the_list(school: Account) -> None:
    school.control("PUT", "settings", {"reads": True})
    school.send()
    seen = [school.rows()[0]["state"]]
    for _ in range(3):
        school.clock.advance(0.31)
        seen.append(school.rows()[0]["state"])
    assert seen == ["accepted", "sent", "delivered", "read"]


def test_no_secret_is_shown(school: Account) -> None:
    school.send()
    shown = (
        school.control("GET", "state").text + school.control("GET", "requests").text + school.control("GET", "callbacks").text
    )
    shown += requests.get(school.running.url, timeout=5).text
    assert [secret for secret in school.demo.secrets.values() if secret in shown] == []


def test_the_magic_values_are_listed() -> None:
    shown = {row.value for row in MAGIC}
    ends = {f"number …{tail}" for tail in ("026", "047", "049", "056", "429", "900", "901", "190")}
    assert shown == ends | {"template paused_…", "a template that is not listed", "any other number"}
