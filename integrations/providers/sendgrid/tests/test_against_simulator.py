"""The real adapter, the hub's client and the simulator over real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from integrations.contracts.email import Envelope
from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from integrations.contracts.inbound import BadSignature
from integrations.contracts.messaging import Media, MessageState, SuppressReason, Target
from integrations.providers.sendgrid.simulator import SendGridSimulator
from integrations.providers.sendgrid.tests.conftest import JANE, JOHN, ZOE, envelope, message
from integrations.providers.sendgrid.tests.hub import Hub
from integrations.simulators import ManualClock, running_simulators
from tests.simulators.support import Receiver


@pytest.fixture
def hubs(tmp_path: Path) -> Iterator[list[Hub]]:
    clock = ManualClock()
    with (
        Receiver() as hooks,
        running_simulators([SendGridSimulator], state_dir=tmp_path, clock=clock) as running,
    ):
        yield [Hub(running, clock, hooks, each) for each in SendGridSimulator.demo_accounts(tmp_path)]
        assert running.violations == []


@pytest.fixture
def hub(hubs: list[Hub]) -> Hub:
    return hubs[0]


def to(local: str, ref: str = "r1") -> Target:
    return Target(f"{local}@example.net", ref)


def test_a_message_arrives_once_for_each_recipient(hub: Hub) -> None:
    two = Envelope(to=(JANE,), cc=(JOHN,), message_id="m7@hub.example", headers={"List-Unsubscribe": "<https://hub.example/u>"})
    files = (Media("a.pdf", "application/pdf", b"%PDF"),)
    result = hub.adapter().send(
        message(two, envelope(ZOE, subject="Other"), html="<p>T</p>", attachments=files, category="fees")
    )
    zoe, john, jane = hub.messages()
    assert {each.provider_ref for each in result.recipients} == {result.provider_ref} == {jane["message_id"]}
    assert [each.state for each in result.recipients] == [MessageState.SENT] * 3
    assert [(each["to"], each["ref"], each["channel"]) for each in (jane, john, zoe)] == [
        ("jane@example.net", "m7_1", "email"),
        ("john@example.net", "m7_2", "email"),
        ("zoe@example.net", "m7_3", "email"),
    ]
    assert jane["headers"] == {"List-Unsubscribe": "<https://hub.example/u>", "Message-ID": "<m7@hub.example>"}
    assert (jane["subject"], zoe["subject"], jane["text"], jane["html"]) == ("Receipt 1042", "Other", "Thanks", "<p>T</p>")
    assert (jane["attachments"], jane["categories"], jane["name"]) == (["a.pdf"], ["fees"], "Jane")


def test_a_second_send_shows(hub: Hub) -> None:
    for _ in range(2):
        hub.adapter().send(message())
    assert len(hub.messages()) == 2
    assert len({each["message_id"] for each in hub.messages()}) == 2


def test_templates_and_different_texts(hub: Hub) -> None:
    hub.adapter().send(message(envelope(JANE, data={"name": "Jane"}), template_id="d-" + "0" * 32, text="", subject=""))
    hub.adapter().send(message(envelope(JANE, text="A"), envelope(JOHN, text="B")))
    john, jane, templated = hub.messages()
    assert (templated["template_id"], templated["data"]) == ("d-" + "0" * 32, {"name": "Jane"})
    assert (jane["text"], john["text"]) == ("A", "B")


def test_credits_are_used_up(hub: Hub) -> None:
    before = hub.adapter().balance()
    hub.adapter().send(message(envelope(JANE), envelope(JOHN)))
    assert (before.amount - hub.adapter().balance().amount, before.unit) == (2, "e-mails")
    hub.control("PUT", "/accounts/school", {"credits": 1})
    with pytest.raises(RateLimited) as caught:
        hub.adapter().send(message(envelope(JANE), envelope(JOHN)))
    assert (caught.value.retry_after, len(hub.messages())) == (900.0, 2)


def test_connection_test(hub: Hub) -> None:
    result = hub.adapter().test_connection()
    assert (result.ok, result.status) == (True, "ok")
    with pytest.raises(AuthenticationFailed):
        hub.adapter(api_key="SG.bad").test_connection()


@pytest.mark.parametrize(
    ("changes", "error_class"),
    [({"api_key": "SG.bad"}, AuthenticationFailed), ({}, RateLimited)],
)
def test_refusals(hub: Hub, changes: dict[str, str], error_class: type[ProviderError]) -> None:
    with pytest.raises(error_class) as caught:
        hub.adapter(**changes).send(message(subject="429"))
    if error_class is RateLimited:
        assert 1.0 <= (caught.value.retry_after or 0) <= 2.0
    assert hub.messages() == []


def test_an_unverified_sender(hub: Hub) -> None:
    given = message()
    with pytest.raises(InvalidRequest) as caught:
        hub.adapter().send(replace(given, sender=replace(given.sender, address="unverified@shop.example")))
    assert (caught.value.attr, hub.messages()) == ("from", [])


def test_a_bad_address_beside_a_good_one(hub: Hub) -> None:
    bad, good = hub.adapter().send(message(envelope(Target("no address", "r1")), envelope(JOHN))).recipients
    assert (bad.state, bad.retryable, bad.detail) == (MessageState.FAILED, False, "Does not contain a valid address.")
    assert (good.state, good.retryable, hub.messages()) == (MessageState.FAILED, True, [])


@pytest.mark.parametrize(
    ("fault", "error_class", "rows"),
    [
        ("error_500", OutcomeUnknown, 0),
        ("error_500_after", OutcomeUnknown, 1),
        ("drop_after_accept", OutcomeUnknown, 1),
        ("error_429", RateLimited, 0),
    ],
)
def test_faults(hub: Hub, fault: str, error_class: type[ProviderError], rows: int) -> None:
    hub.fault("send", fault)
    with pytest.raises(ProviderError) as caught:
        hub.adapter().send(message())
    assert type(caught.value) is error_class
    assert len(hub.messages()) == rows


def test_nobody_listens(hub: Hub) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        config = hub.view()
        with pytest.raises(ProviderUnavailable) as caught:
            hub.adapter(replace(config, base_url=f"http://127.0.0.1:{taken.getsockname()[1]}")).send(message())
    assert type(caught.value) is ProviderUnavailable


# --- what the webhook says


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("jane", [("processed", "sent"), ("delivered", "delivered")]),
        ("bounce", [("processed", "sent"), ("bounce", "bounced")]),
        ("block", [("processed", "sent"), ("blocked", "failed")]),
        ("drop", [("dropped", "failed")]),
        ("defer", [("processed", "sent"), ("deferred", "deferred"), ("delivered", "delivered")]),
        ("spam", [("processed", "sent"), ("delivered", "delivered"), ("spamreport", "complained")]),
        ("unsub", [("processed", "sent"), ("delivered", "delivered"), ("unsubscribe", "unsubscribed")]),
        ("open", [("processed", "sent"), ("delivered", "delivered"), ("open", "opened"), ("click", "clicked")]),
        ("dup", [("processed", "sent"), ("delivered", "delivered")]),
        ("late", [("delivered", "delivered"), ("processed", "sent")]),
        ("early", [("delivered", "delivered")]),
    ],
)
def test_magic_addresses(hub: Hub, local: str, expected: list[tuple[str, str]]) -> None:
    hub.listen()
    hub.adapter().send(message(envelope(to(local))))
    assert hub.said(len(expected)) == expected


def test_reports_name_the_recipient_by_ref_and_by_the_sends_id(hub: Hub) -> None:
    hub.listen()
    result = hub.adapter().send(message(Envelope(to=(JANE,), bcc=(JOHN,)), envelope(ZOE)))
    facts = hub.facts(hub.posts(1)[0])
    assert {(each.address, each.ref) for each in facts} == {(each.address, each.ref) for each in (JANE, JOHN, ZOE)}
    assert {each.provider_ref for each in facts} == {result.provider_ref}


def test_an_early_report_comes_before_the_answer(hub: Hub) -> None:
    hub.listen()
    hub.fault("send", "early_callback")
    hub.adapter().send(message(envelope(JANE)))
    (post,) = hub.hooks.at(hub.path)
    assert [(each.state, each.ref) for each in hub.facts(post)] == [(MessageState.DELIVERED, "m7_1")]


def test_a_batch_that_is_not_taken_comes_again_signed_anew(hub: Hub) -> None:
    hub.listen()
    hub.hooks.answer = (500, b"")
    hub.adapter().send(message(envelope(to("early"))))
    first, second, third = hub.posts(3)[:3]
    hub.hooks.answer = (200, b"")
    assert first.body == second.body == third.body
    name = "x-twilio-email-event-webhook-timestamp"
    assert int(first.headers[name]) < int(second.headers[name]) < int(third.headers[name])
    assert hub.facts(first) == hub.facts(second) == hub.facts(third)


def test_what_happens_later(hub: Hub) -> None:
    hub.listen()
    hub.adapter().send(message(envelope(to("early"))))
    (row,) = hub.messages()
    hub.control("POST", "/report", {"id": row["id"], "status": "bounced", "reason": "552 mailbox full"})
    hub.said(2)  # events of one moment are posted side by side: only one after the other have they an order
    hub.control("POST", "/report", {"id": row["id"], "status": "machine_open"})
    hub.control("POST", "/report", {"id": row["id"], "status": "complained"})
    assert hub.said(3) == [("delivered", "delivered"), ("bounce", "bounced"), ("spamreport", "complained")]
    # What happens close together comes in one batch: how many requests there were is the machine's affair.
    told = [fact for post in hub.hooks.at(hub.path) for fact in hub.facts(post)]
    assert [fact.detail for fact in told if fact.state is MessageState.BOUNCED] == ["552 mailbox full"]
    assert hub.messages()[0]["state"] == "spamreport"


def test_another_accounts_key_does_not_fit(hubs: list[Hub]) -> None:
    school, studio = hubs
    school.listen()
    school.adapter().send(message(envelope(to("early"))))
    (post,) = school.hooks.at(school.path)
    with pytest.raises(BadSignature):
        school.facts(post, studio.view())
    assert studio.messages() == []


# --- the lists


def test_who_bounced_is_listed_dropped_and_let_in_again(hub: Hub) -> None:
    hub.listen()
    for local in ("bounce", "drop", "spam", "unsub", "block"):
        hub.adapter().send(message(envelope(to(local))))
    hub.said(11)
    listed, cursor = list(hub.adapter().suppressed()[0]), "bounces:0"
    while cursor:
        page, cursor = hub.adapter().suppressed(cursor)
        listed += [each for each in page if each not in listed]
    assert [(each.address, each.reason) for each in listed] == [
        ("bounce@example.net", SuppressReason.HARD_BOUNCE),
        ("drop@example.net", SuppressReason.INVALID),
        ("spam@example.net", SuppressReason.COMPLAINT),
        ("unsub@example.net", SuppressReason.OPT_OUT),
    ]
    assert all(each.since is not None for each in listed)
    before = len(hub.said(11))
    hub.adapter().send(message(envelope(to("spam"))))
    assert hub.said(before + 1)[before:] == [("dropped", "failed")]
    for each in listed:
        hub.adapter().unsuppress(each.address)
        hub.adapter().unsuppress(each.address)
    assert hub.adapter().suppressed() == ((), "invalid_emails:0")
    assert hub.adapter().suppressed("unsubscribes:0") == ((), "")
    hub.adapter().send(message(envelope(to("spam"))))
    assert hub.said(before + 2)[before + 1] == ("processed", "sent")


# --- registering


def test_registering_makes_reports_verifiable(hub: Hub) -> None:
    url = {"events": f"{hub.hooks.url}{hub.path}"}
    first = hub.adapter().register_webhooks(url)
    config = hub.view(**first.values)
    assert config.get("webhook_public_key") != hub.view().get("webhook_public_key")
    again = hub.adapter(config).register_webhooks(url)
    assert again.values == first.values
    assert len(hub.control("GET", "/state")["accounts"][0]["webhooks"]) == 1
    hub.adapter(config).send(message(envelope(to("early"))))
    (post,) = hub.hooks.at(hub.path)
    assert [each.state for each in hub.facts(post, config)] == [MessageState.DELIVERED]
    with pytest.raises(BadSignature):
        hub.facts(post)


def test_registering_moves_the_webhook_of_before(hub: Hub) -> None:
    first = hub.adapter().register_webhooks({"events": "https://old.example/hooks/events"})
    config = hub.view(**first.values)
    moved = hub.adapter(config).register_webhooks({"events": f"{hub.hooks.url}{hub.path}"})
    assert moved.values == first.values
    (shown,) = hub.control("GET", "/state")["accounts"][0]["webhooks"]
    assert shown == {"id": first.values["webhook_id"], "url": f"{hub.hooks.url}{hub.path}"}


def test_registering_what_a_person_set_by_hand_keeps_its_key(hub: Hub) -> None:
    hub.listen()
    result = hub.adapter().register_webhooks({"events": f"{hub.hooks.url}{hub.path}"})
    assert result.values["webhook_public_key"] == hub.view().get("webhook_public_key")


def test_a_plan_allows_so_many_webhooks(hub: Hub) -> None:
    for number in range(5):
        hub.adapter().register_webhooks({"events": f"https://hub.example/{number}/events"})
    with pytest.raises(InvalidRequest) as caught:
        hub.adapter().register_webhooks({"events": "https://hub.example/6/events"})
    assert caught.value.message.startswith("You have reached the maximum number of webhooks")
