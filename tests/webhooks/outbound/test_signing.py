"""Signatures against known answers of the standard, and the retry schedule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from webhooks.outbound.delivery.schedule import DELAYS, delay_after, delay_after_refusal, parse_retry_after
from webhooks.outbound.models import MAX_ATTEMPTS, subscribes
from webhooks.outbound.signing import new_secret, signed_headers

# Known answer of the Standard Webhooks reference libraries (spec 1.0, read 2026-08).
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE = "msg_p5jXN8AQM9LWM0D4loKWxJek"
AT = datetime.fromtimestamp(1614265330, UTC)
BODY = '{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_known_answer() -> None:
    assert signed_headers([SECRET], message_id=MESSAGE, at=AT, body=BODY) == {
        "webhook-id": MESSAGE,
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }


def test_another_time_zone_signs_the_same_moment() -> None:
    nairobi = AT.astimezone(timezone(timedelta(hours=3)))
    headers = signed_headers([SECRET], message_id=MESSAGE, at=nairobi, body=BODY)
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == SIGNATURE


def test_each_secret_signs_in_order() -> None:
    other = new_secret()
    now = datetime.now(UTC)
    headers = signed_headers([other, SECRET], message_id=MESSAGE, at=now, body=BODY)
    first, second = headers["webhook-signature"].split(" ")
    assert second == Webhook(SECRET).sign(MESSAGE, now, BODY)
    assert first != second
    for secret in (other, SECRET):
        assert Webhook(secret).verify(BODY, headers) == {"test": 2432232314}
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(BODY, headers)


def test_fresh_secrets_are_long_and_different() -> None:
    one, two = new_secret(), new_secret()
    assert one != two
    assert one.startswith("whsec_")
    assert len(one) == len("whsec_") + 44  # 32 bytes in base64


@pytest.mark.parametrize(
    ("attempt", "least"),
    [(1, 5), (2, 30), (3, 120), (4, 600), (5, 1800), (6, 7200), (7, 21600), (8, 43200), (9, 86400), (11, 86400), (40, 86400)],
)
def test_the_schedule_only_adds_jitter(attempt: int, least: float) -> None:
    assert delay_after(attempt, jitter=0.0) == least
    assert delay_after(attempt, jitter=1.0) == pytest.approx(least * 1.1)
    assert all(least <= delay_after(attempt) <= least * 1.1 for _ in range(200))


def test_one_attempt_more_than_delays() -> None:
    assert len(DELAYS) + 1 == MAX_ATTEMPTS


def test_retry_after_lengthens_and_never_shortens() -> None:
    assert delay_after(1, retry_after=60.0, jitter=0.0) == 60.0
    assert delay_after(5, retry_after=60.0, jitter=0.0) == 1800.0


@pytest.mark.parametrize(("refusal", "least"), [(1, 60), (2, 1800), (3, 7200)])
def test_a_refusal_has_a_short_schedule_of_its_own(refusal: int, least: float) -> None:
    assert delay_after_refusal(refusal, jitter=0.0) == least
    assert delay_after_refusal(refusal, jitter=1.0) == pytest.approx(least * 1.1)
    assert delay_after_refusal(refusal, retry_after=9000.0, jitter=0.0) == 9000.0


@pytest.mark.parametrize("refusal", [4, 5, 12])
def test_the_fourth_refusal_is_the_last(refusal: int) -> None:
    assert delay_after_refusal(refusal, retry_after=10.0) is None


def test_an_endpoints_own_delays_replace_the_hubs() -> None:
    assert [delay_after(number, delays=[1, 2], jitter=0.0) for number in (1, 2, 3)] == [1.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("86401", 86400.0),
        ("9" * 400, 86400.0),
        ("Thu, 25 Feb 2021 15:03:10 GMT", 60.0),
        ("Thu, 25 Feb 2021 15:01:10 GMT", 0.0),  # has passed
        ("Fri, 25 Feb 2022 15:01:10 GMT", 86400.0),
        ("-5", None),
        ("1.5", None),
        ("\u0661\u0662", None),  # digits, but not ASCII
        ("soon", None),
        ("Thu, 99 Feb 2021 15:03:10 GMT", None),
        ("Thu, 25 Feb 2021 15:03:10", None),  # no zone
    ],
)
def test_retry_after_in_both_forms(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, AT) == seconds


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [
        (["*"], True),
        (["payment.completed"], True),
        (["message.*", "payment.*"], True),
        (["payment.failed"], False),
        (["payment"], False),
        (["pay.*"], False),
        (["payment.completed.*"], False),
        ([], False),
        ([None, 5], False),
    ],
)
def test_subscriptions(patterns: list[str], wanted: bool) -> None:
    assert subscribes(patterns, "payment.completed") is wanted
