"""Bodies of every wrong shape: 400 with a text, never another error, and nothing of the body in the text."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integrations.contracts.inbound import InboundEvent, MalformedWebhook, Verified
from integrations.providers.mpesa.tests.support import config, fixture, inbound, origin
from integrations.providers.mpesa.webhook import MpesaWebhook

webhook = MpesaWebhook()
READ_BY = {
    "c": "stk_callback_paid",
    "v": "c2b_validation",
    "n": "c2b_confirmation",
    "r": "result_reversal",
    "s": "result_status",
    "t": "timeout",
    "u": "timeout",
}
PURPOSES = sorted(READ_BY)

RAW = {
    "empty": b"",
    "text": b"not json",
    "binary": b"\x00\xff\xfe",
    "list": b"[]",
    "number": b"1",
    "null": b"null",
    "nan": b"NaN",
    "deep list": b"[" * 200_000,
    "deep object": b'{"Body":' * 50_000,
    "deep and whole": b"[" * 20_000 + b"]" * 20_000,
    "huge number": b'{"Body":{"stkCallback":{"ResultCode":' + b"9" * 20_000 + b"}}}",
    "form": b"ResultCode=0&CheckoutRequestID=x",
}

# (purpose, path to a member, what it becomes; ... removes it)
WRONG: list[tuple[str, list[Any], Any]] = [
    ("c", ["Body"], ...),
    ("c", ["Body"], []),
    ("c", ["Body", "stkCallback"], None),
    ("c", ["Body", "stkCallback", "CheckoutRequestID"], ...),
    ("c", ["Body", "stkCallback", "CheckoutRequestID"], ""),
    ("c", ["Body", "stkCallback", "CheckoutRequestID"], {"a": 1}),
    ("c", ["Body", "stkCallback", "CheckoutRequestID"], True),
    ("c", ["Body", "stkCallback", "CheckoutRequestID"], "x" * 201),
    ("c", ["Body", "stkCallback", "CheckoutRequestID"], "a\x00b"),
    ("c", ["Body", "stkCallback", "CheckoutRequestID"], "\ud800"),
    ("c", ["Body", "stkCallback", "MerchantRequestID"], ...),
    ("c", ["Body", "stkCallback", "ResultCode"], ...),
    ("c", ["Body", "stkCallback", "ResultCode"], None),
    ("c", ["Body", "stkCallback", "ResultCode"], [0]),
    ("c", ["Body", "stkCallback", "ResultCode"], False),
    ("c", ["Body", "stkCallback", "CallbackMetadata", "Item"], "x"),
    ("c", ["Body", "stkCallback", "CallbackMetadata", "Item"], [1]),
    ("c", ["Body", "stkCallback", "CallbackMetadata", "Item"], [{"Value": 1}]),
    ("c", ["Body", "stkCallback", "CallbackMetadata", "Item"], [{"Name": {"a": 1}, "Value": 1}]),
    ("c", ["Body", "stkCallback", "CallbackMetadata", "Item"], [{"Name": "x"}] * 201),
    ("c", ["Body", "stkCallback", "CallbackMetadata", "Item", 0, "Value"], "lots"),
    ("c", ["Body", "stkCallback", "CallbackMetadata", "Item", 0, "Value"], -1),
    ("c", ["Body", "stkCallback", "CallbackMetadata", "Item", 0, "Value"], 0),
    ("c", ["Body", "stkCallback", "CallbackMetadata", "Item", 0, "Value"], 1e300),
    ("c", ["Body", "stkCallback", "CallbackMetadata", "Item", 0, "Value"], "1E+9"),
    ("c", ["Body", "stkCallback", "CallbackMetadata", "Item", 0, "Value"], "1500.005"),
    ("c", ["Body", "stkCallback", "CallbackMetadata", "Item", 0, "Value"], "\u0661\u0665\u0660\u0660"),
    ("c", ["Body", "stkCallback", "CallbackMetadata", "Item", 0, "Value"], True),
    ("c", ["Body", "stkCallback", "CallbackMetadata", "Item", 0, "Value"], [1500]),
    ("c", ["Body", "stkCallback", "CallbackMetadata", "Item", 1, "Value"], "no receipt"),
    ("c", ["Body", "stkCallback", "CallbackMetadata", "Item", 3, "Value"], {}),
    ("c", ["Body", "stkCallback", "CallbackMetadata", "Item", 4, "Value"], ["x"]),
    ("n", ["TransID"], ...),
    ("n", ["TransID"], None),
    ("n", ["TransID"], ""),
    ("n", ["TransID"], "has blanks"),
    ("n", ["TransAmount"], ...),
    ("n", ["TransAmount"], ""),
    ("n", ["TransAmount"], "0.00"),
    ("n", ["TransAmount"], "-5"),
    ("n", ["TransAmount"], "1,500.00"),
    ("n", ["TransAmount"], "9" * 13),
    ("n", ["BusinessShortCode"], ...),
    ("n", ["BusinessShortCode"], {}),
    ("n", ["BillRefNumber"], ["INV"]),
    ("n", ["BillRefNumber"], "x" * 101),
    ("n", ["FirstName"], {"a": 1}),
    ("n", ["MSISDN"], [254]),
    ("n", ["TransTime"], {}),
    ("v", ["TransID"], ...),
    ("v", ["TransAmount"], "x"),
    ("r", ["Result"], ...),
    ("r", ["Result"], "x"),
    ("r", ["Result", "ResultCode"], ...),
    ("r", ["Result", "ResultCode"], {}),
    ("r", ["Result", "ConversationID"], ...),
    ("r", ["Result", "ConversationID"], ""),
    ("r", ["Result", "OriginatorConversationID"], ["x"]),
    ("r", ["Result", "TransactionID"], {}),
    ("r", ["Result", "ResultParameters", "ResultParameter"], "x"),
    ("r", ["Result", "ResultParameters", "ResultParameter"], [["Key", "Amount"]]),
    ("r", ["Result", "ResultParameters", "ResultParameter"], [{"Key": "Amount"}] * 201),
    ("s", ["Result", "ResultParameters", "ResultParameter"], [{"Key": "TransactionStatus", "Value": {"a": 1}}]),
    ("s", ["Result", "ResultParameters", "ResultParameter"], [{"Key": "ReceiptNo", "Value": True}]),
    ("t", ["Result"], "x"),
    ("t", ["Result", "ConversationID"], ...),
]


def spoiled(purpose: str, path: list[Any], value: Any) -> Any:
    body = copy.deepcopy(fixture(READ_BY[purpose]))
    holder = body
    for step in path[:-1]:
        holder = holder[step]
    if value is ...:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return body


def refused(purpose: str, body: Any) -> str:
    """Assert that every entry refuses the body in the same way; return the text."""
    request = inbound(purpose, body)
    texts = set()
    for call in (
        lambda: webhook.verify(request, config(), by_token=True),
        lambda: webhook.verify(request, None, by_token=False),
        lambda: webhook.locate(request),
        lambda: webhook.parse(request, origin("refund:re_1")),
    ):
        with pytest.raises(MalformedWebhook) as caught:
            call()
        texts.add(str(caught.value))
    (text,) = texts
    return text


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("purpose", PURPOSES)
def test_what_is_no_object_is_refused(purpose: str, name: str) -> None:
    assert refused(purpose, RAW[name])


@pytest.mark.parametrize(("purpose", "path", "value"), WRONG)
def test_wrong_members_are_refused_by_name(purpose: str, path: list[Any], value: Any) -> None:
    text = refused(purpose, spoiled(purpose, path, value))
    assert str(path[0]) in text
    assert text != "no receipt"
    assert len(text) < 200


def test_an_unknown_purpose_is_refused() -> None:
    refused("z", fixture("stk_callback_paid"))


def test_what_nobody_needs_may_have_any_shape() -> None:
    body = fixture("stk_callback_paid")
    body["Body"]["stkCallback"]["CallbackMetadata"]["Item"][2]["Value"] = {"odd": [1, 2]}
    body["Body"]["stkCallback"]["ResultDesc"] = {"odd": 1}
    body["More"] = [None]
    (event,) = webhook.parse(inbound("c", body), origin())
    assert getattr(event, "receipt", None) == "UGA3K7P2QX"


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for step, inner in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from places(inner, (*path, step))


@settings(max_examples=300, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_change_gives_events_or_a_refusal(data: st.DataObject) -> None:
    purpose = data.draw(st.sampled_from(PURPOSES))
    body = fixture(READ_BY[purpose])
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(body)) or [("new",)]))
        holder = body
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = data.draw(trees)
        if not isinstance(body, dict):
            break
    raw = json.dumps(body).encode()
    try:
        verified = webhook.verify(inbound(purpose, raw), config(), by_token=True)
    except MalformedWebhook:
        return
    assert isinstance(verified, Verified)
    token_object = data.draw(st.sampled_from(["", "payment:pay_1", "refund:re_1", "receipt:pay_1"]))
    for event in webhook.parse(inbound(purpose, raw), origin(token_object)):
        assert isinstance(event, InboundEvent)


@settings(max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(raw=st.binary(max_size=200), purpose=st.sampled_from(PURPOSES))
def test_any_bytes_are_refused_or_read(raw: bytes, purpose: str) -> None:
    try:
        webhook.parse(inbound(purpose, raw), origin())
    except MalformedWebhook:
        return
