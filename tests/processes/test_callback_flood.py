"""One callback, sent 200 times at once through the real web server."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import requests

from tests.processes.fee import Fee
from tests.processes.stack import Stack, wait_for

pytestmark = [pytest.mark.slow]
COPIES = 200


def test_200_concurrent_duplicates_of_a_callback_are_one_payment_event(stack: Stack) -> None:
    stack.fault("mpesa", "stk_callback", "lose_callback")
    fee = Fee(stack)
    fee.ask()
    fee.enter_pin()
    (lost,) = [each for each in stack.control("GET", "mpesa/callbacks") if fee.phone in each["body"]]
    assert lost["state"] == "lost"
    begin = threading.Barrier(COPIES)
    answers: list[Any] = []

    def send() -> None:
        begin.wait(30)
        try:
            answer = requests.post(lost["url"], data=lost["body"], headers={"Content-Type": "application/json"}, timeout=60)
            answers.append((answer.status_code, answer.json()))
        except requests.RequestException as error:
            answers.append(repr(error))

    threads = [threading.Thread(target=send) for _ in range(COPIES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)

    assert len(answers) == COPIES
    assert [answer for answer in answers if answer != answers[0]] == []
    assert answers[0][0] == 200
    fee.wait_until_ended()
    assert fee.assert_done_once() == 0
    taken_in = stack.rows(
        "SELECT status, duplicates FROM webhooks_inbound_receipt WHERE token_object = %s", f"payment:{fee.payment()['id']}"
    )
    assert [(row["status"], row["duplicates"]) for row in taken_in] == [("processed", COPIES - 1)]
    done = "SELECT state FROM integrations_queueitem WHERE kind = 'webhook.process' AND reference_id = %s"
    wait_for(lambda: [row["state"] for row in stack.rows(done, fee.payment()["id"])] == ["completed"], "its processing", 10)
