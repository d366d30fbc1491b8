"""The simulated Africa's Talking, held against the documented bodies of the provider sheet."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests

from integrations.providers.africastalking.simulator import MAGIC, REFUSALS, AfricasTalkingSimulator, parts
from integrations.simulators import DemoAccount, ManualClock, running_simulators
from tests.simulators.support import Receiver

NORMAL = "+254712345678"
BAD_KEY = "The supplied authentication is invalid"


@dataclass
class Account:
    """A plain client of one account; `hooks` receives its delivery reports. It shares no code with the adapter."""

    running: running_simulators
    clock: ManualClock
    hooks: Receiver
    demo: DemoAccount

    @property
    def username(self) -> str:
        return str(self.demo.values["username"])

    def headers(self, **more: str) -> dict[str, str]:
        return {"apiKey": self.demo.secrets["api_key"], "Accept": "application/json", **more}

    def send(
        self, *numbers: str, message: str = "Hello", headers: dict[str, str] | None = None, sender: str = "", **form: str
    ) -> requests.Response:
        data = {
            "username": self.username,
            "to": ",".join(numbers),
            "message": message,
            **({"from": sender} if sender else {}),
            **form,
        }
        url = f"{self.running.url}/africastalking/version1/messaging"
        return requests.post(url, data=data, headers=headers or self.headers(), timeout=30)

    def bulk(self, body: Any) -> requests.Response:
        url = f"{self.running.url}/africastalking/version1/messaging/bulk"
        return requests.post(url, json=body, headers=self.headers(), timeout=5)

    def balance(self) -> str:
        answer = requests.get(
            f"{self.running.url}/africastalking/version1/user",
            params={"username": self.username},
            headers=self.headers(),
            timeout=5,
        )
        assert answer.status_code == 200
        return str(answer.json()["UserData"]["balance"])

    def control(self, method: str, path: str, body: Any = None) -> requests.Response:
        return requests.request(method, f"{self.running.url}/control/{path}", json=body, timeout=5)

    def inbox(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control("GET", "phone/inbox").json()
        return found

    def reports(self) -> list[dict[str, str]]:
        return [{key: value[0] for key, value in parse_qs(each.body.decode()).items()} for each in self.hooks.received]

    def quiet(self) -> None:
        """Let all time pass that any report waits for, and wait until all are sent."""
        for _ in range(4):
            self.clock.advance(0.5)
            due = "SELECT 1 FROM jobs WHERE state IN ('begun', 'held') OR (state = 'pending' AND due <= ?)"
            while self.running.store.rows(due, self.clock.now()):
                threading.Event().wait(0.01)


@pytest.fixture
def school(tmp_path: Path) -> Iterator[Account]:
    clock = ManualClock()
    with (
        Receiver(answer=(200, b"")) as hooks,
        running_simulators([AfricasTalkingSimulator], state_dir=tmp_path, clock=clock) as run,
    ):
        account = Account(run, clock, hooks, run.simulator("africastalking").accounts[0])
        account.control("PUT", f"africastalking/accounts/{account.username}", {"dlr_url": f"{hooks.url}/dlr"})
        yield account


def recipients(answer: requests.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 201
    found: list[dict[str, Any]] = answer.json()["SMSMessageData"]["Recipients"]
    return found


def test_demo_accounts(tmp_path: Path) -> None:
    accounts = AfricasTalkingSimulator.demo_accounts(tmp_path)
    assert accounts == AfricasTalkingSimulator.demo_accounts(tmp_path)
    assert [(each.label, dict(each.values), list(each.secrets)) for each in accounts] == [
        ("school", {"username": "demoschool", "sender_id": "DEMOSCHOOL"}, ["api_key"]),
        ("studio", {"username": "demostudio", "sender_id": "DEMOSTUDIO"}, ["api_key"]),
    ]
    assert accounts[0].secrets["api_key"] not in repr(accounts)


def test_the_documented_answer_of_a_mixed_send(school: Account) -> None:
    answer = school.send("+254711000001", "+254711000406")
    message_id = recipients(answer)[0]["messageId"]
    assert re.fullmatch(r"ATXid_[0-9a-f]{32}", message_id)
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.json() == {
        "SMSMessageData": {
            "Message": "Sent to 1/2 Total Cost: KES 0.8000",
            "Recipients": [
                {
                    "statusCode": 101,
                    "number": "+254711000001",
                    "status": "Success",
                    "cost": "KES 0.8000",
                    "messageId": message_id,
                },
                {
                    "statusCode": 406,
                    "number": "+254711000406",
                    "status": "UserInBlacklist",
                    "cost": "0",
                    "messageId": "None",
                },
            ],
        }
    }
    assert [(each["number"], each["sender"], each["text"], each["message_id"]) for each in school.inbox()] == [
        ("+254711000001", "AFRICASTKNG", "Hello", message_id)
    ]


def test_sender_and_enqueue(school: Account) -> None:
    (queued,) = recipients(school.send(NORMAL, enqueue="1", sender="DEMOSCHOOL"))
    assert (queued["statusCode"], queued["status"]) == (102, "Success")
    assert school.inbox()[0]["sender"] == "DEMOSCHOOL"
    refused = school.send(NORMAL, sender="OTHER")
    assert (refused.status_code, refused.json()) == (
        201,
        {"SMSMessageData": {"Message": "InvalidSenderId", "Recipients": []}},
    )
    assert len(school.inbox()) == 1


def test_bulk_is_json(school: Account) -> None:
    body = {"username": school.username, "message": "Hi", "senderId": "DEMOSCHOOL", "phoneNumbers": [NORMAL, "+254711000502"]}
    assert [(each["statusCode"], each["status"]) for each in recipients(school.bulk(body))] == [
        (101, "Success"),
        (502, "RejectedByGateway"),
    ]
    assert school.bulk({**body, "phoneNumbers": NORMAL}).status_code == 400
    assert school.bulk({**body, "phoneNumbers": []}).status_code == 400
    assert len(school.inbox()) == 1


def test_wrong_key_username_or_another_s_key_is_plain_401(school: Account) -> None:
    other = school.running.simulator("africastalking").accounts[1].secrets["api_key"]
    for answer in (
        school.send(NORMAL, headers=school.headers(apiKey="wrong")),
        school.send(NORMAL, headers=school.headers(apiKey=other)),
        school.send(NORMAL, username="sandbox"),
        school.send(NORMAL, headers={"Accept": "application/json"}),
    ):
        assert (answer.status_code, answer.text) == (401, BAD_KEY)
        assert answer.headers["Content-Type"].startswith("text/plain")
    assert school.inbox() == []
    assert (
        school.send(NORMAL, headers={"APIKEY": school.demo.secrets["api_key"], "Accept": "application/json"}).status_code == 201
    )


@pytest.mark.parametrize(("missing", "text"), [("to", "'to'"), ("message", "'message'")])
def test_missing_fields_are_a_plain_400(school: Account, missing: str, text: str) -> None:
    answer = school.send() if missing == "to" else school.send(NORMAL, message="")
    assert (answer.status_code, answer.text) == (400, f"Request is missing required form field {text}")


def test_classic_send_takes_forms_only(school: Account) -> None:
    url = f"{school.running.url}/africastalking/version1/messaging"
    body = {"username": school.username, "to": NORMAL, "message": "x"}
    assert requests.post(url, json=body, headers=school.headers(), timeout=5).status_code == 415
    assert school.inbox() == []


def test_without_accept_json_the_answer_is_xml(school: Account) -> None:
    answer = school.send("+254711000406", headers={"apiKey": school.demo.secrets["api_key"]})
    assert answer.headers["Content-Type"] == "application/xml; charset=utf-8"
    assert answer.text == (
        "<AfricasTalkingResponse><SMSMessageData><Message>Sent to 0/1 Total Cost: KES 0.0000</Message><Recipients><Recipient>"
        "<statusCode>406</statusCode><number>+254711000406</number><status>UserInBlacklist</status><cost>0</cost>"
        "<messageId>None</messageId></Recipient></Recipients></SMSMessageData></AfricasTalkingResponse>"
    )


def test_balance_goes_down_by_parts_and_runs_out(school: Account) -> None:
    assert school.balance() == "KES 1785.50"
    school.send(NORMAL, "+254711000001", message="x" * 161)
    assert school.balance() == "KES 1782.30"
    school.control("PUT", f"africastalking/accounts/{school.username}", {"balance": "1.00"})
    first, second = recipients(school.send(NORMAL, "+254711000001"))
    assert (first["statusCode"], second["statusCode"], second["status"]) == (101, 405, "InsufficientBalance")
    assert school.balance() == "KES 0.20"
    for wrong in ("x", "-1", "0.00001"):
        assert school.control("PUT", f"africastalking/accounts/{school.username}", {"balance": wrong}).status_code == 400
    assert school.balance() == "KES 0.20"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("x" * 160, 1),
        ("x" * 161, 2),
        ("x" * 306, 2),
        ("x" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("“" * 70, 1),
        ("“" * 71, 2),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
    ],
)
def test_parts(text: str, count: int) -> None:
    assert parts(text) == count


@pytest.mark.parametrize("code", sorted(REFUSALS))
def test_refusing_numbers_cost_nothing_and_send_nothing(school: Account, code: str) -> None:
    (found,) = recipients(school.send("+254711000" + code))
    assert found == {
        "statusCode": int(code),
        "number": "+254711000" + code,
        "status": REFUSALS[code],
        "cost": "0",
        "messageId": "None",
    }
    school.quiet()
    assert (school.balance(), school.inbox(), school.hooks.received) == ("KES 1785.50", [], [])


@pytest.mark.parametrize("number", ["0712345678", "254712345678", "+0712345678", "+254 712 345 678", "+2547"])
def test_numbers_that_are_not_e164(school: Account, number: str) -> None:
    (found,) = recipients(school.send(number))
    assert (found["statusCode"], found["status"]) == (403, "InvalidPhoneNumber")


def test_delivery_reports_come_sent_then_success(school: Account) -> None:
    (found,) = recipients(school.send(NORMAL))
    assert school.hooks.received == []
    school.clock.advance(0.5)
    (first,) = school.hooks.wait(1)
    assert (first.path, first.headers["content-type"]) == ("/dlr", "application/x-www-form-urlencoded")
    expected = {"id": found["messageId"], "phoneNumber": NORMAL, "networkCode": "63902", "retryCount": "0"}
    assert school.reports() == [{**expected, "status": "Sent"}]
    assert b"phoneNumber=%2B254712345678" in first.body
    school.clock.advance(0.5)
    school.hooks.wait(2)
    assert school.reports()[1] == {**expected, "status": "Success"}
    school.quiet()
    assert len(school.hooks.received) == 2


@pytest.mark.parametrize(
    ("tail", "statuses", "delivered"),
    [
        ("900", ["AbsentSubscriber"], False),
        ("901", ["Failed"], False),
        ("902", [], True),
        ("903", ["Sent", "Success", "Success"], True),
        ("904", ["Success"], True),
    ],
)
def test_report_numbers(school: Account, tail: str, statuses: list[str], delivered: bool) -> None:
    (found,) = recipients(school.send("+254731000" + tail))
    assert (found["statusCode"], found["status"]) == (101, "Success")
    # 904: the report was answered before the response went out.
    assert len(school.hooks.received) == (1 if tail == "904" else 0)
    school.quiet()
    reports = school.reports()
    assert [each["status"] for each in reports] == statuses
    assert {each["id"] for each in reports} <= {found["messageId"]}
    assert {each["networkCode"] for each in reports} <= {"63903"}
    assert [each.get("failureReason") for each in reports] == (["UserDoesNotExist"] if tail == "901" else [None] * len(reports))
    assert len(school.inbox()) == delivered


def test_the_list_of_magic_numbers_is_whole() -> None:
    shown = {row.value.removeprefix("number …") for row in MAGIC}
    assert shown == {*REFUSALS, "900", "901", "902", "903", "904", "any other number"}


def test_without_a_report_url_nothing_is_posted(school: Account) -> None:
    school.control("PUT", f"africastalking/accounts/{school.username}", {"dlr_url": ""})
    school.send(NORMAL)
    school.quiet()
    assert school.hooks.received == []
    for wrong in ({"dlr_url": "ftp://x"}, {"dlr_uri": "http://x"}):
        assert school.control("PUT", f"africastalking/accounts/{school.username}", wrong).status_code == 400
    assert school.control("PUT", "africastalking/accounts/nobody", {}).status_code == 404


def test_a_dropped_connection_after_acceptance(school: Account) -> None:
    school.control("POST", "africastalking/faults", {"operation": "sms_send", "fault": "drop_after_accept"})
    with pytest.raises(requests.ConnectionError):
        school.send(NORMAL)
    school.quiet()
    assert len(school.inbox()) == 1
    assert [each["status"] for each in school.reports()] == ["Sent", "Success"]


def test_the_first_report_lost_by_control(school: Account) -> None:
    school.control("POST", "africastalking/faults", {"operation": "delivery_report", "fault": "lose_callback"})
    school.send(NORMAL)
    school.quiet()
    assert [each["status"] for each in school.reports()] == ["Success"]


def test_inbox_poll_is_empty(school: Account) -> None:
    url = f"{school.running.url}/africastalking/version1/messaging"
    answer = requests.get(url, params={"username": school.username, "lastReceivedId": "0"}, headers=school.headers(), timeout=5)
    assert (answer.status_code, answer.json()) == (200, {"SMSMessageData": {"Messages": []}})


def test_200_sends_at_once(school: Account) -> None:
    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda n: recipients(school.send(f"+2547120000{n % 100:02d}")), range(200)))
    assert len({found[0]["messageId"] for found in answers}) == 200
    assert school.balance() == "KES 1625.50"
    assert len(school.inbox()) == 200


def test_the_key_is_never_shown(school: Account) -> None:
    school.send(NORMAL)
    school.quiet()
    paths = ("/", "/live", "/phone", "/control/africastalking/requests", "/control/africastalking/state")
    shown = "".join(requests.get(school.running.url + path, timeout=5).text for path in paths)
    assert school.demo.secrets["api_key"] not in shown
    (entry,) = school.control("GET", "africastalking/requests").json()
    assert (entry["headers"]["apiKey"], entry["body"]["to"], entry["status"]) == ("••••", NORMAL, 201)
