"""Routing, atomic handlers, checks, request log, control API, sinks and parallel use."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from standardwebhooks import Webhook

from integrations.simulators import SimReply, SimRequest, checks, derived, once, running_simulators
from tests.simulators.support import Receiver, wait_for

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_paths_methods_and_health(running: running_simulators) -> None:
    health = requests.get(f"{running.url}/healthz", timeout=5)
    assert (health.status_code, health.json()) == (200, {"status": "ok", "simulators": ["counter"]})
    assert requests.post(f"{running.url}/counter/v1/none", timeout=5).json() == {"counter_error": 404}
    assert requests.get(f"{running.url}/counter/v1/add", timeout=5).json() == {"counter_error": 405}
    assert requests.get(f"{running.url}/nobody/v1/add", timeout=5).status_code == 404
    assert requests.get(f"{running.url}/control/nobody/state", timeout=5).json() == {"error": "unknown: control/nobody/state"}


def test_a_refusal_and_a_bug_undo_what_the_handler_wrote(running: running_simulators) -> None:
    refused = requests.post(f"{running.url}/counter/v1/things/x%20y", timeout=5)
    assert (refused.status_code, refused.json()) == (422, {"no": "x y"})
    assert running.violations == []
    assert requests.post(f"{running.url}/counter/v1/bug", timeout=5).json() == {"counter_error": 500}
    assert running.simulator("counter").state()["n"] == 0
    assert running.violations == ["counter bug: RuntimeError: a bug of the simulator"]


def test_an_answer_check_turns_the_answer_into_599(running: running_simulators) -> None:
    def check(slug: str, request: SimRequest, reply: SimReply) -> None:
        assert (slug, request.operation, reply.json()["n"]) == ("counter", "add", 1), "only one is allowed"

    checks.add_answer_check(check)
    try:
        first = requests.post(f"{running.url}/counter/v1/add", json={}, timeout=5)
        second = requests.post(f"{running.url}/counter/v1/add", json={}, timeout=5)
    finally:
        checks.remove_answer_check(check)
    assert (first.status_code, second.status_code) == (200, 599)
    assert running.violations == [second.text]
    assert second.text.startswith("counter POST /v1/add: AssertionError: only one is allowed")
    assert requests.get(f"{running.url}/control/violations", timeout=5).json() == running.violations


def test_a_callback_check_stops_the_callback(running: running_simulators, receiver: Receiver) -> None:
    seen: list[tuple[str, str, str, str, bytes]] = []

    def check(slug: str, method: str, url: str, headers: Mapping[str, str], body: bytes) -> None:
        seen.append((slug, method, url, headers["Content-Type"], body))
        if b'"n": 1' in body:
            raise ValueError("n may not be 1")

    checks.add_callback_check(check)
    try:
        for _ in range(2):
            requests.post(f"{running.url}/counter/v1/add", json={"callback_url": receiver.url}, timeout=5)
        assert [each.json() for each in receiver.wait(1)] == [{"n": 2}]
        wait_for(lambda: len(seen) == 2)
    finally:
        checks.remove_callback_check(check)
    assert sorted(seen) == [("counter", "POST", receiver.url, "application/json", f'{{"n": {n}}}'.encode()) for n in (1, 2)]
    wait_for(lambda: running.violations == [f"counter webhook POST {receiver.url}: ValueError: n may not be 1"])


def test_the_request_log_masks_credentials(running: running_simulators) -> None:
    key = running.simulator("counter").accounts[0].secrets["key"]
    requests.post(
        f"{running.url}/counter/v1/add?k={key}",
        json={"password": "hush", "inner": [{"password": "hush", "note": f"key is {key}"}]},
        headers={"Authorization": f"Bearer {key}"},
        timeout=5,
    )
    answer = requests.get(f"{running.url}/control/counter/requests?operation=add", timeout=5)
    assert key not in answer.text
    assert "hush" not in answer.text
    (entry,) = answer.json()
    assert entry["body"] == {"password": "••••", "inner": [{"password": "••••", "note": "key is ••••"}]}
    assert (entry["query"], entry["headers"]["Authorization"], entry["status"]) == ({"k": "••••"}, "••••", 200)
    assert (entry["method"], entry["path"], entry["operation"]) == ("POST", "/v1/add", "add")


def test_settings_are_typed_and_all_or_nothing(running: running_simulators) -> None:
    url = f"{running.url}/control/counter/settings"
    assert requests.put(url, json={"step": 5, "strict": True}, timeout=5).json() == {"step": 5, "label": "n", "strict": True}
    for wrong in ({"step": 7, "other": 1}, {"step": 7, "strict": 1}, {"step": "7"}, {"step": True}, {"step": -1}):
        assert requests.put(url, json=wrong, timeout=5).status_code == 400
    assert requests.get(url, timeout=5).json() == {"step": 5, "label": "n", "strict": True}
    assert requests.post(f"{running.url}/counter/v1/add", json={}, timeout=5).json() == {"n": 5}


def test_own_controls_and_reset(running: running_simulators) -> None:
    assert requests.put(f"{running.url}/control/counter/count/41", timeout=5).json() == {"n": 41, "acks": []}
    assert requests.put(f"{running.url}/control/counter/count/x", timeout=5).status_code == 400
    requests.put(f"{running.url}/control/sink/school", json={"secret": SECRET, "fail_times": 3}, timeout=5)
    requests.put(f"{running.url}/control/counter/settings", json={"step": 5}, timeout=5)
    requests.post(f"{running.url}/control/counter/faults", json={"fault": "delay"}, timeout=5)
    running.store.put("counter", "setup", "x", {"kept": 1})
    requests.post(f"{running.url}/control/reset", json={"keep_setup": True}, timeout=5)
    assert running.simulator("counter").state() == {"n": 0, "acks": []}
    assert running.simulator("counter").all_settings()["step"] == 5
    assert running.simulator("counter").faults.all("counter") == []
    assert running.store.get("counter", "setup", "x") == {"kept": 1}
    sinks = "SELECT name, secret, fail_times FROM sinks"
    assert running.store.rows(sinks) == [{"name": "school", "secret": SECRET, "fail_times": 0}]
    requests.post(f"{running.url}/control/reset", timeout=5)
    assert (running.store.rows(sinks), running.store.get("counter", "setup", "x")) == ([], None)
    assert running.simulator("counter").all_settings()["step"] == 1


def post_signed(url: str, secret: str, body: str) -> requests.Response:
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", now, body),
        "Content-Type": "application/json",
    }
    return requests.post(url, data=body, headers=headers, timeout=5)


def test_a_sink_verifies_stores_and_fails_as_told(running: running_simulators) -> None:
    url, control = f"{running.url}/sink/school", f"{running.url}/control/sink/school"
    body = '{"type":"payment.completed","n":1}'
    assert requests.post(url, data=b"not json", timeout=5).status_code == 200
    assert requests.put(control, json={"secret": SECRET}, timeout=5).json()["secret"] == "••••"
    assert post_signed(url, SECRET, body).status_code == 200
    assert post_signed(url, "whsec_" + "b3RoZXI=", body).status_code == 400
    requests.put(control, json={"fail_times": 2, "status": 202}, timeout=5)
    assert [post_signed(url, SECRET, body).status_code for _ in range(3)] == [500, 500, 202]
    events = requests.get(control, timeout=5).json()
    assert [(each["verified"], each["answered"]) for each in events] == [
        (None, 200), (True, 200), (False, 400), (True, 500), (True, 500), (True, 202),
    ]  # fmt: skip
    assert (events[0]["body"], events[0]["json"]) == ("not json", None)
    assert (events[1]["json"], events[1]["headers"]["webhook-id"]) == ({"type": "payment.completed", "n": 1}, "msg_1")
    assert requests.put(control, json={"secret": "whsec_!"}, timeout=5).status_code == 400
    assert requests.put(control, json={"status": 99}, timeout=5).status_code == 400
    assert requests.put(control, json={"stauts": 200}, timeout=5).status_code == 400
    assert post_signed(url, SECRET, body).status_code == 202
    assert requests.delete(control, timeout=5).json() == {"cleared": 7}
    assert requests.get(control, timeout=5).json() == []


def test_200_parallel_requests_are_all_counted_once(running: running_simulators, receiver: Receiver) -> None:
    def one(_: int) -> int:
        answer = requests.post(f"{running.url}/counter/v1/add", json={"callback_url": receiver.url}, timeout=30)
        return int(answer.json()["n"])

    with ThreadPoolExecutor(200) as pool:
        found = list(pool.map(one, range(200)))
    assert sorted(found) == list(range(1, 201))
    assert sorted(each.json()["n"] for each in receiver.wait(200)) == list(range(1, 201))
    wait_for(lambda: len(running.simulator("counter").state()["acks"]) == 200)


def test_seeds_are_the_same_for_all_who_read_the_folder(tmp_path: Path) -> None:
    assert derived(tmp_path, "a") == derived(tmp_path, "a")
    assert len({derived(tmp_path, "a"), derived(tmp_path, "b"), derived(tmp_path / "other", "a")}) == 3
    with ThreadPoolExecutor(20) as pool:
        contents = list(pool.map(lambda n: once(tmp_path / "key", f"draft {n}".encode), range(20)))
    assert len(set(contents)) == 1
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "other", "seed"]


@pytest.mark.parametrize(("headers", "status"), [({"Content-Length": "x"}, 400), ({"Content-Length": "99999999"}, 413)])
def test_unreadable_bodies_are_refused(running: running_simulators, headers: dict[str, str], status: int) -> None:
    prepared = requests.Request("POST", f"{running.url}/counter/v1/add").prepare()
    prepared.headers.update(headers)
    with requests.Session() as session:
        assert session.send(prepared, timeout=5).status_code == status
    assert running.simulator("counter").state()["n"] == 0
