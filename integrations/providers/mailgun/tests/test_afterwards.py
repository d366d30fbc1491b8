"""Asking Mailgun: events, suppression lists, the domain, its webhooks."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integrations.contracts.email import ListedAddress
from integrations.contracts.errors import (
    AuthenticationFailed,
    Conflict,
    InvalidRequest,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from integrations.contracts.messaging import MessageState, SendQuery, SuppressReason, Target
from integrations.providers.mailgun.codes import WEBHOOK_TYPES
from integrations.providers.mailgun.tests.support import DOMAIN, JANE, NOW, Scripted, adapter, event, fixture, view

MID = "mr_1@hub.example"
URL = "https://hub.example/hooks/" + "ab" * 20 + "/events"
SENT_AT = NOW - timedelta(minutes=5)


@pytest.fixture
def http() -> Scripted:
    return Scripted()


def found(kind: str = "delivered", *, mid: str = MID, ref: str = "mr_1", **changes: Any) -> dict[str, Any]:
    data = event(event=kind, **{"user-variables": {"hub_ref": ref} if ref else {}, **changes})
    data["message"]["headers"]["message-id"] = mid
    return data


def events(*items: dict[str, Any]) -> dict[str, Any]:
    return {"items": list(items), "paging": {"next": "x", "previous": "y"}}


def query(**given: Any) -> SendQuery:
    values = {"message_id": MID, "target": Target(JANE, "mr_1"), "sent_at": SENT_AT}
    return SendQuery(**{**values, **given})


def test_find_asks_by_our_message_id(http: Scripted) -> None:
    http.answer(events(found("accepted"), found("delivered")))
    result = adapter(http).find(query())
    (call,) = http.calls
    assert (call["method"], call["url"], call["safe"]) == ("GET", f"https://api.mailgun.net/v3/{DOMAIN}/events", True)
    assert call["operation"] == "status"
    assert call["query"] == {
        "begin": f"{(SENT_AT - timedelta(minutes=10)).timestamp():.6f}",
        "ascending": "yes",
        "limit": "300",
        "message-id": MID,
        "recipient": JANE,
    }
    assert result is not None
    assert (result.address, result.state, result.provider_ref) == (JANE, MessageState.DELIVERED, MID)


@pytest.mark.parametrize(
    ("items", "state", "suppress"),
    [
        ([found("accepted")], "sent", None),
        ([found("failed", severity="temporary")], "sent", None),
        ([found("opened")], "sent", None),
        ([found("delivered"), found("failed")], "bounced", "hard_bounce"),
        ([found("failed"), found("delivered")], "bounced", "hard_bounce"),
        ([found("failed", reason="suppress-complaint")], "failed", "complaint"),
        ([found("delivered"), found("complained"), found("opened")], "complained", "complaint"),
    ],
)
def test_find_says_how_far_it_got(http: Scripted, items: list[dict[str, Any]], state: str, suppress: str | None) -> None:
    http.answer(events(*items))
    http.answer(events())
    result = adapter(http).find(query())
    assert result is not None
    assert len(http.calls) == (2 if state == "sent" else 1)
    assert (result.state, result.suppress) == (MessageState(state), SuppressReason(suppress) if suppress else None)


def test_find_passes_over_others_and_other_tries(http: Scripted) -> None:
    http.answer(events(found(recipient="other@example.net"), found(ref="mr_0")))
    for _ in range(3):
        http.answer(events())
    assert adapter(http).find(query()) is None
    asked = [{name: call["query"].get(name) for name in ("message-id", "recipient", "event")} for call in http.calls]
    assert asked == [
        {"message-id": MID, "recipient": JANE, "event": None},
        {"message-id": MID, "recipient": None, "event": "rejected"},
        {"message-id": None, "recipient": JANE, "event": None},
        {"message-id": None, "recipient": None, "event": "rejected"},
    ]


def test_find_without_a_message_id_goes_by_the_note(http: Scripted) -> None:
    http.answer(events(found(mid="another@x"), found("failed", ref="mr_9")))
    result = adapter(http).find(query(message_id="msg_1"))
    assert result is not None
    assert (result.state, result.provider_ref) == (MessageState.DELIVERED, "another@x")
    assert "message-id" not in http.calls[0]["query"]


def test_find_sees_a_rejected_message(http: Scripted) -> None:
    http.answer(events(found("accepted")))
    rejected = found("rejected", recipient=None, reason=None, severity=None, reject={"reason": "spam", "description": "spam"})
    rejected["message"]["headers"]["to"] = JANE
    http.answer(events(rejected))
    result = adapter(http).find(query())
    assert result is not None
    assert (result.state, result.detail) == (MessageState.FAILED, "550 5.1.1 <jane@example.net>: no such user here spam")


def test_find_goes_on_where_a_page_is_full(http: Scripted) -> None:
    start = SENT_AT.timestamp()
    http.answer(events(*(found(ref="mr_0", timestamp=start + number) for number in range(300))))
    http.answer(events(found(timestamp=start + 400)))
    result = adapter(http).find(query())
    assert result is not None
    assert http.calls[1]["query"]["begin"] == f"{start + 299:.6f}"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"items": 1}', b'{"items": [{}]}', b'{"items": [{"event": "delivered"}]}'])
def test_an_answer_that_can_not_be_read_says_nothing(http: Scripted, body: bytes) -> None:
    http.answer(body)
    with pytest.raises(ProviderUnavailable):
        adapter(http).find(query())


@pytest.mark.parametrize(
    ("status", "error_class"),
    [(401, AuthenticationFailed), (404, AuthenticationFailed), (429, RateLimited), (500, ProviderUnavailable)],
)
def test_http_errors_of_a_question(http: Scripted, status: int, error_class: type[ProviderError]) -> None:
    http.answer(b"{}", status)
    with pytest.raises(ProviderError) as caught:
        adapter(http).find(query())
    assert type(caught.value) is error_class


def listing(name: str, *rows: dict[str, Any], after: str = "") -> dict[str, Any]:
    base = f"https://api.mailgun.net/v3/{DOMAIN}/{name}?page="
    follow = f"{base}next&address={after.replace('@', '%40')}&limit=1000"
    return {"items": list(rows), "paging": {"first": f"{base}first", "last": f"{base}last", "next": follow, "previous": follow}}


def test_the_lists_are_read_page_by_page(http: Scripted) -> None:
    bounce = json.loads(fixture("bounces.json"))["items"][0]
    http.answer(listing("bounces", bounce, after="foo@bar.com"))
    http.answer(listing("bounces", after="foo@bar.com"))
    http.answer(listing("complaints"))
    http.answer(listing("unsubscribes", {"address": "a@b.example", "tags": ["*"]}, after="a@b.example"))
    http.answer(listing("unsubscribes", after="a@b.example"))
    cursor, pages = "", []
    for _ in range(5):
        rows, cursor = adapter(http).suppressed(cursor)
        pages.append(rows)
    assert cursor == ""
    since = datetime(2025, 12, 11, 1, 49, 40, tzinfo=UTC)
    assert pages == [
        (ListedAddress("foo@bar.com", SuppressReason.HARD_BOUNCE, since, "No such mailbox"),),
        (),
        (),
        (ListedAddress("a@b.example", SuppressReason.OPT_OUT),),
        (),
    ]
    assert [call["url"].rpartition("/")[2] for call in http.calls] == [*["bounces"] * 2, "complaints", *["unsubscribes"] * 2]
    assert http.calls[0]["query"] == {"page": "first", "limit": "1000"}
    assert http.calls[1]["query"] == {"page": "next", "address": "foo@bar.com", "limit": "1000"}


def test_a_cursor_of_somebody_else(http: Scripted) -> None:
    with pytest.raises(InvalidRequest):
        adapter(http).suppressed("events?x=1")
    assert http.calls == []


def test_unsuppress_takes_it_off_all_lists(http: Scripted) -> None:
    http.answer({"message": "removed", "address": "a/b+c@x.example"})
    http.answer({"message": "No spam complaints found for this address"}, 404)
    http.answer({"message": "Unsubscribe event for this tag does not exist"}, 404)
    adapter(http).unsuppress("a/b+c@x.example")
    base = f"https://api.mailgun.net/v3/{DOMAIN}"
    assert [(call["method"], call["url"]) for call in http.calls] == [
        ("DELETE", f"{base}/{name}/a%2Fb%2Bc@x.example") for name in ("bounces", "complaints", "unsubscribes")
    ]


def test_unsuppress_in_a_domain_that_is_not_there(http: Scripted) -> None:
    http.answer({"message": "Domain not found"}, 404)
    with pytest.raises(AuthenticationFailed):
        adapter(http).unsuppress(JANE)


def test_the_documented_domain(http: Scripted) -> None:
    http.answer(fixture("domain.json"))
    result = adapter(http, view(region="eu")).test_connection()
    assert (result.ok, result.status, result.detail) == (True, "ok", f"Signed in; {DOMAIN} (EU) is active.")
    (call,) = http.calls
    assert (call["method"], call["url"], call["safe"]) == ("GET", f"https://api.eu.mailgun.net/v4/domains/{DOMAIN}", True)


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"state": "unverified"}, "unverified"), ({"is_disabled": True}, "disabled"), ({"state": None}, "unverified")],
)
def test_a_domain_that_can_not_send(http: Scripted, changes: dict[str, Any], status: str) -> None:
    data = json.loads(fixture("domain.json"))
    data["domain"] |= changes
    http.answer(data)
    result = adapter(http).test_connection()
    assert (result.ok, result.status) == (False, status)


def test_registering_adds_our_url_and_keeps_the_others(http: Scripted) -> None:
    http.answer({"webhooks": {"delivered": {"urls": ["https://foo.com"]}, "opened": {"urls": [URL]}, "clicked": None}})
    missing = [kind for kind in WEBHOOK_TYPES if kind != "opened"]
    for _ in missing:
        http.answer({"message": "done", "webhook": {"urls": [URL]}})
    http.answer({"message": "success", "http_signing_key": "the-signing-key-0123"})
    registration = adapter(http).register_webhooks({"events": URL})
    assert registration.secrets == {"webhook_signing_key": "the-signing-key-0123"}
    assert "the-signing-key" not in registration.detail
    base = f"https://api.mailgun.net/v3/domains/{DOMAIN}/webhooks"
    writes = [(call["method"], call["url"], http.form(number)) for number, call in enumerate(http.calls) if "body" in call]
    assert writes[0] == ("PUT", f"{base}/delivered", [("url", "https://foo.com"), ("url", URL)])
    assert writes[1:] == [("POST", base, [("id", kind), ("url", URL)]) for kind in missing if kind != "delivered"]
    assert http.calls[-1]["url"] == "https://api.mailgun.net/v5/accounts/http_signing_key"


def test_registering_twice_changes_nothing(http: Scripted) -> None:
    http.answer({"webhooks": {kind: {"urls": [URL]} for kind in WEBHOOK_TYPES}})
    http.answer({"message": "Forbidden"}, 403)
    registration = adapter(http).register_webhooks({"events": URL})
    assert [call["method"] for call in http.calls] == ["GET", "GET"]
    assert registration.secrets == {}
    assert "paste it" in registration.detail


def test_registering_where_there_is_no_room_changes_nothing(http: Scripted) -> None:
    data = json.loads(fixture("webhooks.json"))
    data["webhooks"]["complained"]["urls"].append("https://third.example")
    http.answer(data)
    with pytest.raises(Conflict) as caught:
        adapter(http).register_webhooks({"events": URL})
    assert "complained" in caught.value.message
    assert len(http.calls) == 1


def test_registering_without_a_url(http: Scripted) -> None:
    with pytest.raises(InvalidRequest):
        adapter(http).register_webhooks({})
    assert http.calls == []
