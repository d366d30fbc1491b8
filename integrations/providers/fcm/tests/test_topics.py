from __future__ import annotations

import json
from typing import Any

import pytest

from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import (
    AuthenticationFailed,
    BadReply,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Undecided,
    UnsupportedOperation,
)
from integrations.providers.fcm.tests.support import MemoryTokens, RecordingHttp, fixture, make_adapter, view


@pytest.mark.parametrize(("name", "path"), [("follow", "batchAdd"), ("unfollow", "batchRemove")])
def test_the_documented_request_and_answer(http: RecordingHttp, name: str, path: str) -> None:
    http.answer(fixture("topic_results.json"))
    assert getattr(make_adapter(http), name)("news", ("good", "gone")) == {"gone": "NOT_FOUND"}
    assert http.calls == [
        {
            "method": "POST",
            "url": f"https://iid.googleapis.com/iid/v1:{path}",
            "operation": name,
            "safe": False,
            "json": {"to": "/topics/news", "registration_tokens": ["good", "gone"]},
            "headers": {
                "Authorization": "Bearer held-token",
                "Accept": "application/json",
                "access_token_auth": "true",
            },
        }
    ]


def test_a_thousand_devices_a_request_each_once(http: RecordingHttp) -> None:
    tokens = [f"t{number}" for number in range(2001)]
    for size, bad in ((1000, 999), (1000, None), (1, 0)):
        results = [{"error": "INTERNAL"} if index == bad else {} for index in range(size)]
        http.answer(json.dumps({"results": results}).encode())
    assert make_adapter(http).follow("news", (*tokens, "t0", "t7")) == {"t999": "INTERNAL", "t2000": "INTERNAL"}
    assert [call["json"]["registration_tokens"] for call in http.calls] == [tokens[:1000], tokens[1000:2000], tokens[2000:]]


def test_nobody_asked_for_nothing_sent(http: RecordingHttp) -> None:
    assert make_adapter(http).follow("news", ()) == {}
    assert http.calls == []


@pytest.mark.parametrize(
    ("topic", "tokens", "attr"),
    [("", ("t",), "topic"), ("/topics/news", ("t",), "topic"), ("two words", ("t",), "topic"), ("news", ("t", ""), "to")],
)
def test_what_is_refused_before_anything_is_sent(http: RecordingHttp, topic: str, tokens: tuple[str, ...], attr: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make_adapter(http).follow(topic, tokens)
    assert caught.value.attr == attr
    assert http.calls == []


def test_a_sandbox_config_changes_nothing(http: RecordingHttp) -> None:
    with pytest.raises(UnsupportedOperation):
        make_adapter(http, view(Environment.SANDBOX)).follow("news", ("t",))
    assert http.calls == []


def test_a_refused_token_is_renewed_once(http: RecordingHttp) -> None:
    http.answer(b"", 401)
    http.answer(fixture("token.json"))
    http.answer(b'{"results":[{}]}')
    assert make_adapter(http, tokens=MemoryTokens("stale")).follow("news", ("t",)) == {}
    assert [call["operation"] for call in http.calls] == ["follow", "token", "follow"]


@pytest.mark.parametrize(
    ("reply", "error_class"),
    [
        (OutcomeUnknown("The request was sent, but no answer came back."), Undecided),
        ((500, b""), Undecided),
        ((503, b"{}"), Undecided),
        ((302, b""), Undecided),
        ((400, b'{"error":"InvalidTopicName"}'), InvalidRequest),
        ((403, b""), AuthenticationFailed),
        ((429, b""), RateLimited),
        ((200, b""), BadReply),
        ((200, b"{}"), BadReply),
        ((200, b'{"results":[]}'), BadReply),
        ((200, b'{"results":[{},{}]}'), BadReply),
        ((200, b'{"results":["ok"]}'), BadReply),
    ],
)
def test_what_can_go_wrong(http: RecordingHttp, reply: Any, error_class: type[ProviderError]) -> None:
    if isinstance(reply, Exception):
        http.replies.append(reply)
    else:
        http.answer(reply[1], reply[0])
    with pytest.raises(ProviderError) as caught:
        make_adapter(http).follow("news", ("t",))
    assert type(caught.value) is error_class
    assert len(http.calls) == 1
