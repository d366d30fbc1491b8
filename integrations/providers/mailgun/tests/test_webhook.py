from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from integrations.contracts.inbound import (
    Ack,
    BadSignature,
    FixedPath,
    Locator,
    MalformedWebhook,
    MessageReported,
    Trust,
    Verified,
)
from integrations.contracts.messaging import Engagement, MessageState, SuppressReason
from integrations.providers.mailgun.reading import tag_of
from integrations.providers.mailgun.tests.support import (
    DOMAIN,
    JANE,
    ORIGIN,
    SIGNING_KEY,
    TOM,
    event,
    fixture,
    request,
    signed,
    view,
)
from integrations.providers.mailgun.webhook import MailgunWebhook

VECTOR = json.loads(fixture("signatures.json"))[0]
STAMP = 1795249011
MESSAGE_ID = "20261121081500.1.9F2C@mg.tenant.example"
HOOK = MailgunWebhook(now=lambda: STAMP + 60.0)


def verified(body: bytes, hook: MailgunWebhook = HOOK, **config: Any) -> Verified:
    return hook.verify(request(body), view(**config), by_token=True)


def parsed(data: dict[str, Any]) -> tuple[MessageReported, ...]:
    found = HOOK.parse(request(signed(data)), ORIGIN)
    assert all(isinstance(each, MessageReported) for each in found)
    return tuple(each for each in found if isinstance(each, MessageReported))


def report(**changes: Any) -> MessageReported:
    (found,) = parsed(event(**changes))
    return found


def test_the_vector() -> None:
    assert VECTOR["key"] == SIGNING_KEY
    found = verified(fixture("failed_permanent.json"))
    assert found == Verified(Trust.SIGNED, VECTOR["token"], "failed")


@pytest.mark.parametrize("member", ["timestamp", "token", "signature"])
def test_each_byte_of_the_vector_counts(member: str) -> None:
    value = VECTOR[member]
    for place in range(len(value)):
        other = "0" if value[place] != "0" else "1"
        changed = value[:place] + other + value[place + 1 :]
        body = json.loads(fixture("failed_permanent.json"))
        body["signature"][member] = changed
        with pytest.raises(BadSignature):
            verified(json.dumps(body).encode())


@pytest.mark.parametrize("key", [SIGNING_KEY[:-1], SIGNING_KEY + "x", "another-key-of-some-length"])
def test_another_key_is_refused(key: str) -> None:
    with pytest.raises(BadSignature):
        verified(fixture("failed_permanent.json"), webhook_signing_key=key)


def test_without_a_key_or_a_config_everything_is_refused() -> None:
    body = signed(event(), key="")
    with pytest.raises(BadSignature):
        verified(body, webhook_signing_key="")
    with pytest.raises(BadSignature):
        HOOK.verify(request(body), None, by_token=True)


@pytest.mark.parametrize(
    "block",
    [
        {"signature": None},
        {"signature": ""},
        {"signature": 1},
        {"signature": "é" * 64},
        {"signature": ["a"]},
        {"signature": "\ud800"},
        {"token": "\ud800"},
        {"timestamp": None},
        {"token": None},
        {"token": {}},
    ],
)
def test_a_signature_of_another_shape_is_refused(block: dict[str, Any]) -> None:
    with pytest.raises(BadSignature):
        verified(signed(event(), **block))


@pytest.mark.parametrize("age", [-900, 0, 8 * 3600, 9 * 3600])
def test_retries_of_eight_hours_are_believed(age: int) -> None:
    hook = MailgunWebhook(now=lambda: float(STAMP + age))
    assert verified(signed(event()), hook).dedupe_key == "ab" * 25


@pytest.mark.parametrize("age", [-901, 9 * 3600 + 1, 30 * 24 * 3600])
def test_what_is_too_old_or_from_the_future_is_refused(age: int) -> None:
    hook = MailgunWebhook(now=lambda: float(STAMP + age))
    with pytest.raises(BadSignature):
        verified(signed(event()), hook)


@pytest.mark.parametrize(
    ("stamp", "token"),
    [("179524901", "1" + "ab" * 25), ("17952490111", "b" + "ab" * 24), ("0795249011", "ab" * 25), ("179524901x", "ab" * 25)],
)
def test_the_signed_text_can_be_split_in_one_place_only(stamp: str, token: str) -> None:
    with pytest.raises(BadSignature):
        verified(signed(event(), stamp=stamp, token=token))


def test_a_replayed_token_is_the_same_fact_whatever_stands_below_it() -> None:
    first = verified(signed(event(event="delivered")))
    again = verified(signed(event(event="failed")))
    other = verified(signed(event(event="delivered"), token="cd" * 25))
    assert first.dedupe_key == again.dedupe_key
    assert first.dedupe_key != other.dedupe_key


def test_a_subaccounts_event_signed_with_the_parents_key() -> None:
    body = json.loads(signed(event()))
    body["signature"] |= {"parent-signature": body["signature"]["signature"], "signature": "0" * 64}
    assert verified(json.dumps(body).encode()).trust is Trust.SIGNED
    body["signature"]["parent-signature"] = "1" * 64
    with pytest.raises(BadSignature):
        verified(json.dumps(body).encode())


def test_the_documented_event() -> None:
    assert parsed(json.loads(fixture("failed_permanent.json"))["event-data"]) == (
        MessageReported(
            provider="mailgun",
            tenant_id=7,
            config_id=3,
            trust=Trust.SIGNED,
            receipt_id=11,
            provider_event_type="failed",
            provider_ref=MESSAGE_ID,
            address=JANE,
            state=MessageState.BOUNCED,
            provider_status="failed:permanent:bounce",
            detail="550 5.1.1 <jane@example.net>: no such user here",
            suppress=SuppressReason.HARD_BOUNCE,
            engagement=None,
            ref="",
            channel="email",
            occurred_at=datetime(2026, 11, 21, 8, 16, 50, 204518, tzinfo=UTC),
        ),
    )


@pytest.mark.parametrize(
    ("changes", "state", "suppress", "engagement"),
    [
        ({"event": "accepted"}, "sent", None, None),
        ({"event": "delivered"}, "delivered", None, None),
        ({"event": "failed", "severity": "temporary"}, None, None, "deferred"),
        ({"event": "failed", "severity": "temporary", "reason": "suppress-bounce"}, None, None, "deferred"),
        ({"event": "failed", "reason": "suppress-bounce"}, "failed", "hard_bounce", None),
        ({"event": "failed", "reason": "suppress-complaint"}, "failed", "complaint", None),
        ({"event": "failed", "reason": "suppress-unsubscribe"}, "failed", "opt_out", None),
        ({"event": "failed", "reason": "generic"}, "failed", None, None),
        ({"event": "failed", "reason": "old"}, "failed", None, None),
        ({"event": "failed", "reason": "something-new"}, "failed", None, None),
        ({"event": "failed", "severity": "sideways"}, None, None, None),
        ({"event": "failed", "reason": "generic", "flags": {"is-delayed-bounce": True}}, "bounced", None, None),
        ({"event": "complained"}, "complained", "complaint", None),
        ({"event": "unsubscribed"}, None, "opt_out", "unsubscribed"),
        ({"event": "opened"}, None, None, "opened"),
        ({"event": "clicked"}, None, None, "clicked"),
        ({"event": "teleported"}, None, None, None),
    ],
)
def test_events(changes: dict[str, Any], state: str | None, suppress: str | None, engagement: str | None) -> None:
    found = report(**changes)
    assert found.state == (MessageState(state) if state else None)
    assert found.suppress == (SuppressReason(suppress) if suppress else None)
    assert found.engagement == (Engagement(engagement) if engagement else None)
    assert found.provider_status.startswith(changes["event"])


@pytest.mark.parametrize("kind", ["opened", "clicked"])
def test_what_machines_do_is_not_reported(kind: str) -> None:
    assert parsed(event(event=kind, **{"client-info": {"bot": "apple"}})) == ()
    assert len(parsed(event(event=kind, **{"client-info": {"bot": ""}}))) == 1


def test_a_rejected_message_has_its_recipients_in_the_header() -> None:
    data = event(event="rejected", severity=None, reason=None, recipient=None, reject={"reason": "spam", "description": "no"})
    data["message"]["headers"]["to"] = f"Jane <{JANE}>, {TOM}"
    data["delivery-status"] = None
    found = parsed(data)
    assert [(each.address, each.state, each.detail, each.provider_status) for each in found] == [
        (JANE, MessageState.FAILED, "no", "rejected:spam"),
        (TOM, MessageState.FAILED, "no", "rejected:spam"),
    ]


def test_our_note_comes_back() -> None:
    assert report(**{"user-variables": {"hub_ref": "mr_77"}}).ref == "mr_77"


@pytest.mark.parametrize("as_text", [True, False])
def test_with_several_recipients_each_has_his_own_note(as_text: bool) -> None:
    notes: Any = {tag_of(JANE, "mr_1"): "mr_1", tag_of(TOM, "mr_1"): "mr_2"}
    variables = {"hub_ref": "mr_1", "hub_refs": json.dumps(notes) if as_text else notes}
    refs = [report(recipient=address, **{"user-variables": variables}).ref for address in (JANE, TOM.upper(), "bcc@x.example")]
    assert refs == ["mr_1", "mr_2", ""]


@pytest.mark.parametrize("variables", [[], "x", {"hub_ref": None}, {"hub_ref": "a", "hub_refs": "no json"}, {"hub_ref": {}}])
def test_notes_of_another_shape_are_none(variables: Any) -> None:
    assert report(**{"user-variables": variables}).ref == ""


@pytest.mark.parametrize("stamp", [None, "soon", True, -1, 0, 1e300, [1]])
def test_a_time_that_is_none_is_left_out(stamp: Any) -> None:
    assert report(timestamp=stamp).occurred_at is None


def test_missing_parts_do_no_harm() -> None:
    data = event(**{"delivery-status": None, "flags": None, "user-variables": None, "client-info": None})
    data["delivery-status"] = None
    (found,) = parsed(data)
    assert (found.state, found.detail) == (MessageState.BOUNCED, "the receiving server sent it back")


def test_an_event_about_no_message_is_no_report() -> None:
    assert parsed({"event": "list_uploaded", "timestamp": 1.0}) == ()
    assert parsed(event(event="delivered", message={"headers": {}}, **{"user-variables": {}})) == ()


def test_the_tenant_is_found_by_message_or_domain() -> None:
    assert HOOK.locate(request(fixture("failed_permanent.json"))) == (Locator("message", MESSAGE_ID), Locator("domain", DOMAIN))
    assert HOOK.locate(request(signed(event(message=None, domain={"name": "MG.Tenant.Example"})))) == (
        Locator("domain", DOMAIN),
    )
    assert HOOK.locate(request(signed(event(message=None, domain=None)))) == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"timestamp=1&token=2&signature=3",
        b"[]",
        b"{}",
        b'{"signature": {}}',
        b'{"signature": {}, "event-data": {}}',
        b'{"signature": {}, "event-data": {"event": {}}}',
        b'{"signature": {}, "event-data": {"event": "' + b"x" * 61 + b'"}}',
        b"\xff\xfe",
    ],
)
def test_a_body_of_another_shape_is_malformed(body: bytes) -> None:
    for ask in (lambda: verified(body), lambda: HOOK.parse(request(body), ORIGIN), lambda: HOOK.locate(request(body))):
        with pytest.raises(MalformedWebhook):
            ask()


def test_nothing_is_sent_to_another_purpose() -> None:
    with pytest.raises(MalformedWebhook):
        HOOK.verify(replace(request(signed(event())), purpose="other"), view(), by_token=True)


def test_paths_and_ack() -> None:
    assert HOOK.fixed_paths == (FixedPath("/webhooks/mailgun", "events"),)
    assert HOOK.purposes == {"events"}
    assert set(HOOK.config_purposes) == {"events"}
    assert HOOK.ack(request(b"")) == Ack(status=200, body=b"{}")
