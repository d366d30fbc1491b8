"""The pages: everything is escaped, they work without a script, and other sites can't post."""

from __future__ import annotations

import re

import requests

from integrations.simulators import running_simulators

NUMBER = "254700000001"


def get(running: running_simulators, path: str) -> str:
    answer = requests.get(running.url + path, timeout=5)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    return answer.text


def test_the_phone_shows_prompt_messages_and_escapes_all(running: running_simulators) -> None:
    running.simulator("counter").to_phone("+254 700 000 001", "<School>", "Receipt & <thanks>", "m1")
    html = get(running, f"/phone?number={NUMBER}")
    assert "<b>&lt;School&gt;</b>Receipt &amp; &lt;thanks&gt;<time>" in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script>alert" not in html
    assert '<p class="amount">KES 1,500</p>' in html
    assert "<dd>&lt;Shop&gt;</dd>" in html
    assert "<dd>A&amp;B</dd>" in html
    assert re.search(r'<form class="sheet" method="post" data-fetch action="/control/phone/prompts/p1">', html)
    assert [text for text in ('value="pin"', 'value="cancel"', 'value="timeout"') if text in html] == [
        'value="pin"', 'value="cancel"', 'value="timeout"',
    ]  # fmt: skip
    assert '<p class="amount">' not in get(running, "/phone?number=254711111111")
    assert "<script>alert" not in get(running, '/phone?number="><script>alert(1)</script>')


def test_pages_need_nothing_from_elsewhere(running: running_simulators) -> None:
    requests.post(f"{running.url}/sink/x", data=b"<img src=http://evil.example/>", timeout=5)
    for path in ("/", "/phone", "/sink/x", "/live"):
        html = get(running, path)
        assert re.findall(r'(?:src|href)="(?:https?:)?//', html) == []
        assert "<img" not in html


def test_the_control_page_shows_everything_escaped(running: running_simulators) -> None:
    requests.post(f"{running.url}/counter/v1/add", json={"x": "<u>"}, timeout=5)
    requests.post(f"{running.url}/control/counter/faults", json={"operation": "<u>", "fault": "delay", "times": -1}, timeout=5)
    html = get(running, "/")
    assert "Counter &lt;b&gt;&amp;" in html
    assert "lucky &lt;i&gt;" in html
    assert "until cleared" in html
    assert "POST /v1/add" in html
    assert "<u>" not in html
    assert "<option>refused</option>" in html
    assert get(running, "/live") in html


def test_forms_work_without_a_script(running: running_simulators) -> None:
    form = {"operation": "add", "fault": "error_429", "times": "2", "seconds": "", "retry_after": "", "next": "/?x=1"}
    answer = requests.post(f"{running.url}/control/counter/faults", data=form, timeout=5, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/?x=1")
    (fault,) = running.simulator("counter").faults.all("counter")
    assert (fault["fault"], fault["times"], fault["seconds"], fault["retry_after"]) == ("error_429", 2, None, None)
    form["next"] = "//evil.example/"
    answer = requests.post(f"{running.url}/control/counter/faults", data=form, timeout=5, allow_redirects=False)
    assert answer.headers["Location"] == "/"


def test_other_sites_cannot_post(running: running_simulators) -> None:
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = requests.post(f"{running.url}/control/counter/faults", json={"fault": "delay"}, headers=headers, timeout=5)
        assert answer.status_code == 403
    assert running.simulator("counter").faults.all("counter") == []
    own = requests.post(
        f"{running.url}/control/counter/faults", json={"fault": "delay"}, headers={"Origin": running.url}, timeout=5
    )
    assert own.status_code == 200


def test_prompts_and_inbox_over_the_control_api(running: running_simulators) -> None:
    base = f"{running.url}/control/phone"
    prompts = requests.get(f"{base}/prompts?msisdn=0700000001", timeout=5).json()
    assert [(each["id"], each["msisdn"], each["amount"], each["currency"]) for each in prompts] == [("p1", NUMBER, 1500, "KES")]
    assert requests.get(f"{base}/prompts?msisdn=254711111111", timeout=5).json() == []
    answer = requests.post(f"{base}/prompts/p1", json={"action": "pin", "pin": "1234"}, timeout=5)
    assert answer.json() == {"status": "pin", "pin": "1234"}
    assert requests.post(f"{base}/prompts/p1", json={"action": "steal"}, timeout=5).status_code == 400
    assert requests.post(f"{base}/prompts/p2", json={"action": "pin"}, timeout=5).status_code == 404
    running.simulator("counter").to_phone("+254700000001", "SCHOOL", "Hello", "m1")
    running.simulator("counter").to_phone("+254711111111", "SCHOOL", "Other", "m2")
    inbox = requests.get(f"{base}/inbox?number=%2B254700000001", timeout=5).json()
    assert [(each["number"], each["sender"], each["text"], each["message_id"]) for each in inbox] == [
        ("+254700000001", "SCHOOL", "Hello", "m1")
    ]
    assert len(requests.get(f"{base}/inbox", timeout=5).json()) == 2
