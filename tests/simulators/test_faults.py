"""Faults that a tester sets through the control API: what the client sees, and what was done or not done."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import requests

from integrations.simulators import ManualClock, running_simulators
from tests.simulators.support import Receiver, wait_for


def set_fault(running: running_simulators, **fault: Any) -> None:
    answer = requests.post(f"{running.url}/control/counter/faults", json=fault, timeout=5)
    assert answer.status_code == 200, answer.text


def add(running: running_simulators, **data: Any) -> requests.Response:
    return requests.post(f"{running.url}/counter/v1/add", json=data, timeout=30)


def count(running: running_simulators) -> int:
    return int(running.simulator("counter").state()["n"])


def states(running: running_simulators) -> list[str]:
    return [each["state"] for each in requests.get(f"{running.url}/control/counter/callbacks", timeout=5).json()]


@pytest.mark.parametrize(("fault", "status"), [("error_500", 500), ("error_429", 429)])
def test_errors_answer_in_the_provider_s_form_and_do_nothing(running: running_simulators, fault: str, status: int) -> None:
    set_fault(running, operation="add", fault=fault, retry_after=7)
    answer = add(running)
    assert (answer.status_code, answer.json(), answer.headers["Retry-After"]) == (status, {"counter_error": status}, "7")
    assert count(running) == 0
    assert add(running).json() == {"n": 1}


def test_refuse_cuts_before_acting_and_drop_cuts_after(running: running_simulators) -> None:
    set_fault(running, operation="add", fault="refuse")
    with pytest.raises(requests.ConnectionError):
        add(running)
    assert count(running) == 0
    set_fault(running, operation="*", fault="drop_after_accept")
    with pytest.raises(requests.ConnectionError):
        add(running)
    assert count(running) == 1
    seen = requests.get(f"{running.url}/control/counter/requests", timeout=5).json()
    assert [(each["operation"], each["status"], each["fault"]) for each in seen] == [
        ("add", None, "refuse"),
        ("add", 200, "drop_after_accept"),
    ]


def test_delay_acts_first_and_answers_late(running: running_simulators) -> None:
    set_fault(running, operation="add", fault="delay", seconds=600)
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{running.url}/counter/v1/add", json={}, timeout=0.3)
    wait_for(lambda: count(running) == 1)


def test_times_counts_down_minus_one_stays_until_cleared(running: running_simulators) -> None:
    set_fault(running, operation="add", fault="error_500", times=2)
    assert [add(running).status_code for _ in range(3)] == [500, 500, 200]
    set_fault(running, operation="add", fault="error_500", times=-1)
    assert [add(running).status_code for _ in range(5)] == [500] * 5
    assert requests.delete(f"{running.url}/control/counter/faults", timeout=5).json() == {"cleared": 1}
    assert add(running).status_code == 200


def test_a_fault_of_another_operation_does_not_fire(running: running_simulators) -> None:
    set_fault(running, operation="later", fault="error_500")
    assert add(running).status_code == 200
    faults = requests.get(f"{running.url}/control/counter/faults", timeout=5).json()
    assert [(each["operation"], each["fault"], each["times"]) for each in faults] == [("later", "error_500", 1)]


@pytest.mark.parametrize(
    "fault",
    [
        {"operation": "add", "fault": "nonsense"},
        {"fault": "delay", "seconds": -1},
        {"fault": "delay", "seconds": 601},
        {"fault": "delay", "times": -2},
        {"fault": "delay", "times": "often"},
    ],
)
def test_a_wrong_fault_is_refused_and_not_set(running: running_simulators, fault: dict[str, Any]) -> None:
    assert requests.post(f"{running.url}/control/counter/faults", json=fault, timeout=5).status_code == 400
    assert requests.get(f"{running.url}/control/counter/faults", timeout=5).json() == []


@pytest.mark.parametrize("operation", ["*", "callback", "add", "added"])
def test_a_lost_callback_is_recorded_but_never_sent(running: running_simulators, receiver: Receiver, operation: str) -> None:
    set_fault(running, operation=operation, fault="lose_callback")
    add(running, callback_url=receiver.url)
    add(running, callback_url=receiver.url)
    assert [each.json() for each in receiver.wait(1)] == [{"n": 2}]
    wait_for(lambda: states(running) == ["done", "lost"])
    # Who waits for the answer to a lost callback learns at once that none will come.
    assert running.simulator("counter").state()["acks"] == [[1, None], [2, 200]]


def test_a_duplicate_is_sent_twice(running: running_simulators, receiver: Receiver) -> None:
    set_fault(running, operation="callback", fault="duplicate_callback")
    add(running, callback_url=receiver.url)
    assert [each.json() for each in receiver.wait(2)] == [{"n": 1}, {"n": 1}]


def test_a_delayed_callback_waits_for_its_time(running: running_simulators, receiver: Receiver, clock: ManualClock) -> None:
    set_fault(running, operation="callback", fault="delay_callback", seconds=30)
    add(running, callback_url=receiver.url + "/late")
    add(running, callback_url=receiver.url + "/normal")
    receiver.wait(1, "/normal")
    clock.advance(29)
    assert receiver.at("/late") == []
    wait_for(lambda: states(running) == ["done", "pending"])
    clock.advance(1)
    assert len(receiver.wait(1, "/late")) == 1


def test_an_early_callback_is_answered_before_the_response_goes_out(running: running_simulators) -> None:
    set_fault(running, operation="add", fault="early_callback")
    with Receiver(gate=threading.Event()) as receiver:
        answers: list[requests.Response] = []
        caller = threading.Thread(target=lambda: answers.append(add(running, callback_url=receiver.url)))
        caller.start()
        receiver.wait(1)
        # The callback is out and unanswered: the response must still be held back.
        caller.join(0.3)
        assert (caller.is_alive(), answers) == (True, [])
        assert receiver.gate is not None
        receiver.gate.set()
        caller.join(30)
    assert [answer.json() for answer in answers] == [{"n": 1}]
    assert running.simulator("counter").state()["acks"] == [[1, 200]]
    assert len(receiver.received) == 1
