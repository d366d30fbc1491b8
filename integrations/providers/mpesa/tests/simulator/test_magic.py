"""The simulated Daraja's magic numbers, faults set by control, and what the pages show."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from integrations.providers.mpesa.simulator.magic import PLANS
from integrations.providers.mpesa.tests.simulator.daraja import NORMAL, Daraja
from tests.simulators.support import wait_for


def number(tail: str) -> str:
    return "254700000" + tail


REFUSED = {"011": "500.003.02", "012": "500.003.03", "013": "500.001.1001"}
WITH_CALLBACK = {
    "001": [0], "002": [1032], "003": [1], "004": [2001], "005": [1037], "006": [], "007": [0, 0], "008": [0], "009": [0],
    "010": [0], "014": [1001], "015": [26], "016": [17], "017": [1019], "018": [1025], "019": [9999], "020": [0], "021": [],
    "022": [7777], "023": [], "024": [], "031": [0], "032": [0], "033": [0], "034": [0], "035": [0],
}  # fmt: skip
STK_UNTOUCHED = {"040", "041", "042"}


def test_every_magic_number_is_covered_here() -> None:
    assert set(PLANS) == set(WITH_CALLBACK) | set(REFUSED) | STK_UNTOUCHED


@pytest.mark.parametrize("tail", sorted(REFUSED))
def test_refusing_numbers(school: Daraja, tail: str) -> None:
    answer = school.push(number(tail))
    assert (answer.status_code, answer.json()["errorCode"]) == (500, REFUSED[tail])
    assert school.simulator.stk.pushes() == []


@pytest.mark.parametrize("tail", sorted(WITH_CALLBACK))
def test_numbers_that_answer_by_themselves(school: Daraja, tail: str) -> None:
    if tail in ("010", "023"):
        with pytest.raises(requests.ConnectionError):
            school.push(number(tail))
    else:
        assert school.push(number(tail)).status_code == 200
    (push,) = school.simulator.stk.pushes()
    assert len(school.hooks.received) == (1 if tail == "009" else 0)
    school.clock.advance(1)
    push = wait_for(lambda: found if (found := school.simulator.stk.pushes()[0])["result"] else None)
    school.clock.advance(10)
    if tail == "020":
        school.quiet()
        assert school.hooks.received == []
    school.clock.advance(10)
    expected = WITH_CALLBACK[tail]
    bodies = [each.json()["Body"]["stkCallback"] for each in school.hooks.wait(len(expected))] if expected else []
    school.quiet()
    assert len(school.hooks.received) == len(expected)
    assert [body["ResultCode"] for body in bodies] == expected
    amounts = [body["CallbackMetadata"]["Item"][0]["Value"] for body in bodies if body["ResultCode"] == 0]
    assert amounts == [1499.0 if tail == "008" else 1500.0] * len(amounts)
    is_paid = bool(push["receipt"])
    assert is_paid is (expected[:1] == [0] or tail in ("006", "021", "023"))
    assert [entry["amount"] for entry in school.simulator.ledger.transactions()] == [1500] * is_paid
    codes = [found.json().get("ResultCode", found.json().get("errorCode")) for found in three_queries(school, push)]
    assert codes == (["500.001.1001"] * 2 + ["0"] if tail == "021" else [push["result"]] * 3)


def three_queries(school: Daraja, push: dict[str, Any]) -> list[requests.Response]:
    return [school.query(push["checkout"]) for _ in range(3)]


def test_the_sandbox_number_never_shows_a_prompt(school: Daraja) -> None:
    school.push("254708374149")
    assert school.control("GET", "/phone/prompts") == []
    school.clock.advance(59)
    assert school.simulator.stk.pushes()[0]["result"] == ""
    school.clock.advance(1)
    wait_for(lambda: school.simulator.stk.pushes()[0]["result"] == "1037")


def test_a_description_that_is_far_too_long(school: Daraja) -> None:
    assert school.push(TransactionDesc="x" * 182).status_code == 200
    assert school.control("GET", "/phone/prompts") != []
    school.push(TransactionDesc="x" * 183)
    school.clock.advance(1)
    wait_for(lambda: school.simulator.stk.pushes()[0]["result"] == "1025")


@pytest.mark.parametrize(("fault", "amounts"), [("wrong_amount", [1499.0]), ("duplicate_callback", [1500.0, 1500.0])])
def test_faults_set_by_control(school: Daraja, fault: str, amounts: list[float]) -> None:
    school.control("POST", "/mpesa/faults", {"operation": "stk_push", "fault": fault})
    school.paid()
    found = school.hooks.wait(len(amounts))
    values = [each.json()["Body"]["stkCallback"]["CallbackMetadata"]["Item"][0]["Value"] for each in found]
    assert values == amounts
    assert school.control("GET", "/mpesa/faults") == []


def test_no_secret_is_shown_by_the_control_api_or_the_pages(school: Daraja) -> None:
    school.paid()
    shown = "".join(
        requests.get(school.running.url + path, timeout=5).text
        for path in ("/", "/live", "/phone", "/control/mpesa/state", "/control/mpesa/requests", "/control/mpesa/callbacks")
    )
    assert [secret for secret in school.account.secrets.values() if secret in shown] == []
    assert [text for text in (school.token, school.password()) if text in shown] == []
    (push,) = [each for each in school.control("GET", "/mpesa/requests") if each["operation"] == "stk_push"]
    assert push["body"]["Password"] == "••••"


def test_the_phone_shows_who_was_paid(school: Daraja) -> None:
    receipt = school.paid()
    page = requests.get(f"{school.running.url}/phone?number={NORMAL}", timeout=5).text
    assert f"{receipt} Confirmed. Ksh1,500.00 sent to DEMO SCHOOL for account INV-0042 on 10/7/26 at 09:15 AM." in page
    assert school.control("GET", f"/phone/inbox?number={NORMAL}") == []
