"""The judge itself: it must be able to find something."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from integrations.providers.fcm.tests.discovery import NotAsDescribed, check_answer, check_request, schemas
from integrations.providers.fcm.tests.support import fixture

needs_description = pytest.mark.skipif(schemas() is None, reason="needs the vendors' descriptions (VENDOR_SPECS)")

GOOD: dict[str, Any] = {
    "validate_only": False,
    "message": {
        "token": "t",
        "data": {"a": "b"},
        "android": {"priority": "high", "ttl": "3600s", "notification": {"notificationCount": 3}},
        "apns": {"headers": {"apns-priority": "10"}, "payload": {"aps": {"badge": 1}}},
        "webpush": {"notification": {"tag": "x"}},
    },
}


@needs_description
@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("messages",), {}),
        (("message", "to"), "t"),
        (("message", "data", "a"), 7),
        (("message", "token"), None),
        (("message", "android", "priority"), "urgent"),
        (("message", "android", "ttl"), "1h"),
        (("message", "android", "ttl"), 3600),
        (("message", "android", "notification", "notificationCount"), "3"),
        (("message", "apns", "headers", "apns-priority"), 10),
        (("message", "apns", "payload"), "aps"),
        (("message", "webpush", "notification"), []),
        (("validate_only",), "true"),
    ],
)
def test_what_is_not_described_is_found(path: tuple[str, ...], value: Any) -> None:
    check_request(GOOD)
    bad = copy.deepcopy(GOOD)
    node = bad
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    with pytest.raises(NotAsDescribed):
        check_request(bad)


@needs_description
def test_answers() -> None:
    for name in ("sent.json", "checked.json"):
        check_answer(json.loads(fixture(name)))
    with pytest.raises(NotAsDescribed):
        check_answer({"message_id": "1"})
    with pytest.raises(NotAsDescribed):
        check_answer({"name": 1})
