"""kill -9 of each process type at each moment: the hub recovers by itself, and everything happens exactly once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from tests.processes.fee import Fee
from tests.processes.stack import Stack, lives, wait_for

pytestmark = [pytest.mark.slow]

# Most deaths end the whole cluster, and one that follows another at once waits out a pause that grew for it: those of others
# come in between, so that the cluster has lived for a while.
ROLES = [
    "supervisor",
    "guardian",
    "web worker",
    "cluster",
    "sentinel",
    "web master",
    "queue worker",
    "delivery worker",
    "simulators",
    "idle worker",
    "monitor",
    "database",
    "pusher",
]
MOMENTS = ["idle", "during the call", "prompt waiting", "receipt on its way"]
# Their death takes the process along that was sending the SMS, or the one that was to answer. With the database it depends
# on who is faster: the answer, or the supervisor who replaces the cluster.
SMS_CUT_OFF = {*ROLES} - {"web master", "web worker", "database"}
LIMIT = 90.0
HANG = 3.0
ASKED: list[Fee] = []


def idle(stack: Stack, role: str, fee: Fee) -> list[psutil.Process]:
    """Nothing is under way; the fee is asked for right after the death."""
    doomed = stack.kill(role)
    # A first request that died in the web server keeps its key to itself for a minute; the parent does not wait for that.
    fee.ask_in_the_background(again=True)
    fee.enter_pin()
    return doomed


def during_the_call(stack: Stack, role: str, fee: Fee) -> list[psutil.Process]:
    """M-Pesa has accepted the push and its answer has not come: whoever dies, the push must not be sent again."""
    stack.fault("mpesa", "stk_push", "delay", seconds=HANG)
    fee.ask_in_the_background(again=False)
    wait_for(fee.pushes, "the push to arrive", 20)
    doomed = stack.kill(role, fee.caller("payment.authorize") if role == "web worker" else None)
    fee.asked()
    # A callback finds nobody home while the web server is down, and without M-Pesa's answer nobody can ask later.
    gone(doomed)
    wait_for(stack.whole, "the hub to be whole again", LIMIT)
    fee.enter_pin()
    return doomed


def prompt_waiting(stack: Stack, role: str, fee: Fee) -> list[psutil.Process]:
    """The parent enters the PIN at once, so the callback comes into the middle of the repair, and may be lost in it."""
    fee.ask()
    wait_for(fee.prompts, "the prompt", 20)
    doomed = stack.kill(role)
    fee.enter_pin()
    return doomed


def receipt_on_its_way(stack: Stack, role: str, fee: Fee) -> list[psutil.Process]:
    """The payment is booked, the SMS provider has the receipt, its answer has not come."""
    stack.control("PUT", "africastalking/settings", json={"dlr_delay": 5.0})  # reports come when all are back
    stack.fault("africastalking", "sms_send", "delay", seconds=HANG)
    fee.ask()
    fee.enter_pin()
    wait_for(fee.inbox, "the receipt to reach the phone", 30)
    return stack.kill(role, fee.caller("sms.send") if role == "queue worker" else None)


SCENES: dict[str, Callable[[Stack, str, Fee], list[psutil.Process]]] = {
    "idle": idle,
    "during the call": during_the_call,
    "prompt waiting": prompt_waiting,
    "receipt on its way": receipt_on_its_way,
}


def gone(doomed: list[psutil.Process], seconds: float = 30.0) -> None:
    """Wait until all of them are gone, none of them a working orphan."""
    wait_for(lambda: not any(lives(each) for each in doomed), f"the end of {doomed}", seconds)


# Moments outside, so that no process type dies twice in a row and waits out a pause that grew for it.
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_hub_recovers_and_pays_once(stack: Stack, role: str, moment: str, note_time: Any) -> None:
    fee = Fee(stack)
    ASKED.append(fee)
    doomed = SCENES[moment](stack, role, fee)
    fee.wait_until_ended(LIMIT)
    gone(doomed)
    wait_for(stack.whole, "the hub to be whole again", LIMIT)
    taken = time.monotonic() - stack.killed_at

    duplicates = fee.assert_done_once()
    assert duplicates <= fee.deliveries().count("lost"), "only a delivery that was cut off may come twice"
    push = fee.effect("payment.authorize")
    payment = fee.payment()
    if moment == "during the call" and role in {"web master", "web worker", "simulators"}:
        assert push["state"] == "unknown", "the answer never came: reconciled by the callback, not executed again"
        assert payment["receipt"], "by the callback, since there was no id to ask with"
    else:
        assert push["state"] == "succeeded"
    learned = "callback" if payment["receipt"] else "callback lost, learned by asking"
    text = fee.effect("sms.send")
    if moment == "receipt on its way" and role in SMS_CUT_OFF:
        assert text["state"] == "unknown", "its answer never came; the delivery report told that it was sent"
    elif moment == "receipt on its way" and role != "database":
        assert text["state"] == "succeeded"
    assert text["item_state"] == "completed"
    note_time(f"{moment}: {role}", taken, f"{learned}; SMS call {text['state']}, item {text['item_state']}")
    assert taken < LIMIT


def test_a_repeated_request_finds_the_payment_of_the_one_that_died(stack: Stack) -> None:
    """Same Idempotency-Key, same payment, whatever died under the first request. No second push."""
    assert ASKED, "run together with the kills"
    for fee in ASKED:
        fee.asked()
        fee.ask()
        assert fee.answer is not None
        assert fee.answer.json()["id"] == fee.payment()["id"]
        assert len(fee.pushes()) == 1


def test_a_receipt_whose_fate_nobody_reports_waits_for_a_person(stack: Stack) -> None:
    """The worker died in the SMS call and no delivery report comes: never a second SMS, but a review."""
    stack.fault("africastalking", "delivery_report", "lose_callback", times=-1)
    stack.fault("africastalking", "sms_send", "delay", seconds=HANG)
    fee = Fee(stack)
    fee.ask()
    fee.enter_pin()
    wait_for(fee.inbox, "the receipt to reach the phone", 30)

    doomed = stack.kill("queue worker", fee.caller("sms.send"))
    gone(doomed)
    wait_for(lambda: fee.attempts("sms.send")[0]["item_state"] != "processing", "the item to be recovered")
    wait_for(stack.whole, "the hub to be whole again")

    assert [(each["state"], each["item_state"]) for each in fee.attempts("sms.send")] == [("unknown", "needs_review")]
    assert [each["state"] for each in fee.recipients()] == ["unknown"]
    assert len(fee.inbox()) == 1
    assert fee.payment()["status"] == "succeeded"
    (item,) = fee.attempts("sms.send")
    refused = stack.call("POST", f"/api/v1/integrations/queue/{item['item']}/retry")
    assert refused.status_code == 409, refused.text
    assert len(fee.inbox()) == 1


def test_a_delivery_cut_off_in_flight_comes_again_under_the_same_id(stack: Stack, note_time: Any) -> None:
    """At least once: the school's system may see the event twice, and can tell by its `webhook-id`."""
    stack.control("PUT", "sink/school", json={"delay": HANG})
    fee = Fee(stack)
    try:
        fee.ask()
        fee.enter_pin()
        wait_for(lambda: fee.payment()["status"] == "succeeded" and fee.received(), "the event to arrive", 30)
        doomed = stack.kill("delivery worker")
    finally:
        stack.control("PUT", "sink/school", json={"delay": 0})
    gone(doomed)
    wait_for(lambda: len(fee.received()) > 1, "the event to come again", 120)
    note_time("during the delivery: delivery worker", time.monotonic() - stack.killed_at, "delivered again under the same id")
    fee.wait_until_ended()
    wait_for(stack.whole, "the hub to be whole again")

    assert fee.assert_done_once() == 1
    # The school has an event a moment before its try is booked.
    wait_for(lambda: len(fee.deliveries()) > 1, "the second try to be booked", 30)
    assert fee.deliveries() == ["lost", ""]
