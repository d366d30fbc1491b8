"""Asking what became of a text: by its id, or by searching for it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from integrations.contracts.errors import (
    ProviderError,
    UnsupportedOperation,
)
from integrations.contracts.messaging import MessageState, RecipientResult, SendQuery, SuppressReason, Target
from integrations.contracts.sms import SmsMessage
from integrations.providers.twilio.tests.support import (
    ACCOUNT,
    HOOK,
    MESSAGES,
    NOW,
    NUMBER,
    SID,
    TOKEN,
    RecordingHttp,
    fixture,
    message,
    sms,
)

TEXT = "Your code is 4711"
ONE = SmsMessage("msg_1", (Target(NUMBER, "ref_1"),), TEXT, callback_url=HOOK)


def error(code: int, status: int = 400, text: str = "No.") -> dict[str, Any]:
    return {"code": code, "message": text, "more_info": f"https://www.twilio.com/docs/errors/{code}", "status": status}


def query(**changes: Any) -> SendQuery:
    return SendQuery(**{"message_id": "msg_1", "target": Target(NUMBER), "sent_at": NOW, "text": TEXT, **changes})


def page(*messages: dict[str, Any], following: str | None = None) -> dict[str, Any]:
    return {"messages": list(messages), "next_page_uri": following}


def test_a_message_is_fetched_by_its_id(http: RecordingHttp) -> None:
    http.answer(fixture("message__delivered.json"), 200)
    found = sms(http).find(query(provider_ref=SID, text=""))
    url = f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{SID}.json"
    assert http.calls == [{"method": "GET", "url": url, "operation": "status", "safe": True, "auth": (ACCOUNT, TOKEN)}]
    assert found == RecipientResult(NUMBER, MessageState.DELIVERED, SID, "delivered", cost=Decimal("0.00790"), currency="USD")


def test_a_failure_is_fetched_with_its_reason(http: RecordingHttp) -> None:
    http.answer(fixture("message__undelivered.json"), 200)
    found = sms(http).find(query(provider_ref=SID))
    assert found is not None
    assert (found.state, found.provider_code, found.suppress) == (MessageState.FAILED, "30005", SuppressReason.INVALID)
    assert found.retryable is False


def test_a_failure_for_want_of_room_may_be_tried_again(http: RecordingHttp) -> None:
    http.answer(message(status="failed", error_code=30001), 200)
    found = sms(http).find(query(provider_ref=SID))
    assert found is not None
    assert (found.state, found.retryable, found.retry_after) == (MessageState.FAILED, True, 60.0)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("accepted", MessageState.SENT),
        ("scheduled", MessageState.SENT),
        ("queued", MessageState.SENT),
        ("sending", MessageState.SENT),
        ("sent", MessageState.SENT),
        ("delivered", MessageState.DELIVERED),
        ("read", MessageState.READ),
        ("undelivered", MessageState.FAILED),
        ("failed", MessageState.FAILED),
        ("canceled", MessageState.CANCELLED),
        ("partially_delivered", MessageState.UNKNOWN),
    ],
)
def test_the_status_vocabulary(http: RecordingHttp, status: str, state: MessageState) -> None:
    http.answer(message(status=status), 200)
    found = sms(http).find(query(provider_ref=SID))
    assert found is not None
    assert found.state is state


def test_an_id_that_twilio_does_not_know(http: RecordingHttp) -> None:
    http.answer(error(20404, 404), 404)
    assert sms(http).find(query(provider_ref=SID)) is None
    assert sms(http).find(query(provider_ref="../../Balance")) is None
    assert len(http.calls) == 1


def test_a_lost_message_is_searched_by_recipient_day_and_text(http: RecordingHttp) -> None:
    others = [
        message(sid="SM" + "2" * 32, body="Another text"),
        message(sid="SM" + "3" * 32, to="+254711000002"),
        message(sid="SM" + "4" * 32, direction="inbound"),
        message(sid="SM" + "5" * 32, date_created="Sat, 21 Nov 2026 08:13:59 +0000"),
        message(sid="SM" + "6" * 32, date_created="Sat, 21 Nov 2026 08:25:01 +0000"),
        message(sid="SM" + "7" * 32, body=None),
        message(sid="SM" + "8" * 32, date_created="yesterday"),
    ]
    http.answer(page(*others, message(status="sent", body=f"{TEXT} ")), 200)
    http.answer(page(*others, message(status="sent", body=f"{TEXT} ")), 200)
    found = sms(http).find(query())
    assert http.calls[0]["url"] == MESSAGES
    assert http.calls[0]["query"] == {"To": NUMBER, "DateSent>": "2026-11-20", "PageSize": "1000"}
    assert http.calls[0]["safe"] is True
    assert found is not None
    assert (found.provider_ref, found.state) == (SID, MessageState.SENT)
    assert len(http.calls) == 2


def test_the_search_goes_on_with_the_next_page(http: RecordingHttp) -> None:
    following = f"{MESSAGES}?To=%2B254711000001&PageSize=1000&Page=1&PageToken=PASM1"
    http.answer(page(message(body="x"), following=following), 200)
    http.answer(page(message(body=f"Sent from your Twilio trial account - {TEXT}")), 200)
    http.answer(page(), 200)
    found = sms(http).find(query())
    assert found is not None
    assert found.provider_ref == SID
    assert http.calls[1]["url"] == following
    assert "query" not in http.calls[1]


@pytest.mark.parametrize("following", ["https://evil.example/x", "/2010-04-01/Accounts/AC2/Messages.json?Page=1"])
def test_the_next_page_is_the_accounts_own(http: RecordingHttp, following: str) -> None:
    http.answer(page(following=following), 200)
    with pytest.raises(ProviderError):
        sms(http).find(query())
    assert len(http.calls) == 1


def test_a_message_that_waits_still_has_no_day(http: RecordingHttp) -> None:
    http.answer(page(), 200)
    http.answer(page(message()), 200)
    found = sms(http).find(query())
    assert found is not None
    assert found.provider_ref == SID
    assert http.calls[1]["query"] == {"To": NUMBER, "PageSize": "1000"}


def test_a_message_that_is_nowhere(http: RecordingHttp) -> None:
    http.answer(page(), 200)
    http.answer(page(message(body="x"), following=f"{MESSAGES}?Page=1"), 200)
    assert sms(http).find(query(sent_at=None)) is None
    assert len(http.calls) == 2


def test_two_messages_with_the_same_text_leave_it_unknown(http: RecordingHttp) -> None:
    http.answer(page(message(sid="SM" + "2" * 32, status="delivered")), 200)
    http.answer(page(message(), message(sid="SM" + "2" * 32, status="delivered")), 200)
    found = sms(http).find(query())
    assert found is not None
    assert (found.state, found.provider_ref) == (MessageState.UNKNOWN, "")


def test_more_messages_than_can_be_searched_are_no_answer(http: RecordingHttp) -> None:
    for _ in range(5):
        http.answer(page(following=f"{MESSAGES}?Page=1"), 200)
    with pytest.raises(ProviderError, match="too many"):
        sms(http).find(query())
    assert len(http.calls) == 5


def test_without_id_and_text_nothing_can_be_searched(http: RecordingHttp) -> None:
    with pytest.raises(UnsupportedOperation):
        sms(http).find(query(text=""))
    assert http.calls == []


def test_the_time_of_the_call_may_be_in_any_zone(http: RecordingHttp) -> None:
    http.answer(page(message(date_created="Sat, 21 Nov 2026 10:15:30 +0200")), 200)
    http.answer(page(), 200)
    found = sms(http).find(query(sent_at=datetime(2026, 11, 21, 8, 15, 10, tzinfo=UTC)))
    assert found is not None
    assert found.provider_ref == SID
