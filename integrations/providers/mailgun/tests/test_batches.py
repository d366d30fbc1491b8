"""Several e-mails in one send: which share a call, and what one call's fate means for the others."""

from __future__ import annotations

import json
from datetime import timedelta

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
from integrations.contracts.messaging import MessageState, RecipientResult, SendResult, Target
from integrations.providers.mailgun.adapter import MailgunEmail
from integrations.providers.mailgun.tests.support import (
    ANN,
    JANE,
    NOW,
    TOM,
    NoTokens,
    Scripted,
    adapter,
    as_described,
    email,
    envelope,
    fixture,
    view,
)

QUEUED = fixture("send__queued.json")
CALL_ID = "20261121081500.1.9F2C@mg.tenant.example"


@pytest.fixture
def http() -> Scripted:
    return Scripted()


def test_a_batch_is_one_call_in_which_nobody_sees_the_others(http: Scripted) -> None:
    http.answer(QUEUED)
    first = envelope(JANE, "mr_1", headers={"List-Unsubscribe": "<https://hub.example/u/1>"})
    second = envelope(TOM, "mr_2", headers={"list-unsubscribe": "<https://hub.example/u/2>"}, subject="Tom: 1042")
    result = adapter(http).send(email(first, second, headers={"X-Kind": "news", "List-Unsubscribe": "<x>"}))
    fields = http.fields()
    assert fields["to"] == [JANE, TOM]
    assert json.loads(fields["recipient-variables"][0]) == {
        JANE: {
            "hub_ref": "mr_1",
            "hub_mid": "mr_1@hub.example",
            "hub_subject": "Receipt 1042",
            "header_0": "<https://hub.example/u/1>",
        },
        TOM: {
            "hub_ref": "mr_2",
            "hub_mid": "mr_2@hub.example",
            "hub_subject": "Tom: 1042",
            "header_0": "<https://hub.example/u/2>",
        },
    }
    assert fields["subject"] == ["%recipient.hub_subject%"]
    assert fields["h:List-Unsubscribe"] == ["%recipient.header_0%"]
    assert fields["h:X-Kind"] == ["news"]
    assert fields["h:Message-Id"] == ["<%recipient.hub_mid%>"]
    assert fields["v:hub_ref"] == ["%recipient.hub_ref%"]
    assert result == SendResult(
        (
            RecipientResult(JANE, MessageState.SENT, provider_ref="mr_1@hub.example"),
            RecipientResult(TOM, MessageState.SENT, provider_ref="mr_2@hub.example"),
        ),
        CALL_ID,
    )
    as_described(http)


@pytest.mark.parametrize(
    "second",
    [
        envelope(TOM, "mr_2", text="Dear Tom"),
        envelope(TOM, "mr_2", html="<p>Dear Tom</p>"),
        envelope(TOM, "mr_2", cc=(Target(ANN, "mr_3"),)),
        envelope(TOM, "mr_2", bcc=(Target(ANN, "mr_3"),)),
        envelope(TOM, "mr_2", to=(Target(TOM, "mr_2"), Target(ANN, "mr_3"))),
        envelope(TOM, "mr_2", headers={"X-Only": "here"}),
        envelope(TOM, "mr_2", subject="%recipient.hub_mid%"),
        envelope(TOM, "mr_2", message_id=""),
        envelope(JANE.upper(), "mr_2"),
    ],
)
def test_what_can_not_share_a_call_gets_its_own(http: Scripted, second: Envelope) -> None:
    http.answer(QUEUED)
    http.answer(QUEUED)
    result = adapter(http).send(email(envelope(), second))
    assert [http.fields(number)["to"][0] for number in range(2)] == [JANE, second.to[0].address]
    assert all("recipient-variables" not in http.fields(number) for number in range(2))
    assert [each.state for each in result.recipients] == [MessageState.SENT] * len((JANE, *second.recipients))
    assert result.provider_ref == ""
    as_described(http)


THREE = (envelope(JANE, "mr_1", text="a"), envelope(TOM, "mr_2", text="b"), envelope(ANN, "mr_3", text="c"))


def outcomes(result: SendResult) -> list[tuple[str, MessageState, bool]]:
    return [(each.address, each.state, each.retryable) for each in result.recipients]


def test_a_bad_address_of_a_batch_costs_itself_alone(http: Scripted) -> None:
    http.answer(fixture("send__bad_address.json"), 400)
    http.answer(QUEUED)
    http.answer(fixture("send__bad_address.json"), 400)
    http.answer(QUEUED)
    result = adapter(http).send(email(envelope(JANE, "mr_1"), envelope(TOM, "mr_2"), envelope(ANN, "mr_3")))
    assert [http.fields(number)["to"] for number in range(4)] == [[JANE, TOM, ANN], [JANE], [TOM], [ANN]]
    assert outcomes(result) == [
        (JANE, MessageState.SENT, False),
        (TOM, MessageState.FAILED, False),
        (ANN, MessageState.SENT, False),
    ]
    assert (result.recipients[1].provider_code, "not a valid address" in result.recipients[1].detail) == ("400", True)


def test_a_refusal_of_what_all_share_is_one_of_the_whole_message(http: Scripted) -> None:
    http.answer({"message": "from parameter is missing."}, 400)
    with pytest.raises(InvalidRequest) as caught:
        adapter(http).send(email(*THREE))
    assert (caught.value.attr, len(http.calls)) == ("from", 1)


def test_an_unknown_call_stops_those_after_it(http: Scripted) -> None:
    http.answer(QUEUED)
    http.replies.append(OutcomeUnknown("no answer came back"))
    result = adapter(http).send(email(*THREE))
    assert outcomes(result) == [
        (JANE, MessageState.SENT, False),
        (TOM, MessageState.UNKNOWN, False),
        (ANN, MessageState.FAILED, True),
    ]
    assert len(http.calls) == 2


def test_an_unknown_first_call_of_several_leaves_the_others_to_be_tried_again(http: Scripted) -> None:
    http.answer(b"", 500)
    result = adapter(http).send(email(*THREE))
    assert [state for _address, state, _again in outcomes(result)] == [
        MessageState.UNKNOWN,
        MessageState.FAILED,
        MessageState.FAILED,
    ]
    assert [again for _address, _state, again in outcomes(result)] == [False, True, True]


def test_an_unknown_batch_is_unknown_for_all(http: Scripted) -> None:
    http.replies.append(OutcomeUnknown("no answer came back"))
    with pytest.raises(OutcomeUnknown):
        adapter(http).send(email(envelope(JANE, "mr_1"), envelope(TOM, "mr_2")))
    assert len(http.calls) == 1


def test_a_rate_limit_half_way_leaves_the_rest_for_later(http: Scripted) -> None:
    http.answer(QUEUED)
    http.answer(fixture("send__rate_limit.json"), 429)
    result = adapter(http).send(email(*THREE))
    assert outcomes(result) == [
        (JANE, MessageState.SENT, False),
        (TOM, MessageState.FAILED, True),
        (ANN, MessageState.FAILED, True),
    ]
    assert [each.retry_after for each in result.recipients] == [None, 120.0, 120.0]


@pytest.mark.parametrize("error", [RateLimited("wait"), ProviderUnavailable("down"), AuthenticationFailed("key")])
def test_a_problem_at_the_start_is_one_of_the_whole_message(http: Scripted, error: ProviderError) -> None:
    http.replies.append(error)
    with pytest.raises(type(error)):
        adapter(http).send(email(*THREE))
    assert len(http.calls) == 1


def test_calls_that_take_long_leave_the_rest_for_the_next_try(http: Scripted) -> None:
    for _ in range(2):
        http.answer(QUEUED)
    times = iter([NOW, NOW + timedelta(seconds=45), NOW + timedelta(seconds=46)])
    slow = MailgunEmail(config=view(), http=http, tokens=NoTokens(), clock=lambda: next(times))
    assert outcomes(slow.send(email(*THREE))) == [
        (JANE, MessageState.SENT, False),
        (TOM, MessageState.SENT, False),
        (ANN, MessageState.FAILED, True),
    ]
    assert len(http.calls) == 2
