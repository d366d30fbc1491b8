"""The real adapter, the hub's client and the simulator over real sockets."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from integrations.contracts.email import Mailbox
from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from integrations.contracts.inbound import Locator
from integrations.contracts.messaging import Engagement, Media, MessageState, SendQuery, SuppressReason, Target
from integrations.providers.mailgun.codes import WEBHOOK_TYPES
from integrations.providers.mailgun.tests.hub import Hub
from integrations.providers.mailgun.tests.support import ANN, JANE, NOW, ORIGIN, TOM, email, envelope
from tests.vendor_specs.loader import description_of


def test_a_mail_arrives_and_is_reported(hub: Hub) -> None:
    result = hub.send(headers={"X-Kind": "test"}, html="<b>hi</b>", reply_to=(Mailbox("shop@x.example", "Ä"),))
    (recipient,) = result.recipients
    assert (recipient.address, recipient.state, recipient.provider_ref) == (JANE, MessageState.SENT, "mr_1@hub.example")
    (row,) = hub.messages()
    assert (row["to"], row["subject"], row["text"], row["html"], row["ref"]) == (
        JANE,
        "Receipt 1042",
        "Thank you.",
        "<b>hi</b>",
        "mr_1",
    )
    assert row["headers"]["X-Kind"] == "test"
    assert row["tracking"] == "no"
    (received,) = hub.received(1)
    found = hub.facts(received)
    assert (found.state, found.ref, found.provider_ref, found.address) == (
        MessageState.DELIVERED,
        "mr_1",
        recipient.provider_ref,
        JANE,
    )
    assert hub.webhook.locate(hub.request(received)) == (
        Locator("message", recipient.provider_ref),
        Locator("domain", hub.domain),
    )


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("bounce", [("bounced", "hard_bounce", None)]),
        ("defer", [(None, None, "deferred"), ("delivered", None, None)]),
        ("supp", [("failed", "hard_bounce", None)]),
        ("spam", [("delivered", None, None), ("complained", "complaint", None)]),
        ("unsub", [("delivered", None, None), (None, "opt_out", "unsubscribed")]),
    ],
)
def test_what_local_parts_choose(hub: Hub, local: str, expected: list[tuple[str | None, str | None, str | None]]) -> None:
    hub.send(envelope(f"{local}.x@example.net"))
    found = [hub.facts(each) for each in hub.received(len(expected))]
    assert [(each.state, each.suppress, each.engagement) for each in found] == [
        (
            MessageState(state) if state else None,
            SuppressReason(suppress) if suppress else None,
            Engagement(engagement) if engagement else None,
        )
        for state, suppress, engagement in expected
    ]
    hub.quiet()
    assert len(hub.hooks.received) == len(expected)


def test_every_webhook_is_as_the_vendor_describes_an_event(hub: Hub) -> None:
    described = description_of("mailgun")
    hub.send(envelope("defer@example.net"), envelope("spam@example.net", "mr_2"), envelope("unsub@example.net", "mr_3"))
    for received in hub.received(6):
        data = received.json()["event-data"]
        assert data["event"] in ("failed", "delivered", "complained", "unsubscribed")
        if described is not None:
            described.check_component("EventResponse", data)


@pytest.mark.parametrize("local", ["dup", "replay"])
def test_a_token_that_comes_twice_is_one_fact(hub: Hub, local: str) -> None:
    hub.send(envelope(f"{local}@example.net"))
    first, second = hub.received(2)
    keys = {hub.webhook.verify(hub.request(each), hub.view(), by_token=True).dedupe_key for each in (first, second)}
    assert len(keys) == 1
    assert (first.body == second.body) is (local == "dup")


def test_a_batch_shows_nobody_the_others(hub: Hub) -> None:
    one = envelope(JANE, "mr_1", headers={"List-Unsubscribe": "<https://hub.example/u/1>"})
    two = envelope(TOM, "mr_2", headers={"List-Unsubscribe": "<https://hub.example/u/2>"}, subject="For Tom %")
    result = hub.send(one, two)
    assert [each.provider_ref for each in result.recipients] == ["mr_1@hub.example", "mr_2@hub.example"]
    rows = hub.messages()
    assert [(row["header_to"], row["ref"], row["subject"], row["message_id"]) for row in rows] == [
        (JANE, "mr_1", "Receipt 1042", "mr_1@hub.example"),
        (TOM, "mr_2", "For Tom %", "mr_2@hub.example"),
    ]
    assert [row["headers"]["List-Unsubscribe"] for row in rows] == ["<https://hub.example/u/1>", "<https://hub.example/u/2>"]
    found = {each.address: each for each in (hub.facts(received) for received in hub.received(2))}
    assert {address: (each.ref, each.provider_ref) for address, each in found.items()} == {
        JANE: ("mr_1", "mr_1@hub.example"),
        TOM: ("mr_2", "mr_2@hub.example"),
    }


def test_everybody_of_one_envelope_is_told_apart(hub: Hub) -> None:
    one = envelope(
        to=(Target(JANE, "mr_1"), Target(TOM, "mr_2")), cc=(Target(ANN, "mr_3"),), bcc=(Target("b@x.example", "mr_4"),)
    )
    hub.send(one)
    assert {row["header_to"] for row in hub.messages()} == {f"{JANE}, {TOM}"}
    found = [hub.facts(each) for each in hub.received(4)]
    assert {each.address: each.ref for each in found} == {JANE: "mr_1", TOM: "mr_2", ANN: "mr_3", "b@x.example": ""}
    assert {each.provider_ref for each in found} == {"mr_1@hub.example"}


def test_templates_and_files(hub: Hub) -> None:
    files = (Media("Ünvoice.pdf", "application/pdf", b"%PDF\x00"), Media("l.png", "image/png", b"\x89P", content_id="logo"))
    hub.send(envelope(data={"amount": "KES 10"}), template_id="receipt", data={"name": "Jane"}, text="", attachments=files)
    (row,) = hub.messages()
    assert row["text"] == "Dear Jane, we received KES 10."
    assert row["files"] == [["attachment", "Ünvoice.pdf", 5], ["inline", "logo", 2]]
    with pytest.raises(InvalidRequest) as caught:
        hub.send(envelope(), template_id="nothing", text="")
    assert caught.value.attr == "template"
    assert len(hub.messages()) == 1


def test_a_bad_address_sends_nothing(hub: Hub) -> None:
    with pytest.raises(InvalidRequest) as caught:
        hub.send(envelope("not an address"))
    assert (caught.value.attr, hub.messages()) == ("to", [])
    result = hub.send(envelope(JANE, "mr_1"), envelope("nowhere", "mr_2"))
    assert [each.state for each in result.recipients] == [MessageState.SENT, MessageState.FAILED]
    assert [row["to"] for row in hub.messages()] == [JANE]


@pytest.mark.parametrize(
    ("fault", "error_class", "sent"),
    [("error_500", OutcomeUnknown, 0), ("drop_after_accept", OutcomeUnknown, 1), ("error_429", RateLimited, 0)],
)
def test_faults(hub: Hub, fault: str, error_class: type[ProviderError], sent: int) -> None:
    hub.fault("send", fault)
    with pytest.raises(error_class) as caught:
        hub.send()
    assert type(caught.value) is error_class
    assert len(hub.messages()) == sent
    assert caught.value.retry_after == (7.0 if fault == "error_429" else None)


def test_a_lost_answer_is_found_again(hub: Hub) -> None:
    query = SendQuery("mr_1@hub.example", Target(JANE, "mr_1"), sent_at=NOW)
    assert hub.adapter().find(query) is None
    hub.fault("send", "drop_after_accept")
    with pytest.raises(OutcomeUnknown):
        hub.send()
    found = hub.adapter().find(query)
    assert found is not None
    assert (found.state, found.provider_ref) == (MessageState.SENT, "mr_1@hub.example")
    hub.received(1)
    found = hub.adapter().find(query)
    assert found is not None
    assert found.state is MessageState.DELIVERED


@pytest.mark.parametrize(("local", "state"), [("silent", "delivered"), ("reject", "failed")])
def test_what_no_webhook_tells_is_asked_for(hub: Hub, local: str, state: str) -> None:
    address = f"{local}@example.net"
    hub.send(envelope(address))
    hub.quiet()
    assert hub.hooks.received == []
    found = hub.adapter().find(SendQuery("msg_1", Target(address, "mr_1"), sent_at=NOW))
    assert found is not None
    assert found.state is MessageState(state)


def test_an_early_report_knows_its_recipient(hub: Hub) -> None:
    hub.fault("send", "early_callback")
    hub.send()
    (received,) = hub.hooks.at("/hooks")
    assert hub.facts(received).ref == "mr_1"


def test_later_events(hub: Hub) -> None:
    hub.send()
    hub.received(1)
    for count, status in enumerate(("opened", "clicked", "bounced"), start=2):
        hub.report(JANE, status)
        hub.received(count)  # reports of one moment are sent side by side: only one after the other have they an order
    found = [hub.facts(each) for each in hub.received(4)[1:]]
    assert [(each.engagement, each.state) for each in found] == [
        (Engagement.OPENED, None),
        (Engagement.CLICKED, None),
        (None, MessageState.BOUNCED),
    ]
    hub.report(JANE, "opened-by-machine")
    last = hub.received(5)[-1]
    assert hub.webhook.parse(hub.request(last), ORIGIN) == ()


def test_the_lists(hub: Hub) -> None:
    hub.send(envelope("bounce@example.net"))
    hub.send(envelope("spam@example.net"))
    hub.received(3)
    rows, cursor = [], ""
    for _ in range(5):
        page, cursor = hub.adapter().suppressed(cursor)
        rows += page
        if not cursor:
            break
    assert [(each.address, each.reason) for each in rows] == [
        ("bounce@example.net", SuppressReason.HARD_BOUNCE),
        ("spam@example.net", SuppressReason.COMPLAINT),
    ]
    assert cursor == ""
    hub.adapter().unsuppress("bounce@example.net")
    hub.adapter().unsuppress("bounce@example.net")
    assert hub.adapter().suppressed()[0] == ()


@pytest.mark.parametrize(
    ("name", "reason"), [("bounces", "hard_bounce"), ("complaints", "complaint"), ("unsubscribes", "opt_out")]
)
def test_mailgun_does_not_write_to_whom_it_has_on_a_list(hub: Hub, name: str, reason: str) -> None:
    hub.control("POST", "/suppressions", {"account": "school", "list": name, "address": JANE})
    hub.send()
    (received,) = hub.received(1)
    found = hub.facts(received)
    assert (found.state, found.suppress) == (MessageState.FAILED, SuppressReason(reason))


def test_registering(hub: Hub) -> None:
    hub.control("PUT", "/accounts/school", {"webhook_url": "", "webhooks": {"delivered": ["https://other.example/x"]}})
    registration = hub.adapter(webhook_signing_key="").register_webhooks({"events": hub.url})
    assert registration.secrets == {"webhook_signing_key": hub.account.secrets["webhook_signing_key"]}
    known = hub.control("GET", "/state")["accounts"][0]["webhooks"]
    assert known == {
        **{kind: [hub.url] for kind in WEBHOOK_TYPES},
        "delivered": ["https://other.example/x", hub.url],
    }
    assert "already" in hub.adapter().register_webhooks({"events": hub.url}).detail
    assert hub.control("GET", "/state")["accounts"][0]["webhooks"] == known
    hub.control("PUT", "/accounts/school", {"webhooks": {"delivered": [hub.url]}})
    hub.send()
    (received,) = hub.received(1)
    assert hub.facts(received).state is MessageState.DELIVERED


def test_connection_test(hub: Hub) -> None:
    result = hub.adapter().test_connection()
    assert (result.ok, result.detail) == (True, f"Signed in; {hub.domain} (EU) is active.")
    hub.control("PUT", "/accounts/school", {"state": "disabled"})
    assert hub.adapter().test_connection().status == "disabled"


@pytest.mark.parametrize("changes", [{"api_key": "key-bad-0123456789"}, {"domain": "mg.studio.example"}])
def test_wrong_credentials(hub: Hub, changes: dict[str, Any]) -> None:
    with pytest.raises(AuthenticationFailed):
        hub.adapter(**changes).test_connection()


def test_a_domain_that_is_not_ours_sends_nothing(hub: Hub) -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        hub.adapter(domain="mg.studio.example").send(email())
    assert caught.value.message == "Mailgun does not know the domain mg.studio.example in region EU (Domain not found)."
    assert hub.messages() == []


def test_nobody_listens(hub: Hub) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        with pytest.raises(ProviderUnavailable) as caught:
            hub.adapter(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}").test_connection()
    assert type(caught.value) is ProviderUnavailable
