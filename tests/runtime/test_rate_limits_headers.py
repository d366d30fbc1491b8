"""What answers say about when to call again, in each form that vendors use."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from integrations.registry import get_provider
from integrations.runtime.rate_limit.headers import wait_asked

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
EPOCH = int(NOW.timestamp())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "17"}, 17.0),
        ({"retry-after": "2.5"}, 2.5),
        ({"Retry-After": "Sun, 22 Nov 2026 10:01:30 GMT"}, 90.0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"x-ms-retry-after-ms": "250"}, 0.25),
        ({"X-RateLimit-Reset": str(EPOCH + 40)}, 40.0),
        ({"X-RateLimit-Reset": str((EPOCH + 40) * 1000)}, 40.0),
        ({"X-RateLimit-Reset": "40"}, 40.0),
        ({"X-Rate-Limit-Reset": "12"}, 12.0),
        ({"X-RateLimit-Reset-After": "0.75"}, 0.75),
        ({"X-RateLimit-Reset-Ms": "3000"}, 3.0),
        ({"X-RateLimit-Reset-Ms": str((EPOCH + 3) * 1000)}, 3.0),
        ({"RateLimit-Reset": "30", "RateLimit-Remaining": "0"}, 30.0),
        ({"RateLimit": "limit=100, remaining=0, reset=50"}, 50.0),
        ({"RateLimit": '"default";r=0;t=30'}, 30.0),
        ({"RateLimit": '"minute";r=3;t=10, "day";r=0;t=3600'}, 3600.0),
        ({"Retry-After": "9", "X-RateLimit-Reset": str(EPOCH + 40)}, 9.0),
        ({"Retry-After": "999999"}, 86_400.0),
    ],
)
def test_a_refusal_in_each_form(headers: dict[str, str], seconds: float) -> None:
    assert wait_asked(429, headers, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Retry-After": ""},
        {"Retry-After": "soon"},
        {"Retry-After": "-5"},
        {"Retry-After": "1e9"},
        {"Retry-After": "0"},
        {"Retry-After": "Sun, 22 Nov 2026 09:00:00 GMT"},
        {"X-RateLimit-Reset": str(EPOCH - 5)},
        {"RateLimit": '"default";r=0'},
        {"RateLimit": "nonsense"},
    ],
)
def test_what_says_nothing_asks_for_nothing(headers: dict[str, str]) -> None:
    assert wait_asked(429, headers, NOW) is None


def test_a_good_answer_asks_only_when_nothing_remains() -> None:
    reset = {"X-RateLimit-Reset": str(EPOCH + 40)}
    assert wait_asked(200, {**reset, "X-RateLimit-Remaining": "1"}, NOW) is None
    assert wait_asked(200, {**reset, "X-RateLimit-Remaining": "0"}, NOW) == 40.0
    assert wait_asked(200, {"RateLimit": '"default";r=0;t=30'}, NOW) == 30.0
    assert wait_asked(200, {"Retry-After": "30"}, NOW) is None


def test_a_provider_that_is_down_asks_by_retry_after_alone() -> None:
    assert wait_asked(503, {"Retry-After": "30"}, NOW) == 30.0
    assert wait_asked(503, {"X-RateLimit-Reset": "30"}, NOW) is None
    assert wait_asked(503, {"X-RateLimit-Reset": "30", "X-RateLimit-Remaining": "0"}, NOW) == 30.0


@pytest.mark.parametrize(
    ("slug", "status", "headers", "body", "seconds"),
    [
        ("stripe", 429, {}, '{"error":{"code":"lock_timeout"}}', 0.0),
        ("stripe", 429, {}, '{"error":{"code":"rate_limit"}}', None),
        ("mpesa", 500, {}, '{"errorCode":"500.001.1001","errorMessage":"Unable to lock subscriber"}', 0.0),
        ("mpesa", 500, {}, '{"errorCode":"500.003.02"}', None),
        ("apns", 429, {}, '{"reason":"TooManyRequests"}', 0.0),
        ("apns", 429, {}, '{"reason":"TooManyProviderTokenUpdates"}', None),
        ("whatsapp", 400, {}, "{}", None),
        ("whatsapp", 400, {"x-business-use-case-usage": "[1]"}, "{}", None),
        (
            "whatsapp",
            400,
            {
                "x-business-use-case-usage": '{"7":[{"type":"messages","estimated_time_to_regain_access":19},'
                '{"type":"templates","estimated_time_to_regain_access":2}]}'
            },
            "{}",
            1140.0,
        ),
    ],
)
def test_what_providers_say_in_their_own_way(
    slug: str, status: int, headers: dict[str, str], body: str, seconds: float | None
) -> None:
    pause = get_provider(slug).pause
    assert pause is not None
    assert pause(status, headers, body) == seconds
