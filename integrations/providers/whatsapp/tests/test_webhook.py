from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

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
from integrations.providers.whatsapp.tests.support import (
    APP_SECRET,
    NUMBER_ID,
    ORIGIN,
    VERIFY_TOKEN,
    WABA_ID,
    WAMID,
    fixture,
    signed,
    view,
)
from integrations.providers.whatsapp.webhook import WhatsAppWebhook

HOOK = WhatsAppWebhook()
VECTORS = json.loads(fixture("signatures.json"))
STATUS = {"id": WAMID, "status": "delivered", "timestamp": "1795249007", "recipient_id": "254711000001"}
WRITTEN = {"from": "254711000001", "id": "wamid.in", "timestamp": "1795249100", "type": "text", "text": {"body": "Hi"}}


def change(number: str = NUMBER_ID, **lists: Any) -> dict[str, Any]:
    metadata = {"display_phone_number": "254700000042", "phone_number_id": number}
    return {"field": "messages", "value": {"messaging_product": "whatsapp", "metadata": metadata, **lists}}


def body(*changes: Any, **top: Any) -> bytes:
    entry = {"id": WABA_ID, "changes": list(changes)}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry], **top}).encode()


def reported(**changes: Any) -> MessageReported:
    (event,) = HOOK.parse(signed(body(change(statuses=[{**STATUS, **changes}]))), ORIGIN)
    assert isinstance(event, MessageReported)
    return event


def written(**changes: Any) -> MessageReceived:
    (event,) = HOOK.parse(signed(body(change(messages=[{**WRITTEN, **changes}]))), ORIGIN)
    assert isinstance(event, MessageReceived)
    return event


def question(**changes: str) -> InboundRequest:
    query = {"hub.mode": "subscribe", "hub.verify_token": VERIFY_TOKEN, "hub.challenge": "784512309"}
    query |= {f"hub.{name}": value for name, value in changes.items()}
    return InboundRequest("GET", "events", query, {}, b"")


# --- the signature


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=("events", "escapes"))
def test_the_vectors_hold_and_each_altered_byte_breaks_them(vector: dict[str, str]) -> None:
    content, header = vector["body"].encode(), f"sha256={vector['signature']}"
    assert hmac.new(VECTORS["secret"].encode(), content, hashlib.sha256).hexdigest() == vector["signature"]

    def refused(sent: bytes, given: str, secret: str = APP_SECRET) -> bool:
        request = InboundRequest("POST", "events", {}, {"X-Hub-Signature-256": given}, sent)
        try:
            HOOK.verify(request, view(app_secret=secret), by_token=True)
        except BadSignature:
            return True
        except MalformedWebhook:  # the signature held: the second vector's body is no webhook
            return False
        return False

    assert not refused(content, header)
    for index in range(len(content)):
        assert refused(content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :], header), index
    for index in range(len(header)):
        assert refused(content, header[:index] + chr(ord(header[index]) ^ 1) + header[index + 1 :]), index
    assert refused(content, header, APP_SECRET + "x")
    assert refused(content, header.removeprefix("sha256="))
    assert refused(content, "")
    assert refused(content, "sha256=")
    assert refused(content, header.upper())


def test_a_body_that_was_parsed_and_written_again_has_another_signature() -> None:
    escaped = VECTORS["vectors"][1]
    again = json.dumps(json.loads(escaped["body"]), separators=(",", ":"), ensure_ascii=False).encode()
    headers = {"x-hub-signature-256": f"sha256={escaped['signature']}"}
    with pytest.raises(BadSignature):
        HOOK.verify(InboundRequest("POST", "events", {}, headers, again), view(), by_token=True)


def test_without_a_secret_everything_is_refused() -> None:
    empty = hmac.new(b"", body(), hashlib.sha256).hexdigest()
    request = InboundRequest("POST", "events", {}, {"x-hub-signature-256": f"sha256={empty}"}, body())
    with pytest.raises(BadSignature):
        HOOK.verify(request, None, by_token=True)
    config = view()
    bare = type(config)(
        id=1, tenant_id=1, provider="whatsapp", environment=config.environment, base_url="", values=config.values,
        secrets={"app_secret": None},
    )  # fmt: skip
    with pytest.raises(BadSignature):
        HOOK.verify(request, bare, by_token=True)


def test_a_true_body_is_signed() -> None:
    verified = HOOK.verify(signed(fixture("webhook__statuses.json")), view(), by_token=False)
    assert (verified.trust, verified.provider_event_type) == (Trust.SIGNED, "messages.status")


@pytest.mark.parametrize(
    "changes",
    [
        [change("400000000000099", statuses=[STATUS])],
        [change("400000000000099", messages=[WRITTEN])],
        [change(statuses=[STATUS]), change("400000000000099", messages=[WRITTEN])],
        [change("", messages=[WRITTEN])],
    ],
)
def test_what_is_written_to_another_number_is_refused(changes: list[Any]) -> None:
    with pytest.raises(BadSignature):
        HOOK.verify(signed(body(*changes)), view(), by_token=True)


def test_statuses_of_another_number_beside_ours_are_taken() -> None:
    request = signed(body(change(statuses=[STATUS]), change("400000000000099", statuses=[{**STATUS, "id": "wamid.2"}])))
    assert HOOK.verify(request, view(), by_token=True).trust is Trust.SIGNED


def test_the_same_facts_have_the_same_key_and_others_have_not() -> None:
    def key(*changes: Any) -> str:
        return HOOK.verify(signed(body(*changes)), view(), by_token=True).dedupe_key

    first = key(change(statuses=[STATUS]))
    assert key(change(statuses=[{**STATUS, "timestamp": "1795249999", "pricing": {}}])) == first
    assert key(change(statuses=[STATUS, STATUS])) == first
    others = [
        key(change(statuses=[{**STATUS, "status": "read"}])),
        key(change(statuses=[{**STATUS, "id": "wamid.2"}])),
        key(change(statuses=[{**STATUS, "recipient_id": "254711000002"}])),
        key(change(statuses=[STATUS, {**STATUS, "status": "read"}])),
        key(change(messages=[{**WRITTEN, "id": WAMID}])),
        key({"field": "account_update", "value": {"event": "A"}}),
        key({"field": "account_update", "value": {"event": "B"}}),
    ]
    assert len({first, *others}) == 8


# --- whose is it, and is the URL ours


def test_the_tenant_is_found_by_number_message_and_account() -> None:
    assert HOOK.locate(signed(fixture("webhook__statuses.json"))) == (
        Locator("phone_number_id", NUMBER_ID),
        Locator("message", WAMID),
        Locator("message", "wamid.HBgMMjU0NzExMDAwMDAyFQIA"),
        Locator("waba_id", WABA_ID),
    )
    assert HOOK.locate(signed(fixture("webhook__template_status.json"))) == (Locator("waba_id", WABA_ID),)


def test_the_challenge_is_given_back_as_plain_text() -> None:
    assert HOOK.challenge(question(), view()) == Ack(200, b"784512309", "text/plain")
    assert HOOK.challenge(signed(body()), view()) is None


def test_on_the_shared_path_the_verify_token_names_the_number() -> None:
    asked = question(verify_token=f"{NUMBER_ID}.{VERIFY_TOKEN}")
    assert HOOK.locate(asked) == (Locator("phone_number_id", NUMBER_ID),)
    assert HOOK.challenge(asked, view()) == Ack(200, b"784512309", "text/plain")
    assert HOOK.locate(question()) == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"verify_token": ""},
        {"verify_token": VERIFY_TOKEN + "x"},
        {"verify_token": f"400000000000043.{VERIFY_TOKEN}"},
        {"mode": "unsubscribe"},
        {"mode": ""},
    ],
)
def test_a_wrong_question_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(BadSignature):
        HOOK.challenge(question(**changes), view())


def test_nobody_knows_the_verify_token_of_no_config() -> None:
    with pytest.raises(BadSignature):
        HOOK.challenge(question(), None)


@pytest.mark.parametrize("challenge", ["", "<script>", "x" * 201])
def test_a_strange_challenge_is_not_echoed(challenge: str) -> None:
    with pytest.raises(MalformedWebhook):
        HOOK.challenge(question(challenge=challenge), view())


# --- statuses


def test_the_documented_statuses_of_one_body() -> None:
    delivered, failed = HOOK.parse(signed(fixture("webhook__statuses.json")), ORIGIN)
    common = ORIGIN.fields("whatsapp", "messages.status")
    assert delivered == MessageReported(
        **common,
        provider_ref=WAMID,
        address="+254711000001",
        state=MessageState.DELIVERED,
        provider_status="delivered",
        ref="m7_c42",
        channel="whatsapp",
        occurred_at=datetime(2026, 11, 21, 8, 16, 47, tzinfo=UTC),
    )
    assert isinstance(failed, MessageReported)
    assert (failed.state, failed.ref, failed.address) == (MessageState.FAILED, "m8_c42", "+254711000002")
    assert failed.detail == "undeliverable: no WhatsApp on this number, an old app, or the sender is blocked (131026)"


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("sent", MessageState.SENT),
        ("delivered", MessageState.DELIVERED),
        ("read", MessageState.READ),
        ("played", MessageState.READ),
        ("failed", MessageState.FAILED),
        ("deleted", None),
        ("teleported", None),
    ],
)
def test_states(status: str, state: MessageState | None) -> None:
    event = reported(status=status)
    assert (event.state, event.provider_status, event.engagement) == (state, status, None)


@pytest.mark.parametrize(
    ("errors", "detail", "suppress"),
    [
        ([{"code": 131050}], "the recipient has stopped marketing messages (131050)", SuppressReason.OPT_OUT),
        ([{"code": 999, "title": "T", "error_data": {"details": "D\nE"}}], "D E (999)", None),
        ([{"code": "999", "title": "T"}], "T (999)", None),
        ([{"title": "T"}], "", None),
        ([], "", None),
        ("x", "", None),
        (None, "", None),
    ],
)
def test_why_it_failed(errors: Any, detail: str, suppress: SuppressReason | None) -> None:
    event = reported(status="failed", errors=errors)
    assert (event.state, event.detail, event.suppress) == (MessageState.FAILED, detail, suppress)


def test_errors_beside_another_status_suppress_nobody() -> None:
    assert reported(status="delivered", errors=[{"code": 131050}]).suppress is None


@pytest.mark.parametrize(
    ("timestamp", "moment"),
    [
        ("1795249007", datetime(2026, 11, 21, 8, 16, 47, tzinfo=UTC)),
        (1795249007, datetime(2026, 11, 21, 8, 16, 47, tzinfo=UTC)),
        ("1795249007000", datetime(2026, 11, 21, 8, 16, 47, tzinfo=UTC)),
        ("99999999999999", datetime(5138, 11, 16, 9, 46, 39, 999000, tzinfo=UTC)),
        ("999999999999999", None),
        ("soon", None),
        (None, None),
    ],
)
def test_moments(timestamp: Any, moment: datetime | None) -> None:
    assert reported(timestamp=timestamp).occurred_at == moment


@pytest.mark.parametrize("note", ["M7", "a b", "x" * 65, "", None, 5.5, ["m7"]])
def test_a_note_that_is_none_of_ours(note: Any) -> None:
    assert reported(biz_opaque_callback_data=note).ref == ""


@pytest.mark.parametrize(("recipient", "address"), [("254711000001", "+254711000001"), (None, ""), ("KE.123", "")])
def test_recipients_may_hide_their_number(recipient: str | None, address: str) -> None:
    assert reported(recipient_id=recipient).address == address


@pytest.mark.parametrize("bad", [None, 5, "x", [], {}, {"id": "wamid.1"}, {"id": ["x"], "status": "sent"}, {"status": "sent"}])
def test_a_bad_entry_loses_no_other(bad: Any) -> None:
    request = signed(body(None, {"field": "messages"}, change(statuses=[bad, STATUS], messages=[bad, WRITTEN])))
    HOOK.verify(request, view(), by_token=True)
    assert [type(event) for event in HOOK.parse(request, ORIGIN)] == [MessageReported, MessageReceived]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"object":"page","entry":[]}',
        b'{"object":"whatsapp_business_account"}',
        b'{"object":"whatsapp_business_account","entry":{}}',
    ],
)
def test_a_body_of_another_shape_is_malformed(content: bytes) -> None:
    for call in (
        lambda: HOOK.locate(signed(content)),
        lambda: HOOK.verify(signed(content), view(), by_token=True),
        lambda: HOOK.parse(signed(content), ORIGIN),
    ):
        with pytest.raises(MalformedWebhook):
            call()


def test_a_templates_new_status_is_taken_and_says_nothing() -> None:
    request = signed(fixture("webhook__template_status.json"))
    verified = HOOK.verify(request, view(), by_token=False)
    assert verified.provider_event_type == "message_template_status_update"
    assert HOOK.parse(request, ORIGIN) == ()
    assert HOOK.ack(request) == Ack(status=200, body=b"", content_type="text/plain")


# --- what customers write


def test_the_documented_text_in_reply() -> None:
    assert HOOK.parse(signed(fixture("webhook__text.json")), ORIGIN) == (
        MessageReceived(
            **ORIGIN.fields("whatsapp", "messages.message"),
            channel="whatsapp",
            provider_ref="wamid.HBgMMjU0NzExMDAwMDAxFQIAEhgA",
            address="+254711000001",
            to="+254700000042",
            text="Asante sana",
            name="Jane Njeri",
            reply_to=WAMID,
            occurred_at=datetime(2026, 11, 21, 8, 18, 20, tzinfo=UTC),
        ),
    )


def test_kinds_of_messages() -> None:
    found = HOOK.parse(signed(fixture("webhook__kinds.json")), ORIGIN)
    assert all(isinstance(event, MessageReceived) and event.opt_out is None for event in found)
    assert [(e.provider_ref, e.text, e.media, e.reply_to) for e in found if isinstance(e, MessageReceived)] == [
        ("wamid.image", "The receipt", (("image/jpeg", "1003383421387256"),), ""),
        ("wamid.voice", "", (("audio/ogg", "1003383421387257"),), ""),
        ("wamid.document", "", (("application/pdf", "1003383421387258"),), ""),
        ("wamid.button", "Stop promotions", (), "wamid.sent"),
        ("wamid.list", "Form 3", (), ""),
        ("wamid.reaction", "\U0001f44d", (), "wamid.sent"),
        ("wamid.location", "-1.2921,36.8219 Nairobi", (), ""),
        ("wamid.contacts", "Baba Jane +254711000009", (), ""),
        ("wamid.unsupported", "", (), ""),
    ]


def test_what_meta_itself_says_is_no_message() -> None:
    system = {**WRITTEN, "type": "system", "system": {"type": "user_changed_number", "body": "User A changed"}}
    assert HOOK.parse(signed(body(change(messages=[system]))), ORIGIN) == ()


def test_what_no_database_stores_is_taken_out() -> None:
    assert written(text={"body": "a\0b\ud800c"}).text == "ab?c"


def test_a_customer_without_a_number() -> None:
    assert written(**{"from": None, "from_user_id": "KE.13491208655302741918"}).address == "KE.13491208655302741918"


@pytest.mark.parametrize("part", [None, "x", [], {"body": None}, {"body": "x" * 65_537}])
def test_a_text_that_cant_be_read_is_still_a_message(part: Any) -> None:
    assert written(text=part).text == ""


def test_paths() -> None:
    assert HOOK.fixed_paths == (FixedPath("/webhooks/whatsapp", "events", ("GET", "POST")),)
    assert HOOK.purposes == {"events"} == set(HOOK.config_purposes)
