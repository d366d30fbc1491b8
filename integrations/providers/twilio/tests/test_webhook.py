"""What Twilio's webhooks say: the documented and captured forms, their signatures, and who they are about."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qsl, urlencode

import pytest

from integrations.contracts.inbound import (
    Ack,
    BadSignature,
    FixedPath,
    InboundRequest,
    Locator,
    MalformedWebhook,
    MessageReceived,
    MessageReported,
    Trust,
)
from integrations.contracts.messaging import MessageState, SuppressReason
from integrations.providers.twilio.provider import PROVIDER
from integrations.providers.twilio.signature import sign
from integrations.providers.twilio.tests.support import (
    ACCOUNT,
    FIXTURES,
    HOOK,
    NUMBER,
    ORIGIN,
    SID,
    TOKEN,
    fixture,
    inbound,
    view,
)
from integrations.providers.twilio.webhook import TwilioWebhook

HOOKS = TwilioWebhook()
DELIVERED = fixture("status__delivered.form")
FORMS = sorted(path.name for path in FIXTURES.glob("*.form"))
REPLY = "SM8824d91645395b17594d92659b878468"


def changed(body: bytes, **fields: str) -> bytes:
    return urlencode({**dict(parse_qsl(body.decode(), keep_blank_values=True)), **fields}).encode()


def reported(body: bytes, query: str = "") -> MessageReported:
    (event,) = HOOKS.parse(inbound(body, query=query), ORIGIN)
    assert isinstance(event, MessageReported)
    return event


def received(body: bytes) -> MessageReceived:
    (event,) = HOOKS.parse(inbound(body), ORIGIN)
    assert isinstance(event, MessageReceived)
    return event


# --- signatures


@pytest.mark.parametrize("name", FORMS)
def test_a_signed_form_is_verified(name: str) -> None:
    verified = HOOKS.verify(inbound(fixture(name), query="ref=ref_1"), view(), by_token=True)
    assert verified.trust is Trust.SIGNED


def test_the_documented_callback_with_its_computed_signature() -> None:
    """Token, address and signature as computed from the documented steps, independently of this code."""
    request = InboundRequest(
        "POST",
        "status",
        {"c": "9f"},
        {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": "eB7tNtfRUNTsWgkVqu3QZDy/Hmk="},
        DELIVERED,
        url="https://hub.example.org/hooks/twilio/t-42/status?c=9f",
    )
    config = view(auth_token="tw-auth-token-0001")
    assert HOOKS.verify(request, config, by_token=True).provider_event_type == "message.delivered"
    for at in range(len(DELIVERED)):
        body = DELIVERED[:at] + bytes([DELIVERED[at] ^ 1]) + DELIVERED[at + 1 :]
        with pytest.raises(BadSignature):
            HOOKS.verify(replace(request, body=body), config, by_token=True)
    with pytest.raises(BadSignature):
        HOOKS.verify(replace(request, url=request.url.replace("c=9f", "c=9e")), config, by_token=True)


SIGNED = inbound(DELIVERED)


@pytest.mark.parametrize(
    "request_",
    [
        replace(SIGNED, headers={"content-type": "application/x-www-form-urlencoded"}),
        replace(SIGNED, headers={**SIGNED.headers, "x-twilio-signature": ""}),
        replace(SIGNED, headers={**SIGNED.headers, "content-type": "text/plain"}),
        replace(SIGNED, headers={**SIGNED.headers, "content-type": "application/json"}),
        replace(SIGNED, body=DELIVERED + b"&ErrorCode=30005"),
        replace(SIGNED, body=b""),
        replace(SIGNED, url=SIGNED.url + "?ref=ref_2"),
        replace(SIGNED, url=""),
        replace(SIGNED, method="GET"),
        inbound(DELIVERED, token="another-token-0000"),
    ],
)
def test_what_is_not_signed_so_is_refused(request_: InboundRequest) -> None:
    for by_token in (True, False):
        with pytest.raises(BadSignature):
            HOOKS.verify(request_, view(), by_token=by_token)


def test_without_a_config_or_its_token_everything_is_refused() -> None:
    nobody = replace(view(), secrets={"auth_token": ""})
    for config in (None, nobody, replace(view(), secrets={})):
        with pytest.raises(BadSignature):
            HOOKS.verify(inbound(DELIVERED, token=""), config, by_token=True)


def test_an_api_keys_secret_signs_nothing() -> None:
    config = view(api_key_sid="SK" + "0" * 32, api_key_secret="key-secret-000000")
    with pytest.raises(BadSignature):
        HOOKS.verify(inbound(DELIVERED, token="key-secret-000000"), config, by_token=True)
    assert HOOKS.verify(inbound(DELIVERED), config, by_token=True).trust is Trust.SIGNED


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"MessageStatus=delivered",
        b"MessageSid=SM1&MessageStatus=delivered",
        f"MessageSid={SID}".encode(),
        f"MessageSid={SID}&MessageStatus=Delivered%20it".encode(),
    ],
)
def test_a_signed_form_without_the_documented_shape(body: bytes) -> None:
    with pytest.raises(MalformedWebhook):
        HOOKS.verify(inbound(body), view(), by_token=True)
    with pytest.raises(MalformedWebhook):
        HOOKS.parse(inbound(body), ORIGIN)


def test_the_key_is_of_the_fact() -> None:
    def key(body: bytes, query: str = "") -> str:
        return HOOKS.verify(inbound(body, query=query), view(), by_token=True).dedupe_key

    assert key(DELIVERED) == f"status:{SID}:delivered:"
    assert key(DELIVERED) == key(changed(DELIVERED, RawDlrDoneDate="2611210815"), "ref=ref_1")
    assert key(fixture("status__undelivered.form")) == f"status:{SID}:undelivered:30005"
    assert key(fixture("inbound__sms_stop.form")) == f"inbound:{REPLY}"


# --- reports


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("queued", MessageState.SENT),
        ("sending", MessageState.SENT),
        ("sent", MessageState.SENT),
        ("delivered", MessageState.DELIVERED),
        ("read", MessageState.READ),
        ("undelivered", MessageState.FAILED),
        ("failed", MessageState.FAILED),
        ("canceled", MessageState.CANCELLED),
        ("partially_delivered", None),
        ("pondering", None),
    ],
)
def test_the_status_vocabulary(status: str, state: MessageState | None) -> None:
    event = reported(changed(DELIVERED, MessageStatus=status, SmsStatus=status))
    assert (event.state, event.provider_status, event.provider_event_type) == (state, status, f"message.{status}")
    assert (event.provider_ref, event.address, event.channel) == (SID, NUMBER, "sms")
    assert (event.suppress, event.detail, event.engagement) == (None, "", None)


def test_a_failure_says_why_and_whether_to_write_again() -> None:
    event = reported(fixture("status__undelivered.form"))
    assert (event.state, event.detail) == (MessageState.FAILED, "the number does not exist or is not in use (30005)")
    assert event.suppress is SuppressReason.INVALID


@pytest.mark.parametrize(
    ("code", "suppress"),
    [
        ("21610", SuppressReason.OPT_OUT),
        ("30006", SuppressReason.INVALID),
        ("30003", None),
        ("30007", None),
        ("63016", None),
        ("77777", None),
        ("x", None),
    ],
)
def test_what_a_code_suppresses(code: str, suppress: SuppressReason | None) -> None:
    event = reported(changed(DELIVERED, MessageStatus="undelivered", ErrorCode=code))
    assert (event.state, event.suppress) == (MessageState.FAILED, suppress)


def test_a_code_suppresses_only_where_it_failed() -> None:
    assert reported(changed(DELIVERED, ErrorCode="30005")).suppress is None


@pytest.mark.parametrize(
    ("query", "ref"),
    [("ref=ref_1", "ref_1"), ("", ""), ("other=1", ""), ("ref=" + "x" * 65, ""), ("ref=A%20b", "")],
)
def test_our_own_note_comes_back_in_the_address(query: str, ref: str) -> None:
    assert reported(DELIVERED, query).ref == ref


def test_a_whatsapp_report() -> None:
    event = reported(changed(DELIVERED, To=f"whatsapp:{NUMBER}", From="whatsapp:+14155238886", ChannelPrefix="whatsapp"))
    assert (event.channel, event.address) == ("whatsapp", NUMBER)


def test_a_plus_that_was_not_encoded() -> None:
    assert reported(DELIVERED.replace(b"%2B254711000001", b"+254711000001")).address == NUMBER


def test_older_names_will_do() -> None:
    body = urlencode({"AccountSid": ACCOUNT, "SmsSid": SID, "SmsStatus": "sent", "To": NUMBER}).encode()
    assert (reported(body).provider_ref, reported(body).state) == (SID, MessageState.SENT)


# --- incoming messages


def test_a_captured_whatsapp_reply() -> None:
    assert received(fixture("inbound__whatsapp_button.form")) == MessageReceived(
        **ORIGIN.fields("twilio", "message.received"),
        channel="whatsapp",
        provider_ref=REPLY,
        address=NUMBER,
        to="+14155238886",
        text="Thank you 😊",
        name="Customer",
        media=(),
        opt_out=None,
        reply_to="MM" + "0" * 31 + "2",
    )


def test_a_picture() -> None:
    event = received(fixture("inbound__whatsapp_picture.form"))
    url = f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/Messages/MM{'0' * 31}3/Media/ME{'0' * 31}3"
    assert (event.text, event.media) == ("", (("image/jpeg", url),))


@pytest.mark.parametrize(
    ("kind", "opt_out"), [("STOP", True), ("stop", True), ("START", False), ("HELP", None), ("", None), ("NEW", None)]
)
def test_twilio_reads_stop_and_start_for_us(kind: str, opt_out: bool | None) -> None:
    event = received(changed(fixture("inbound__sms_stop.form"), OptOutType=kind))
    assert (event.opt_out, event.channel, event.text) == (opt_out, "sms", "Stop ")
    assert (event.address, event.to) == (NUMBER, "+15017122661")


def test_a_text_that_says_stop_is_no_opt_out_by_itself() -> None:
    body = urlencode(dict(pair for pair in parse_qsl(fixture("inbound__sms_stop.form").decode()) if pair[0] != "OptOutType"))
    assert received(body.encode()).opt_out is None


def test_a_shortcode_may_write() -> None:
    assert received(changed(fixture("inbound__sms_stop.form"), From="22395")).address == "22395"


@pytest.mark.parametrize("sender", ["messenger:1234567", "rcs:+254711000001", ""])
def test_channels_that_the_hub_has_not(sender: str) -> None:
    assert list(HOOKS.parse(inbound(changed(fixture("inbound__sms_stop.form"), From=sender)), ORIGIN)) == []


def test_nothing_unprintable_is_handed_on() -> None:
    assert received(changed(fixture("inbound__sms_stop.form"), Body="a\0b")).text == "ab"


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("purpose", ["status", "inbound", "dlr"])
def test_the_body_says_what_it_is_whatever_the_path(name: str, purpose: str) -> None:
    (event,) = HOOKS.parse(inbound(fixture(name), purpose=purpose), ORIGIN)
    assert isinstance(event, MessageReceived if name.startswith("inbound") else MessageReported)


# --- fixed paths


def test_fixed_paths_find_the_tenant_by_message_and_account() -> None:
    request = inbound(DELIVERED, purpose="dlr")
    assert list(HOOKS.locate(request)) == [Locator("message", SID), Locator("account_sid", ACCOUNT)]
    assert {locator.kind for locator in HOOKS.locate(request)} >= set(PROVIDER.routing_fields)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"id=ATXid_1&status=Success&phoneNumber=%2B254711000001",
        f"MessageSid={SID}".encode(),
        f"AccountSid={ACCOUNT}&MessageSid=1".encode(),
        b'{"a": 1}',
    ],
)
def test_a_body_that_is_anothers_is_left_to_him(body: bytes) -> None:
    assert list(HOOKS.locate(inbound(body, purpose="dlr"))) == []


def test_the_path_for_all_sms_providers_is_declared_as_the_others_do() -> None:
    """Django takes the first route of a path: another purpose or method would make a second, which is never reached."""
    assert FixedPath("/webhooks/sms/delivery", "dlr", ("POST",)) in HOOKS.fixed_paths
    assert FixedPath("/webhooks/twilio", "status", ("POST",)) in HOOKS.fixed_paths


def test_the_ack_is_empty_twiml() -> None:
    assert HOOKS.ack(inbound(DELIVERED)) == Ack(200, b"<Response/>", "text/xml")


def test_the_purposes() -> None:
    assert HOOKS.purposes == {"dlr", "inbound", "status"}
    assert set(HOOKS.config_purposes) <= HOOKS.purposes
    assert sign(TOKEN, f"{HOOK}/status", parse_qsl(DELIVERED.decode())) == SIGNED.headers["x-twilio-signature"]
