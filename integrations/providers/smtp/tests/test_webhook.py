"""Bounces and complaints as they were captured or documented; and what nobody may make us believe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from integrations.contracts.inbound import (
    BadSignature,
    InboundRequest,
    MalformedWebhook,
    MessageReported,
    Origin,
    Trust,
)
from integrations.contracts.messaging import Engagement, MessageState, SuppressReason
from integrations.providers.smtp import verp
from integrations.providers.smtp.tests.conftest import BOUNCE_SECRET, fixture, view
from integrations.providers.smtp.webhook import SmtpWebhook

DOMAIN = "bounce.school.example"
REF = "rcp_01jd8kq3v5"
HOOK = SmtpWebhook()
ORIGIN = Origin(tenant_id=3, config_id=5, trust=Trust.SIGNED, receipt_id=7)


def config(**changes: Any) -> Any:
    return view(**{"bounce_domain": DOMAIN, "bounce_secret": BOUNCE_SECRET, **changes})


def back(ref: str = REF, secret: str = BOUNCE_SECRET, domain: str = DOMAIN) -> str:
    return verp.address(ref, domain=domain, secret=secret)


def filled(name: str, address: str = "") -> bytes:
    return fixture(name).replace(b"{return_address}", (address or back()).encode())


def asked(body: bytes) -> InboundRequest:
    return InboundRequest("POST", "bounce", {}, {"content-type": "message/rfc822"}, body)


def parsed(body: bytes) -> list[MessageReported]:
    HOOK.verify(asked(body), config(), by_token=True)
    found = HOOK.parse(asked(body), ORIGIN)
    assert all(isinstance(each, MessageReported) for each in found)
    return [each for each in found if isinstance(each, MessageReported)]


def test_a_bounce_of_postfix() -> None:
    (event,) = parsed(filled("dsn__postfix.eml"))
    assert event == MessageReported(
        provider="smtp", tenant_id=3, config_id=5, trust=Trust.SIGNED, receipt_id=7, provider_event_type="delivery_report",
        provider_ref="fee-42@school.example", address="jane@example.net",
        state=MessageState.BOUNCED, provider_status="failed 5.1.1",
        detail="550 5.1.1 no mailbox jane@example.net", suppress=SuppressReason.HARD_BOUNCE, ref=REF,
        channel="email", occurred_at=datetime(2026, 11, 21, 11, 16, 50, tzinfo=timezone(timedelta(hours=3))),
    )  # fmt: skip


def test_a_bounce_of_gmail() -> None:
    (event,) = parsed(filled("dsn__gmail.eml"))
    assert (event.state, event.provider_status, event.suppress) == (MessageState.BOUNCED, "failed 4.0.0", None)
    assert (event.address, event.ref) == ("jane@nowhere.example", REF)
    assert event.detail.startswith("no mail exchanger is named for nowhere.example and it wants none")
    assert event.occurred_at == datetime(2026, 11, 21, 8, 22, 44, tzinfo=UTC)


def test_a_report_about_several() -> None:
    assert [(e.address, e.state, e.engagement, e.provider_status) for e in parsed(filled("dsn__several.eml"))] == [
        ("jane@example.net", MessageState.BOUNCED, None, "failed 5.0.0"),
        ("john@example.com", None, Engagement.DEFERRED, "delayed 4.0.0"),
        ("wanjiku@example.org", MessageState.BOUNCED, None, "failed 5.0.0"),
    ]


def test_a_complaint_names_the_return_address() -> None:
    (event,) = parsed(filled("arf__documented.eml"))
    assert (event.state, event.suppress, event.ref) == (MessageState.COMPLAINED, SuppressReason.COMPLAINT, REF)
    assert (event.address, event.provider_ref) == ("jane@example.com", "fee-44@school.example")
    assert (event.provider_status, event.detail) == ("complaint", "complaint: abuse")


def test_a_complaint_that_returns_the_mail_with_its_return_path() -> None:
    body = filled("arf__documented.eml").replace(f"Original-Mail-From: <{back()}>\r\n".encode(), b"")
    body = body.replace(b"From: <office@", f"Return-Path: <{back()}>\r\nFrom: <office@".encode())
    assert parsed(body)[0].ref == REF


def test_no_complaint_is_made_of_what_takes_one_back() -> None:
    (event,) = parsed(filled("arf__documented.eml").replace(b"Feedback-Type: abuse", b"Feedback-Type: not-spam"))
    assert (event.state, event.suppress, event.provider_status) == (None, None, "not-spam")


def test_an_automatic_reply_is_no_bounce() -> None:
    assert parsed(filled("out_of_office.eml")) == []


def test_a_return_path_in_a_bounce_proves_nothing() -> None:
    """Anybody who got a mail may send a report; only complaints may name the return address inside."""
    body = filled("dsn__postfix.eml", "postmaster@bounce.school.example")
    body = body.replace(b"Message-Id: <fee-42", f"Return-Path: <{back()}>\r\nMessage-Id: <fee-42".encode())
    with pytest.raises(BadSignature):
        parsed(body)


def test_each_changed_character_of_the_return_address_is_noticed() -> None:
    good = back()
    for place in range(2, good.index("@")):
        swapped = "0" if good[place] != "0" else "1"
        forged = good[:place] + swapped + good[place + 1 :]
        with pytest.raises(BadSignature):
            parsed(filled("dsn__postfix.eml", forged))
    for forged in (good.replace(DOMAIN, "bounce.studio.example"), good.replace("b+", "c+"), "x" + good, f"{good}.evil.example"):
        with pytest.raises(BadSignature):
            parsed(filled("dsn__postfix.eml", forged))


def test_case_does_not_matter() -> None:
    (event,) = parsed(filled("dsn__postfix.eml", back().upper()))
    assert event.ref == REF


def test_a_good_tag_lends_itself_to_no_other_address() -> None:
    other = f"b+rcp_victim.{'0' * verp.TAG_LENGTH}@{DOMAIN}"
    for both in (f"{other}, {back()}", f"{back()}, {other}", f"{back()}, {back('rcp_2')}"):
        with pytest.raises(BadSignature):
            parsed(filled("dsn__postfix.eml", both))


@pytest.mark.parametrize(
    "changes",
    [
        {"bounce_domain": None, "bounce_secret": None},
        {"bounce_secret": "another-secret-00000"},
        {"bounce_domain": "bounce.studio.example"},
    ],
)
def test_another_config_or_none_refuses_everything(changes: dict[str, Any]) -> None:
    with pytest.raises(BadSignature):
        HOOK.verify(asked(filled("dsn__postfix.eml")), config(**changes), by_token=True)


def test_an_empty_secret_signs_nothing() -> None:
    body = filled("dsn__postfix.eml", f"b+{REF}.{verp.tag(REF, '')}@{DOMAIN}")
    with pytest.raises(BadSignature):
        HOOK.verify(asked(body), view(), by_token=True)
    assert back(secret="") == ""


def test_only_the_configs_own_path_counts() -> None:
    for given, by_token in ((None, True), (config(), False)):
        with pytest.raises(BadSignature):
            HOOK.verify(asked(filled("dsn__postfix.eml")), given, by_token=by_token)


@pytest.mark.parametrize("body", [b"", b"  \r\n", b"\r\nno headers at all", b"{}"])
def test_what_is_no_mail(body: bytes) -> None:
    with pytest.raises((MalformedWebhook, BadSignature)):
        HOOK.verify(asked(body), config(), by_token=True)


def test_one_fact_has_one_key() -> None:
    first = HOOK.verify(asked(filled("dsn__postfix.eml")), config(), by_token=True)
    # The same report through another pipe: other trace headers, another Message-Id of its own.
    again = filled("dsn__postfix.eml").replace(b"id A810A2671", b"id B99").replace(b"<20261121081650", b"<20261121999999")
    assert HOOK.verify(asked(again), config(), by_token=True) == first
    assert first.trust is Trust.SIGNED
    others = (
        filled("dsn__postfix.eml", back("rcp_2")),
        filled("dsn__postfix.eml").replace(b"Action: failed", b"Action: delayed"),
        filled("dsn__postfix.eml").replace(b"Status: 5.1.1", b"Status: 5.2.2"),
        filled("out_of_office.eml"),
    )
    keys = {HOOK.verify(asked(each), config(), by_token=True).dedupe_key for each in others}
    assert len(keys | {first.dedupe_key}) == 5


def test_a_mailbox_separator_in_front_is_fine() -> None:
    assert parsed(b"From MAILER-DAEMON Sat Nov 21 08:15:02 2026\n" + filled("dsn__postfix.eml"))[0].ref == REF


def test_broken_reports_do_no_harm() -> None:
    whole = filled("dsn__postfix.eml")
    for cut in range(whole.index(b"\r\n\r\n"), len(whole), 37):
        for event in parsed(whole[:cut]):
            assert event.state in {MessageState.BOUNCED, None}
    for bad in (b"Status: x", b"Status: " + b"9" * 5000, b"Status:"):
        (event,) = parsed(whole.replace(b"Status: 5.1.1", bad))
        assert (event.state, event.suppress) == (MessageState.BOUNCED, None)
    (event,) = parsed(whole.replace(b"Arrival-Date: Sat, 21 Nov 2026 11:16:50", b"Arrival-Date: yesterday"))
    assert event.occurred_at is None
    (event,) = parsed(whole.replace(b"Action: failed", b"Action: vanished"))
    assert (event.state, event.provider_status) == (None, "vanished 5.1.1")


def test_a_report_with_endless_parts_is_read_to_a_limit() -> None:
    block = b"\r\nFinal-Recipient: rfc822; a@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    body = filled("dsn__postfix.eml").replace(b"\r\nFinal-Recipient:", block * 3000 + b"\r\nFinal-Recipient:", 1)
    assert len(parsed(body)) == 100


def test_the_answer_is_plain() -> None:
    ack = HOOK.ack(asked(b"x"))
    assert (ack.status, ack.body) == (200, b"")
    assert set(HOOK.config_purposes) == HOOK.purposes == {"bounce"}


@pytest.mark.parametrize(
    "body",
    [
        b"From: a@example.net\r\n\r\n" + b"\n" * 300_000,
        b"From: a@example.net\r\n" + b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n" * 30,
        b'Content-Type: multipart/report; a="' + b";" * 9_000 + b'"\r\n\r\n',
        b"From: a@example.net\r\n\r\n--a\r\nX: " + b"x" * 9_000,
    ],
    ids=["many lines", "many containers", "long header", "long header of a part"],
)
def test_what_no_mail_server_writes_is_refused_before_it_is_parsed(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("integrations.providers.smtp.webhook.parse_mail", lambda _body: pytest.fail("it was parsed"))
    with pytest.raises(MalformedWebhook, match="no report is that large"):
        HOOK.verify(asked(body), config(), by_token=True)
