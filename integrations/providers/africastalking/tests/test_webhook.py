from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from integrations.contracts.inbound import (
    Ack,
    FixedPath,
    InboundRequest,
    Locator,
    MalformedWebhook,
    MessageReceived,
    MessageReported,
    Origin,
    Trust,
)
from integrations.contracts.messaging import MessageState, SuppressReason
from integrations.providers.africastalking.tests.conftest import fixture
from integrations.providers.africastalking.webhook import AfricasTalkingWebhook

HOOK = AfricasTalkingWebhook()
ORIGIN = Origin(tenant_id=7, config_id=3, trust=Trust.TOKEN, receipt_id=11)
ID = "ATXid_4f1c0d7be2a94b6f8d21c1a0e6b7d310"


def request(body: bytes) -> InboundRequest:
    return InboundRequest("POST", "dlr", {}, {"content-type": "application/x-www-form-urlencoded"}, body)


def report(**changes: str) -> InboundRequest:
    fields = {"id": ID, "status": "Success", "phoneNumber": "+254711000001", "networkCode": "63902", "retryCount": "0"}
    return request(urlencode({**fields, **changes}).encode())


def parsed(received: InboundRequest) -> MessageReported:
    (event,) = HOOK.parse(received, ORIGIN)
    assert isinstance(event, MessageReported)
    return event


def test_the_documented_report() -> None:
    assert parsed(request(fixture("dlr__failed.form"))) == MessageReported(
        provider="africastalking",
        tenant_id=7,
        config_id=3,
        trust=Trust.TOKEN,
        receipt_id=11,
        provider_event_type="delivery_report",
        provider_ref=ID,
        address="+254711000001",
        state=MessageState.FAILED,
        provider_status="Failed",
        detail="DeliveryFailure",
    )


def test_the_success_report() -> None:
    event = parsed(request(fixture("dlr__success.form")))
    assert (event.state, event.detail, event.suppress) == (MessageState.DELIVERED, "", None)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("Sent", "sent"),
        ("Submitted", "sent"),
        ("Buffered", "sent"),
        ("Success", "delivered"),
        ("Rejected", "failed"),
        ("Failed", "failed"),
        ("AbsentSubscriber", "failed"),
        ("Expired", "failed"),
        ("Teleported", None),
    ],
)
def test_statuses(status: str, state: str | None) -> None:
    event = parsed(report(status=status))
    assert (event.state, event.provider_status) == (state, status)


@pytest.mark.parametrize(
    ("reason", "suppress"),
    [
        ("UserInBlackList", SuppressReason.OPT_OUT),
        ("UserDoesNotExist", SuppressReason.INVALID),
        ("UserIsInactive", SuppressReason.INVALID),
        ("InsufficientCredit", None),
        ("InvalidLinkId", None),
        ("UserAccountSuspended", None),
        ("NotNetworkSubcriber", None),
        ("UserNotSubscribedToProduct", None),
        ("DeliveryFailure", None),
        ("DoNotDisturbRejection", None),
    ],
)
def test_which_reasons_suppress(reason: str, suppress: SuppressReason | None) -> None:
    event = parsed(report(status="Rejected", failureReason=reason))
    assert (event.detail, event.suppress) == (reason, suppress)


def test_a_reason_beside_a_success_suppresses_nobody() -> None:
    assert parsed(report(status="Success", failureReason="UserInBlackList")).suppress is None


def test_a_plus_that_was_not_encoded() -> None:
    received = request(f"id={ID}&status=Success&phoneNumber=+254711000001".encode())
    assert parsed(received).address == "+254711000001"


def test_trust_comes_from_the_path() -> None:
    token = HOOK.verify(report(), None, by_token=True)
    hint = HOOK.verify(report(), None, by_token=False)
    assert (token.trust, hint.trust) == (Trust.TOKEN, Trust.HINT)
    # A forged hint must not make a later true report a duplicate.
    assert token.dedupe_key != hint.dedupe_key


def test_the_same_fact_has_the_same_key_and_another_has_not() -> None:
    def key(received: InboundRequest) -> str:
        return HOOK.verify(received, None, by_token=True).dedupe_key

    first = key(report())
    assert key(request(f"phoneNumber=%2B254711000001&retryCount=0&status=Success&id={ID}".encode())) == first
    others = [
        report(status="Sent"),
        report(id="ATXid_other"),
        report(phoneNumber="+254711000002"),
        report(failureReason="DeliveryFailure"),
        report(retryCount="1"),
    ]
    assert len({first, *(key(other) for other in others)}) == 6


def test_the_tenant_is_found_by_the_message_id() -> None:
    assert HOOK.locate(report()) == (Locator("message", ID),)


@pytest.mark.parametrize("body", [b"", b"MessageSid=SM1&MessageStatus=delivered&To=%2B254711000001", b'{"id": 1}'])
def test_what_another_provider_sent_to_the_shared_path_is_left_to_it(body: bytes) -> None:
    assert HOOK.locate(request(body)) == ()


@pytest.mark.parametrize(
    "received",
    [
        request(b""),
        request(b"\xff\xfe"),
        request(b'{"id":"x"}'),
        report(id=""),
        report(id="x" * 101),
        report(id="a\0b"),
        report(status=""),
        report(status="S" * 101),
        report(phoneNumber=""),
        report(phoneNumber="'; drop table"),
        report(phoneNumber="+1234"),
        report(retryCount="9" * 101),
    ],
)
def test_a_body_of_another_shape_is_malformed(received: InboundRequest) -> None:
    with pytest.raises(MalformedWebhook):
        HOOK.verify(received, None, by_token=True)
    with pytest.raises(MalformedWebhook):
        HOOK.parse(received, ORIGIN)


def test_ack_is_an_empty_200() -> None:
    assert HOOK.ack(report()) == Ack(status=200, body=b"", content_type="text/plain")


def test_paths() -> None:
    assert HOOK.fixed_paths == (FixedPath("/webhooks/sms/delivery", "dlr"),)
    assert HOOK.purposes == {"dlr", "inbox", "optout"}
    assert set(HOOK.config_purposes) == HOOK.purposes


# --- what people write, and who opts out


def posted(purpose: str, body: bytes) -> InboundRequest:
    return InboundRequest("POST", purpose, {}, {"content-type": "application/x-www-form-urlencoded"}, body)


def test_the_documented_incoming_text() -> None:
    (event,) = HOOK.parse(posted("inbox", fixture("incoming.form")), ORIGIN)
    assert event == MessageReceived(
        provider="africastalking",
        tenant_id=7,
        config_id=3,
        trust=Trust.TOKEN,
        receipt_id=11,
        provider_event_type="incoming_message",
        channel="sms",
        provider_ref="b30eb4f8-5a4e-4a5f-8cf7-0b4f5f0c9c1d",
        address="+254711000001",
        to="20880",
        text="Is school closed?",
        occurred_at=datetime(2017, 5, 3, 6, 4, 45, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("date", "at"),
    [
        ("2017-05-03 06:04:45", datetime(2017, 5, 3, 6, 4, 45, tzinfo=UTC)),
        ("yesterday", None),
        ("", None),
    ],
)
def test_the_other_form_of_the_moment_and_none(date: str, at: datetime | None) -> None:
    body = urlencode({"from": "254711000001", "id": "1", "text": "Hi", "to": "20880", "date": date}).encode()
    (event,) = HOOK.parse(posted("inbox", body), ORIGIN)
    assert isinstance(event, MessageReceived)
    assert (event.occurred_at, event.address) == (at, "+254711000001")


def test_the_documented_opt_out() -> None:
    (event,) = HOOK.parse(posted("optout", fixture("optout.form")), ORIGIN)
    assert isinstance(event, MessageReceived)
    assert (event.channel, event.address, event.to, event.opt_out, event.text) == (
        "sms",
        "+254711000001",
        "SPRINGFIELD",
        True,
        "",
    )


def test_an_incoming_text_is_the_same_by_its_id_and_an_opt_out_by_its_day() -> None:
    moments = iter(
        [datetime(2026, 11, 21, 9, tzinfo=UTC), datetime(2026, 11, 21, 10, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC)]
    )
    hook = AfricasTalkingWebhook(now=lambda: next(moments))
    out = posted("optout", fixture("optout.form"))
    keys = [hook.verify(out, None, by_token=True).dedupe_key for _ in range(3)]
    assert (keys[0] == keys[1], keys[1] == keys[2]) == (True, False)
    text = posted("inbox", fixture("incoming.form"))
    again = posted("inbox", fixture("incoming.form").replace(b"cost=None", b"cost=1"))
    assert HOOK.verify(text, None, by_token=True) == HOOK.verify(again, None, by_token=True)
    assert HOOK.verify(text, None, by_token=True).trust is Trust.TOKEN


@pytest.mark.parametrize(
    ("purpose", "body"),
    [
        ("inbox", b"from=%2B254711000001&text=Hi"),
        ("inbox", b"id=1&text=Hi"),
        ("inbox", b"id=1&from=somebody&text=Hi"),
        ("inbox", b"id=1&from=254711000001&text=" + b"x" * 2001),
        ("optout", b"senderId=X"),
        ("optout", b"senderId=X&phoneNumber=12"),
    ],
)
def test_what_is_not_whole_is_refused(purpose: str, body: bytes) -> None:
    with pytest.raises(MalformedWebhook):
        HOOK.verify(posted(purpose, body), None, by_token=True)
