"""The real adapter, the hub's client and the simulator over real sockets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import requests

from integrations.contracts.email import Envelope
from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    OutcomeUnknown,
    ProviderUnavailable,
    RateLimited,
)
from integrations.contracts.inbound import BadSignature, InboundRequest, MessageReported, Origin, Trust
from integrations.contracts.messaging import Engagement, MessageState, RecipientResult, SuppressReason, Target
from integrations.providers.smtp import verp
from integrations.providers.smtp.tests.conftest import ANN, JANE, JOE, SLUG, Hub, make_adapter, message, target
from integrations.providers.smtp.webhook import SmtpWebhook
from integrations.simulators import running_simulators
from tests.simulators.support import Receiver, wait_for

SENT, FAILED, UNKNOWN = MessageState.SENT, MessageState.FAILED, MessageState.UNKNOWN


def states(results: tuple[RecipientResult, ...]) -> list[MessageState]:
    return [each.state for each in results]


def test_a_mail_arrives_once_and_its_id_is_the_reference(hub: Hub) -> None:
    (result,) = hub.adapter().send(message(target(JANE, "rcp_01jd8k"))).recipients
    assert (result.address, result.state, result.provider_ref) == (JANE, SENT, "msg_1.0@school.example")
    assert (result.provider_code, result.retryable, result.suppress) == ("2.0.0", False, None)
    assert result.detail.startswith("250 2.0.0 Ok: queued as ")
    (row,) = hub.arrived()
    assert {name: row[name] for name in ("to", "channel", "subject", "text", "ref", "state", "message_id")} == {
        "to": JANE, "channel": "email", "subject": "School fees", "text": "Fees received.\n", "ref": "rcp_01jd8k",
        "state": "delivered", "message_id": "<msg_1.0@school.example>",
    }  # fmt: skip
    assert row["from"] == "Springfield School <office@school.example>"
    secret = hub.account.secrets["bounce_secret"]
    assert row["return_path"] == verp.address("rcp_01jd8k", domain="bounce.school.example", secret=secret)


def test_a_batch_goes_over_one_connection_in_the_order_asked(hub: Hub) -> None:
    addresses = [f"parent{number}@example.net" for number in range(20)]
    results = hub.adapter().send(message(*addresses)).recipients
    assert [each.address for each in results] == addresses
    assert states(results) == [SENT] * 20
    assert [row["to"] for row in hub.arrived()] == addresses
    assert len(hub.recorder.of("CONNECT")) == 1
    assert len(hub.recorder.of("MAIL")) == hub.recorder.marks == 20


def test_everybody_has_a_verdict_of_his_own(hub: Hub) -> None:
    results = (
        hub.adapter()
        .send(message("bad1@example.net", JANE, "full1@example.net", "grey1@example.net", "spam1@example.net", JOE))
        .recipients
    )
    verdicts = [(each.state, each.provider_code, each.retryable, each.retry_after, each.suppress) for each in results]
    assert verdicts == [
        (FAILED, "5.1.1", False, None, SuppressReason.HARD_BOUNCE),
        (SENT, "2.0.0", False, None, None),
        (FAILED, "5.2.2", False, None, None),
        (FAILED, "4.7.1", True, 60.0, None),
        (FAILED, "5.7.1", False, None, None),
        (SENT, "2.0.0", False, None, None),
    ]
    assert results[0].detail == "550 5.1.1 <bad1@example.net>: user unknown"
    assert [row["to"] for row in hub.arrived()] == [JANE, JOE]


def test_one_envelope_to_several_keeps_their_verdicts_apart(hub: Hub) -> None:
    envelope = Envelope(
        to=(Target(JANE), Target("bad1@example.net")),
        cc=(Target("full1@example.net"),),
        bcc=(Target(JOE),),
        message_id="a@b.example",
    )
    results = hub.adapter().send(message(envelopes=(envelope,))).recipients
    assert states(results) == [SENT, FAILED, FAILED, SENT]
    assert [row["to"] for row in hub.arrived()] == [JANE, JOE]
    assert len(hub.recorder.of("MAIL")) == 1, "no notes, so no return addresses: one transaction"


def test_with_notes_each_copy_of_an_envelope_has_its_own_return_address(hub: Hub) -> None:
    envelope = Envelope(to=(target(JANE, "rcp_1"), target(JOE, "rcp_2")), bcc=(target(ANN, "rcp_3"),), message_id="a@b.example")
    assert states(hub.adapter().send(message(envelopes=(envelope,))).recipients) == [SENT] * 3
    rows = hub.arrived()
    assert [(row["to"], row["ref"]) for row in rows] == [(JANE, "rcp_1"), (JOE, "rcp_2"), (ANN, "rcp_3")]
    assert len({row["return_path"] for row in rows}) == 3


def test_a_greylisted_one_is_taken_on_the_second_try(hub: Hub) -> None:
    (first,) = hub.adapter().send(message("grey1@example.net")).recipients
    assert (first.state, first.retryable) == (FAILED, True)
    assert (hub.arrived(), hub.recorder.marks) == ([], 0)
    (second,) = hub.adapter().send(message("grey1@example.net")).recipients
    assert second.state is SENT
    assert len(hub.arrived()) == 1


def test_an_answer_lost_after_the_text_is_unknown(hub: Hub) -> None:
    with pytest.raises(OutcomeUnknown) as caught:
        hub.adapter().send(message("drop1@example.net"))
    assert not caught.value.retryable
    assert hub.recorder.marks == 1
    assert [row["to"] for row in hub.arrived()] == ["drop1@example.net"]
    lost = hub.recorder.exchanges[-1]
    assert lost.status_code is None
    assert lost.response_body == "MAIL: 250 2.1.0 Ok\nRCPT drop1@example.net: 250 2.1.5 Ok"
    assert lost.error == "The message was sent, but the mail server did not answer (SMTPServerDisconnected)."
    assert hub.recorder.finished_count == len(hub.recorder.exchanges)


def test_a_batch_that_breaks_in_the_middle_leaves_one_unknown_and_the_rest_for_later(hub: Hub) -> None:
    results = hub.adapter().send(message(JANE, "bad1@example.net", "drop1@example.net", JOE, ANN)).recipients
    assert states(results) == [SENT, FAILED, UNKNOWN, FAILED, FAILED]
    assert [(each.retryable, each.retry_after) for each in results] == [
        (False, None), (False, None), (False, None), (True, 60.0), (True, 60.0),
    ]  # fmt: skip
    assert [row["to"] for row in hub.arrived()] == [JANE, "drop1@example.net"]


def test_a_refused_recipient_beside_a_lost_answer_stays_refused(hub: Hub) -> None:
    envelope = Envelope(to=(Target("drop1@example.net"), Target("bad1@example.net")), message_id="a@b.example")
    results = hub.adapter().send(message(envelopes=(envelope,))).recipients
    assert states(results) == [UNKNOWN, FAILED]
    assert results[1].suppress is SuppressReason.HARD_BOUNCE
    assert not results[0].retryable


def test_a_server_that_hangs_up_at_a_recipient(hub: Hub) -> None:
    results = hub.adapter().send(message(JANE, "busy1@example.net", JOE)).recipients
    assert states(results) == [SENT, FAILED, FAILED]
    assert [each.retryable for each in results] == [False, True, True]
    assert (results[1].provider_code, results[1].detail) == ("4.3.2", "421 4.3.2 Service shutting down")
    assert [row["to"] for row in hub.arrived()] == [JANE]


@pytest.mark.parametrize(
    ("fault", "error"),
    [("refuse", ProviderUnavailable), ("error_500", ProviderUnavailable), ("error_429", RateLimited)],
)
def test_faults_before_the_text_send_nothing(hub: Hub, fault: str, error: type[Exception]) -> None:
    hub.fault(fault)
    with pytest.raises(error):
        hub.adapter().send(message())
    assert (hub.arrived(), hub.recorder.marks) == ([], 0)
    assert states(hub.adapter().send(message()).recipients) == [SENT]


@pytest.mark.parametrize("fault", ["drop_after_accept", "error_500_after"])
def test_faults_after_the_text_leave_it_unknown(hub: Hub, fault: str) -> None:
    hub.fault(fault)
    with pytest.raises(OutcomeUnknown):
        hub.adapter().send(message())
    assert len(hub.arrived()) == 1


def test_a_slow_answer_is_waited_for_and_no_longer_than_that(hub: Hub) -> None:
    hub.fault("delay", seconds=0.2)
    assert states(hub.adapter().send(message()).recipients) == [SENT]
    hub.fault("delay", seconds=30)
    with pytest.raises(OutcomeUnknown):
        make_adapter(hub.view(), hub.recorder, timeout=(5.0, 2.0)).send(message())
    assert hub.recorder.exchanges[-1].timed_out
    wait_for(lambda: len(hub.arrived()) == 2)


def test_wrong_logins(hub: Hub) -> None:
    for changes in ({"password": "wrong" * 5}, {"username": "wrong"}):
        with pytest.raises(AuthenticationFailed) as caught:
            hub.adapter(**changes).send(message())
        assert caught.value.provider_code == "5.7.8"
    with pytest.raises(AuthenticationFailed) as caught:
        hub.adapter(username=None, password=None).send(message())
    assert caught.value.provider_code == "5.7.0"
    assert (hub.arrived(), hub.recorder.marks) == ([], 0)


def test_the_connection_test_says_who_is_signed_in_and_sends_nothing(hub: Hub) -> None:
    result = hub.adapter().test_connection()
    assert (result.ok, result.status) == (True, "ok")
    assert result.detail.startswith("Signed in as hub@school.example at 127.0.0.1:")
    assert "No bounce domain" not in result.detail
    assert "No bounce domain" in hub.adapter(bounce_domain=None, bounce_secret=None).test_connection().detail
    assert (hub.arrived(), hub.recorder.marks) == ([], 0)
    assert hub.recorder.of("MAIL") == []


def test_no_secret_and_no_text_is_in_the_log(hub: Hub) -> None:
    hub.adapter().send(message(text="a very private matter"))
    with pytest.raises(AuthenticationFailed):
        hub.adapter(password="wrong-canary-0042").send(message())
    logged = json.dumps([[e.url, e.request_headers, e.request_body, e.response_body, e.error] for e in hub.recorder.exchanges])
    for secret in (*hub.account.secrets.values(), "wrong-canary-0042", "a very private matter"):
        assert secret not in logged
    (sent,) = hub.recorder.of("MAIL")
    assert sent.request_headers["To"] == JANE
    assert sent.status_code == 250
    assert f"RCPT {JANE}: 250 2.1.5 Ok\nDATA: 250 2.0.0 Ok: queued as" in sent.response_body


# --- bounces


def events(hub: Hub, body: bytes, **changes: Any) -> list[MessageReported]:
    webhook = SmtpWebhook()
    request = InboundRequest("POST", "bounce", {}, {"content-type": "message/rfc822"}, body)
    webhook.verify(request, hub.view(**changes), by_token=True)
    found = webhook.parse(request, Origin(tenant_id=1, config_id=1, trust=Trust.SIGNED, receipt_id=7))
    assert all(isinstance(each, MessageReported) for each in found)
    return [each for each in found if isinstance(each, MessageReported)]


def test_a_bounce_comes_back_to_its_recipient(hub: Hub) -> None:
    with Receiver() as receiver:
        hub.control("PUT", "/accounts/school", {"webhook_url": f"{receiver.url}/bounce"})
        hub.adapter().send(message(target("bounce1@example.net", "rcp_9"), target(JANE, "rcp_8")))
        (received,) = receiver.wait(1)
    assert received.headers["content-type"] == "message/rfc822"
    (event,) = events(hub, received.body)
    assert (event.ref, event.address, event.state) == ("rcp_9", "bounce1@example.net", MessageState.BOUNCED)
    assert (event.provider_ref, event.provider_status) == ("msg_1.0@school.example", "failed 5.1.1")
    assert (event.suppress, event.channel) == (SuppressReason.HARD_BOUNCE, "email")
    assert [row["state"] for row in hub.arrived()] == ["bounced", "delivered"]
    with pytest.raises(BadSignature):
        events(hub, received.body, bounce_secret="another-secret-0000")


def test_an_early_bounce_comes_before_the_answer(hub: Hub) -> None:
    with Receiver() as receiver:
        hub.control("PUT", "/accounts/school", {"webhook_url": receiver.url})
        hub.fault("early_callback")
        hub.adapter().send(message(target("bounce1@example.net", "rcp_9")))
        assert len(receiver.received) == 1
    assert events(hub, receiver.received[0].body)[0].ref == "rcp_9"


@pytest.mark.parametrize(
    ("status", "state", "engagement", "suppress"),
    [
        ("failed", MessageState.BOUNCED, None, SuppressReason.HARD_BOUNCE),
        ("delayed", None, Engagement.DEFERRED, None),
        ("delivered", MessageState.DELIVERED, None, None),
        ("relayed", MessageState.SENT, None, None),
        ("complaint", MessageState.COMPLAINED, None, SuppressReason.COMPLAINT),
        ("expanded", "nothing", None, None),
        ("auto_reply", "nothing", None, None),
    ],
)
def test_later_reports(hub: Hub, status: str, state: Any, engagement: Any, suppress: Any) -> None:
    with Receiver() as receiver:
        hub.control("PUT", "/accounts/school", {"webhook_url": receiver.url})
        hub.adapter().send(message(target(JANE, "rcp_5")))
        hub.control("POST", "/report", {"id": hub.arrived()[0]["id"], "status": status})
        (received,) = receiver.wait(1)
    found = events(hub, received.body)
    if state == "nothing":
        assert found == []
    else:
        assert [(e.ref, e.address, e.state, e.engagement, e.suppress) for e in found] == [
            ("rcp_5", JANE, state, engagement, suppress)
        ]


def test_a_full_mailbox_bounces_without_suppression(hub: Hub) -> None:
    with Receiver() as receiver:
        hub.control("PUT", "/accounts/school", {"webhook_url": receiver.url})
        hub.adapter().send(message(target(JANE, "rcp_5")))
        said = {"id": hub.arrived()[0]["id"], "status": "failed", "code": "5.2.2", "detail": "552 5.2.2 over quota"}
        hub.control("POST", "/report", said)
        (received,) = receiver.wait(1)
    (event,) = events(hub, received.body)
    assert (event.state, event.suppress, event.detail) == (MessageState.BOUNCED, None, "552 5.2.2 over quota")


# --- the simulator itself


def test_wrong_controls_change_nothing(hub: Hub) -> None:
    hub.control("PUT", "/accounts/nobody", {"webhook_url": "http://127.0.0.1:1/"}, status=404)
    hub.control("PUT", "/accounts/school", {"webhook_url": "ftp://x"}, status=400)
    hub.control("PUT", "/accounts/school", {"color": "red"}, status=400)
    hub.control("POST", "/report", {"id": "nothing", "status": "failed"}, status=404)
    hub.adapter().send(message())
    row = hub.arrived()[0]
    hub.control("POST", "/report", {"id": row["id"], "status": "failed"}, status=400)
    hub.control("PUT", "/accounts/school", {"webhook_url": "http://127.0.0.1:1/"})
    hub.control("POST", "/report", {"id": row["id"], "status": "exploded"}, status=400)
    hub.control("POST", "/report", {"id": row["id"], "status": "failed", "code": "no"}, status=400)
    assert hub.arrived() == [row]
    assert hub.control("GET", "/callbacks") == []


def test_the_control_page_shows_the_mailbox(hub: Hub) -> None:
    hub.adapter().send(message(subject="Fees <b>due</b>"))
    page = requests.get(f"{hub.running.url}/live", timeout=5).text
    assert "Fees &lt;b&gt;due&lt;/b&gt;" in page
    assert JANE in page
    assert "<option>send</option>" in requests.get(f"{hub.running.url}/", timeout=5).text


def test_the_other_account_is_another_login(simulator: running_simulators, tmp_path: Path) -> None:
    studio = Hub(simulator, tmp_path, 1)
    assert "hub@studio.example" in studio.adapter().test_connection().detail
    school = Hub(simulator, tmp_path, 0)
    with pytest.raises(AuthenticationFailed):
        studio.adapter(password=school.account.secrets["password"]).test_connection()


def test_mail_and_port_outlive_the_server(tmp_path: Path) -> None:
    from integrations.providers.smtp.simulator import SmtpSimulator

    ports = []
    for _ in range(2):
        with running_simulators([SmtpSimulator], state_dir=tmp_path) as running:
            hub = Hub(running, tmp_path)
            ports.append(requests.get(f"{running.url}/{SLUG}/server", timeout=5).json()["port"])
            hub.adapter().send(message())
    assert ports[0] == ports[1]
    with running_simulators([SmtpSimulator], state_dir=tmp_path) as running:
        assert len(Hub(running, tmp_path).arrived()) == 2


def test_nobody_there_is_unavailable(hub: Hub) -> None:
    hub.running.simulator(SLUG).end()
    with pytest.raises(ProviderUnavailable):
        hub.adapter().send(message())
    assert hub.recorder.marks == 0


def test_a_message_too_large_for_the_server(hub: Hub) -> None:
    with pytest.raises(InvalidRequest) as caught:
        hub.adapter().send(message(text="x" * 70 + "\n", html="<p>" + "y" * 76 + "\n" * 1 + ("z" * 76 + "\n") * 150_000))
    assert caught.value.attr == "message"
    assert (hub.arrived(), hub.recorder.marks) == ([], 0)
