from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from integrations.contracts.inbound import BadSignature, InboundRequest, MalformedWebhook, MessageReported, Trust
from integrations.contracts.messaging import Engagement, MessageState, SuppressReason
from integrations.providers.sendgrid.notes import args_for
from integrations.providers.sendgrid.tests.conftest import JANE, JOHN, ORIGIN, fixture, view
from integrations.providers.sendgrid.webhook import SendGridWebhook, signature_fits

VECTOR = json.loads(fixture("signature__vector.json"))
BODY = fixture("signature__vector.body")
SIGNED_AT = int(VECTOR["timestamp"])
PRIVATE = ec.generate_private_key(ec.SECP256R1())


def spelt(public: Any) -> str:
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    return base64.b64encode(public.public_bytes(serialization.Encoding.DER, info)).decode()


OTHER_KEY = spelt(PRIVATE.public_key())


def request(body: bytes = BODY, headers: Mapping[str, str] | None = None, **changed: str) -> InboundRequest:
    """The official vector's request, or one with other headers."""
    given = {
        "x-twilio-email-event-webhook-signature": changed.get("signature", VECTOR["signature"]),
        "x-twilio-email-event-webhook-timestamp": changed.get("timestamp", VECTOR["timestamp"]),
    }
    return InboundRequest("POST", changed.get("purpose", "events"), {}, given if headers is None else headers, body)


def own(*entries: Any, at: int = SIGNED_AT) -> InboundRequest:
    """A batch that is signed with `PRIVATE`."""
    body = json.dumps(list(entries)).encode() + b"\r\n"
    signature = base64.b64encode(PRIVATE.sign(str(at).encode() + body, ec.ECDSA(hashes.SHA256()))).decode()
    return request(body, signature=signature, timestamp=str(at))


def hook(now: float = SIGNED_AT) -> SendGridWebhook:
    return SendGridWebhook(now=lambda: now)


def verify(received: InboundRequest, key: str = VECTOR["public_key"], now: float = SIGNED_AT) -> Any:
    return hook(now).verify(received, view(webhook_public_key=key), by_token=True)


def event(**changes: Any) -> dict[str, Any]:
    return {
        "email": "jane@example.net", "timestamp": 1795249010, "event": "delivered", "sg_event_id": "e1",
        "sg_message_id": "Qk7.recvd-7d9-1-6740-3F.0", "hub_ref": "m7_1", **changes,
    }  # fmt: skip


def parse(*entries: Any) -> list[MessageReported]:
    found = hook().parse(own(*entries), ORIGIN)
    assert all(isinstance(each, MessageReported) for each in found)
    return [each for each in found if isinstance(each, MessageReported)]


# --- the signature


def test_the_official_vector_holds() -> None:
    assert len(BODY) == 327
    verified = verify(request())
    assert (verified.trust, verified.provider_event_type) == (Trust.SIGNED, "dropped")


def test_header_names_know_no_case() -> None:
    headers = {
        "X-Twilio-Email-Event-Webhook-Signature": VECTOR["signature"],
        "X-TWILIO-EMAIL-EVENT-WEBHOOK-TIMESTAMP": VECTOR["timestamp"],
    }
    assert verify(request(headers=headers)).trust is Trust.SIGNED


@pytest.mark.parametrize("place", range(0, 327, 6))
def test_a_byte_of_the_body_makes_the_difference(place: int) -> None:
    changed = BODY[:place] + bytes([BODY[place] ^ 1]) + BODY[place + 1 :]
    with pytest.raises(BadSignature):
        verify(request(changed))


@pytest.mark.parametrize("place", range(70))
def test_a_byte_of_the_signature_makes_the_difference(place: int) -> None:
    raw = bytearray(base64.b64decode(VECTOR["signature"]))
    raw[place] ^= 1
    with pytest.raises(BadSignature):
        verify(request(signature=base64.b64encode(bytes(raw)).decode()))


@pytest.mark.parametrize("place", range(10))
def test_a_digit_of_the_time_makes_the_difference(place: int) -> None:
    digits = list(VECTOR["timestamp"])
    digits[place] = str((int(digits[place]) + 1) % 10)
    with pytest.raises(BadSignature):
        verify(request(timestamp="".join(digits)))


@pytest.mark.parametrize(
    "body", [BODY.rstrip(), BODY.rstrip() + b"\n", BODY + b" ", json.dumps(json.loads(BODY)).encode(), b""]
)
def test_the_raw_body_is_signed_with_its_line_break(body: bytes) -> None:
    with pytest.raises(BadSignature):
        verify(request(body))


def test_the_signature_does_not_fit_another_key() -> None:
    with pytest.raises(BadSignature):
        verify(request(), key=OTHER_KEY)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-twilio-email-event-webhook-signature": VECTOR["signature"]},
        {"x-twilio-email-event-webhook-timestamp": VECTOR["timestamp"]},
        {"x-twilio-email-event-webhook-signature": "", "x-twilio-email-event-webhook-timestamp": VECTOR["timestamp"]},
        {"x-twilio-email-event-webhook-signature": "é", "x-twilio-email-event-webhook-timestamp": VECTOR["timestamp"]},
        {"x-twilio-email-event-webhook-signature": VECTOR["signature"], "x-twilio-email-event-webhook-timestamp": "١٦"},
    ],
)
def test_missing_and_strange_headers(headers: dict[str, str]) -> None:
    with pytest.raises(BadSignature):
        verify(request(headers=headers))


def test_without_a_key_everything_is_refused() -> None:
    for config in (None, view()):
        for by_token in (True, False):
            with pytest.raises(BadSignature):
                hook().verify(request(), config, by_token=by_token)


def test_keys_of_other_kinds_fit_nothing() -> None:
    rsa_key = spelt(rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key())
    for key in ("", "x", "AAAA", rsa_key, VECTOR["public_key"][:-8] + "AAAAAA=="):
        assert signature_fits(key, VECTOR["signature"], VECTOR["timestamp"], BODY) is False
    assert signature_fits(VECTOR["public_key"], VECTOR["signature"], VECTOR["timestamp"], BODY) is True


def test_retries_of_a_day_are_taken_and_old_records_are_not() -> None:
    assert verify(request(), now=SIGNED_AT + 26 * 3600).trust is Trust.SIGNED
    for away in (49 * 3600, -49 * 3600):
        with pytest.raises(BadSignature):
            verify(request(), now=SIGNED_AT + away)


def test_a_signed_body_that_is_no_batch_is_malformed() -> None:
    body = b'{"event":"delivered"}'
    signature = base64.b64encode(PRIVATE.sign(VECTOR["timestamp"].encode() + body, ec.ECDSA(hashes.SHA256()))).decode()
    with pytest.raises(MalformedWebhook):
        verify(request(body, signature=signature), key=OTHER_KEY)


# --- the same fact twice


def test_a_batch_signed_anew_is_the_same_facts() -> None:
    first, second = event(), event(sg_event_id="e2", event="open")
    keys = {
        verify(own(first, second), OTHER_KEY).dedupe_key,
        verify(own(second, first, at=SIGNED_AT + 60), OTHER_KEY).dedupe_key,
        verify(own(first, first, second), OTHER_KEY).dedupe_key,
    }
    assert len(keys) == 1
    assert verify(own(first), OTHER_KEY).dedupe_key not in keys


def test_events_without_an_id_are_told_apart_by_what_they_say() -> None:
    bare = {name: value for name, value in event().items() if name != "sg_event_id"}
    keys = {
        verify(own({**bare, **changes}), OTHER_KEY).dedupe_key
        for changes in ({}, {"event": "open"}, {"timestamp": 1795249011}, {"email": "x@example.net"}, {"sg_message_id": "z"})
    }
    assert len(keys) == 5
    assert len(parse(bare, dict(bare), {**bare, "event": "open"})) == 2


def test_an_event_that_stands_twice_is_reported_once() -> None:
    assert len(parse(event(), event())) == 1


# --- what is said


def test_the_documented_batch() -> None:
    found = hook().parse(InboundRequest("POST", "events", {}, {}, fixture("events__lifecycle.json")), ORIGIN)
    processed, deferred, bounced = found
    assert bounced == MessageReported(
        provider="sendgrid",
        tenant_id=3,
        config_id=7,
        trust=Trust.SIGNED,
        receipt_id=5,
        provider_event_type="bounce",
        provider_ref="Qk7vXb2LTrWn0cYpJ4sD1g",
        address="jane@example.net",
        state=MessageState.BOUNCED,
        provider_status="bounce",
        detail="550 5.1.1 unknown user",
        suppress=SuppressReason.HARD_BOUNCE,
        ref="m7",
        occurred_at=datetime(2026, 11, 21, 8, 16, 50, tzinfo=UTC),
    )
    assert isinstance(processed, MessageReported)
    assert isinstance(deferred, MessageReported)
    assert (processed.state, processed.engagement) == (MessageState.SENT, None)
    assert (deferred.state, deferred.engagement, deferred.detail) == (None, Engagement.DEFERRED, "451 4.7.1 try again later")


@pytest.mark.parametrize(
    ("changes", "status", "state", "engagement", "suppress"),
    [
        ({"event": "processed"}, "processed", "sent", None, None),
        ({"event": "delivered", "response": "250 OK"}, "delivered", "delivered", None, None),
        ({"event": "bounce", "type": "bounce"}, "bounce", "bounced", None, "hard_bounce"),
        ({"event": "bounce"}, "bounce", "bounced", None, "hard_bounce"),
        ({"event": "bounce", "type": "blocked"}, "blocked", "failed", None, None),
        ({"event": "dropped", "reason": "Bounced Address"}, "dropped", "failed", None, "hard_bounce"),
        ({"event": "dropped", "reason": "Unsubscribed Address"}, "dropped", "failed", None, "opt_out"),
        ({"event": "dropped", "reason": "Spam Reporting Address"}, "dropped", "failed", None, "complaint"),
        ({"event": "dropped", "reason": "Invalid"}, "dropped", "failed", None, "invalid"),
        ({"event": "dropped", "reason": "Spam Content"}, "dropped", "failed", None, None),
        ({"event": "dropped", "reason": "Invalid SMTPAPI header"}, "dropped", "failed", None, None),
        ({"event": "dropped", "reason": "Recipient List over Package Quota"}, "dropped", "failed", None, None),
        ({"event": "dropped"}, "dropped", "failed", None, None),
        ({"event": "open", "sg_machine_open": False}, "open", None, "opened", None),
        ({"event": "open"}, "open", None, "opened", None),
        ({"event": "click", "url": "https://x.example/"}, "click", None, "clicked", None),
        ({"event": "spamreport"}, "spamreport", "complained", None, "complaint"),
        ({"event": "unsubscribe"}, "unsubscribe", None, "unsubscribed", "opt_out"),
        ({"event": "group_unsubscribe"}, "group_unsubscribe", None, "unsubscribed", None),
        ({"event": "group_resubscribe"}, "group_resubscribe", None, "resubscribed", None),
        ({"event": "something_new"}, "something_new", None, None, None),
    ],
)
def test_what_each_event_means(
    changes: dict[str, Any], status: str, state: str | None, engagement: str | None, suppress: str | None
) -> None:
    (found,) = parse(event(**changes))
    assert (found.provider_status, found.state, found.engagement, found.suppress) == (status, state, engagement, suppress)


def test_openings_by_machines_are_not_reported() -> None:
    assert parse(event(event="open", sg_machine_open=True)) == []


def test_recipients_of_one_envelope_find_their_own_ref() -> None:
    args = args_for([JANE, JOHN])
    mixed = {name: value for name, value in event().items() if name != "hub_ref"} | args
    found = parse(
        mixed, {**mixed, "email": "John@Example.net", "sg_event_id": "e2"}, {**mixed, "email": "a@b", "sg_event_id": "e3"}
    )
    assert [(each.address, each.ref) for each in found] == [
        ("jane@example.net", "m7_1"),
        ("John@Example.net", "m7_2"),
        ("a@b", ""),
    ]


@pytest.mark.parametrize(
    ("whole", "ref"),
    [
        ("LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0", "LRzXl_NHStOGhQ4kofSm_A"),
        ("14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0", "14c5d75ce93.dfd.64b469"),
        ("Qk7vXb2LTrWn0cYpJ4sD1g.newname-1", "Qk7vXb2LTrWn0cYpJ4sD1g"),
        ("Qk7vXb2LTrWn0cYpJ4sD1g", "Qk7vXb2LTrWn0cYpJ4sD1g"),
        (None, ""),
    ],
)
def test_the_id_that_the_send_was_answered_with(whole: str | None, ref: str) -> None:
    (found,) = parse(event(sg_message_id=whole))
    assert found.provider_ref == ref


@pytest.mark.parametrize(
    "bad",
    [
        7,
        None,
        "x",
        [],
        {},
        event(email=None),
        event(email="x"),
        event(email=7),
        event(event=None),
        event(email="a@" + "b" * 400),
    ],
)
def test_a_bad_entry_loses_no_other(bad: Any) -> None:
    assert [each.address for each in parse(bad, event(sg_event_id="good"))] == ["jane@example.net"]


@pytest.mark.parametrize("at", [None, True, "1795249010", -5, 10**15, 1.5])
def test_a_strange_time_is_left_out(at: Any) -> None:
    assert parse(event(timestamp=at))[0].occurred_at is None


def test_texts_are_fit_for_a_database() -> None:
    (found,) = parse(event(event="bounce", reason="a\0b\ud800\n" + "c" * 5000, email="jane@example.net\0"))
    assert found.detail == "ab? " + "c" * 296
    assert found.address == "jane@example.net"


def test_locating_by_message_ids() -> None:
    entries = [event(sg_message_id=f"id{number // 2}.recvd-1") for number in range(60)]
    found = hook().locate(own(7, event(sg_message_id=""), *entries))
    assert [(each.kind, each.external_id) for each in found] == [("message", f"id{number}") for number in range(20)]


@pytest.mark.parametrize("body", [b"{}", b"", b"null", b'"x"', b"\xff"])
def test_bodies_that_are_no_batch(body: bytes) -> None:
    with pytest.raises(MalformedWebhook):
        hook().locate(request(body))
    with pytest.raises(MalformedWebhook):
        hook().parse(request(body), ORIGIN)


def test_other_purposes_are_refused() -> None:
    with pytest.raises(MalformedWebhook):
        hook().parse(request(purpose="other"), ORIGIN)
