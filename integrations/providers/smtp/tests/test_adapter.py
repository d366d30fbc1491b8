"""What the adapter refuses before it calls anybody, how it reads answers, and what a config may hold."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from integrations.contracts.adapter import MailReply
from integrations.contracts.capabilities import Environment
from integrations.contracts.email import Envelope, Mailbox
from integrations.contracts.errors import InvalidRequest, UnsupportedOperation
from integrations.contracts.messaging import Media, MessageState, SendQuery, SuppressReason, Target
from integrations.contracts.schema import SchemaErrors
from integrations.http.smtp import read_reply
from integrations.providers.smtp import verp
from integrations.providers.smtp.adapter import BATCH_SECONDS
from integrations.providers.smtp.codes import code_of, meaning_of
from integrations.providers.smtp.provider import PROVIDER, split_server
from integrations.providers.smtp.tests.conftest import (
    BOUNCE_SECRET,
    JANE,
    JOE,
    NOW,
    PASSWORD,
    Hub,
    Recorded,
    make_adapter,
    message,
    view,
)


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"template_id": "welcome"}, "template"),
        ({"envelopes": ()}, "to"),
        ({"envelopes": (Envelope(to=()),)}, "to"),
        ({"envelopes": tuple(Envelope(to=(Target(f"p{n}@example.net"),)) for n in range(21))}, "to"),
        ({"envelopes": (Envelope(to=tuple(Target(f"p{n}@example.net") for n in range(51))),)}, "to"),
        ({"attachments": (Media("a.pdf", "application/pdf", url="https://example.net/a.pdf"),)}, "attachments"),
        ({"attachments": (Media("a.bin", "application/zip", b"x" * (6 * 1024 * 1024)),) * 2}, "attachments"),
        ({"sender": Mailbox("nobody")}, "from"),
        ({"subject": "two\nlines"}, "subject"),
        ({"headers": {"Bcc": JOE}}, "headers"),
    ],
)
def test_what_is_refused_before_anybody_is_called(changes: dict[str, Any], attr: str) -> None:
    recorder = Recorded()
    with pytest.raises(InvalidRequest) as caught:
        make_adapter(view(), recorder).send(message(**changes))
    assert (caught.value.attr, recorder.exchanges, recorder.marks) == (attr, [], 0)


def test_a_message_without_sender_has_the_configs(hub: Hub) -> None:
    hub.adapter().send(message(sender=Mailbox("", "Springfield School")))
    assert hub.arrived()[0]["from"] == "Springfield School <office@school.example>"
    with pytest.raises(InvalidRequest) as caught:
        hub.adapter(sender_address=None).send(message(sender=Mailbox("")))
    assert caught.value.attr == "from"


def test_addresses_that_can_not_be_written_to_do_not_hold_up_the_others(hub: Hub) -> None:
    envelope = Envelope(to=(Target("jané@example.net"), Target(JANE), Target("no address")), message_id="a@school.example")
    results = hub.adapter().send(message(envelopes=(envelope,))).recipients
    assert [(each.state, each.provider_code, each.suppress) for each in results] == [
        (MessageState.FAILED, "5.1.3", SuppressReason.INVALID),
        (MessageState.SENT, "2.0.0", None),
        (MessageState.FAILED, "5.1.3", SuppressReason.INVALID),
    ]
    assert [row["to"] for row in hub.arrived()] == [JANE]


def test_a_message_to_nobody_who_can_be_written_to_calls_nobody() -> None:
    recorder = Recorded()
    (result,) = make_adapter(view(), recorder).send(message("no address")).recipients
    assert (result.state, recorder.exchanges) == (MessageState.FAILED, [])


def test_an_international_domain_is_reached_in_its_ascii_form(hub: Hub) -> None:
    (result,) = hub.adapter().send(message("jane@bücher.example")).recipients
    assert (result.address, result.state) == ("jane@bücher.example", MessageState.SENT)
    assert hub.arrived()[0]["to"] == "jane@xn--bcher-kva.example"


def test_the_same_message_has_the_same_id_at_each_try(hub: Hub) -> None:
    nameless = tuple(Envelope(to=(Target(each),)) for each in (JANE, JOE))
    for _ in range(2):
        hub.adapter().send(message(envelopes=nameless))
    ids = [row["message_id"] for row in hub.arrived()]
    assert ids[:2] == ids[2:] == ["<msg_1.0@school.example>", "<msg_1.1@school.example>"]


def test_a_batch_stops_in_time_for_the_lease(hub: Hub) -> None:
    moments = iter([NOW, NOW, NOW, NOW + timedelta(seconds=BATCH_SECONDS + 1)])
    last = [NOW]

    def clock() -> Any:
        last[0] = next(moments, NOW + timedelta(seconds=BATCH_SECONDS + 1))
        return last[0]

    results = make_adapter(hub.view(), hub.recorder, clock=clock).send(message(JANE, JOE, "ann@example.net")).recipients
    assert results[0].state is MessageState.SENT
    assert [(each.state, each.retryable) for each in results[-1:]] == [(MessageState.FAILED, True)]
    sent = [each.address for each in results if each.state is MessageState.SENT]
    assert [row["to"] for row in hub.arrived()] == sent


def test_what_a_mail_server_can_not_do() -> None:
    adapter = make_adapter(view())
    for work in (
        adapter.balance,
        adapter.suppressed,
        lambda: adapter.unsuppress(JANE),
        lambda: adapter.find(SendQuery("msg_1", Target(JANE))),
        lambda: adapter.register_webhooks({}),
    ):
        with pytest.raises(UnsupportedOperation):
            work()


# --- codes


@pytest.mark.parametrize(
    ("reply", "code", "temporary", "retry_after", "suppress"),
    [
        ("550 5.1.1 no such user", "5.1.1", False, None, SuppressReason.HARD_BOUNCE),
        ("550 5.1.10 null MX", "5.1.10", False, None, SuppressReason.HARD_BOUNCE),
        ("553 5.1.3 bad address", "5.1.3", False, None, SuppressReason.INVALID),
        ("556 domain takes no mail", "556", False, None, SuppressReason.HARD_BOUNCE),
        ("521 no mail here", "521", False, None, SuppressReason.HARD_BOUNCE),
        ("551 user not local", "551", False, None, SuppressReason.HARD_BOUNCE),
        ("550 mailbox unavailable", "550", False, None, None),
        ("552 5.2.2 mailbox full", "5.2.2", False, None, None),
        ("552 5.3.4 too big", "5.3.4", False, None, None),
        ("550 5.7.1 spam", "5.7.1", False, None, None),
        ("550 5.7.26 DMARC", "5.7.26", False, None, None),
        ("450 4.2.0 greylisted", "4.2.0", True, 60.0, None),
        ("451 4.7.1 greylisted", "4.7.1", True, 60.0, None),
        ("452 4.2.2 mailbox full for now", "4.2.2", True, 3600.0, None),
        ("421 4.3.2 shutting down", "4.3.2", True, 60.0, None),
        ("451 later", "451", True, 60.0, None),
        # RFC 3463: where the enhanced code and the digits disagree, the enhanced code tells.
        ("450 5.1.1 no such user", "5.1.1", False, None, SuppressReason.HARD_BOUNCE),
        ("550 4.2.1 suspended for now", "4.2.1", True, 60.0, None),
    ],
)
def test_what_an_answer_means(
    reply: str, code: str, temporary: bool, retry_after: float | None, suppress: SuppressReason | None
) -> None:
    digits, _, words = reply.partition(" ")
    answer = MailReply(int(digits), words)
    meaning = meaning_of(answer)
    assert code_of(answer) == code
    assert (meaning.accepted, meaning.temporary, meaning.retry_after, meaning.suppress) == (
        False, temporary, retry_after, suppress,
    )  # fmt: skip


def test_longer_answers_are_read_on_one_line() -> None:
    gmail = b"5.7.26 This mail has been blocked because the sender is unauthenticated.\n5.7.26 Gmail requires all senders"
    reply = read_reply(550, gmail)
    assert reply.enhanced == "5.7.26"
    assert str(reply) == (
        "550 5.7.26 This mail has been blocked because the sender is unauthenticated. Gmail requires all senders"
    )
    assert len(str(read_reply(550, b"x" * 5000))) == 200
    assert read_reply(250, b"\xff\x00\x1b[31mred").text == "\ufffd[31mred"


# --- return addresses


def test_return_addresses_fit_a_local_part() -> None:
    options = {"domain": "bounce.school.example", "secret": BOUNCE_SECRET}
    address = verp.address("rcp_01jd8kq3v5m2n4p6r8t0w2y4z6", **options)
    local = address.partition("@")[0]
    assert len(local) <= 64
    assert address == address.lower()
    assert verp.address("r" * 49, **options)
    assert verp.address("r" * 50, **options) == ""
    for odd in ("", "UPPER", "a.b", "a b", "a\r\nb"):
        assert verp.address(odd, **options) == ""


# --- the config


@pytest.mark.parametrize(
    ("server", "parts"),
    [
        ("smtp.example.org", ("smtp.example.org", None)),
        ("smtp.example.org:2525", ("smtp.example.org", 2525)),
        ("192.0.2.7:25", ("192.0.2.7", 25)),
        ("[2001:db8::1]:587", ("2001:db8::1", 587)),
    ],
)
def test_servers(server: str, parts: tuple[str, int | None]) -> None:
    assert split_server(server) == parts


@pytest.mark.parametrize("server", ["", "a b", "smtp://x", "user@host", "host:0", "host:99999", "host:x", "2001:db8::1"])
def test_what_is_no_server(server: str) -> None:
    with pytest.raises(ValueError, match=r"host name|port"):
        split_server(server)


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"base_url": "smtp://x"}, {"base_url"}),
        ({"username": "hub"}, {"password"}),
        ({"password": PASSWORD}, {"username"}),
        ({"bounce_domain": "bounce.example"}, {"bounce_secret"}),
        ({"bounce_secret": BOUNCE_SECRET}, {"bounce_domain"}),
        ({"bounce_domain": "no domain", "bounce_secret": BOUNCE_SECRET}, {"bounce_domain"}),
        ({"bounce_domain": "bounce.example", "bounce_secret": "short"}, {"bounce_secret"}),
        ({"sender_address": "nobody"}, {"sender_address"}),
        ({"security": "maybe"}, {"security"}),
        ({"username": "hüb", "password": PASSWORD}, {"username"}),
    ],
)
def test_configs_that_can_not_work_are_refused_by_field(changes: dict[str, Any], wrong: set[str]) -> None:
    with pytest.raises(SchemaErrors) as caught:
        PROVIDER.config.clean({"base_url": "smtp.example.org", **changes})
    assert set(caught.value.errors) == wrong


def test_no_password_goes_in_the_clear_outside_of_the_simulator() -> None:
    check = PROVIDER.check_environment
    assert check is not None
    clear = {"security": "none", "password": PASSWORD}
    assert set(check(clear, Environment.PRODUCTION)) == set(check(clear, Environment.SANDBOX)) == {"security"}
    assert check(clear, Environment.SIMULATOR) == {}
    assert check({"security": "none"}, Environment.PRODUCTION) == {}
    assert check({"security": "starttls", "password": PASSWORD}, Environment.PRODUCTION) == {}


@pytest.mark.parametrize(("security", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_the_usual_ports(security: str, port: int) -> None:
    server = make_adapter(view(base_url="Smtp.Example.org", security=security))._server()
    assert (server.host, server.port, server.security, server.helo) == ("smtp.example.org", port, security, "school.example")
    assert PASSWORD not in repr(server)
