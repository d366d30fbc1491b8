"""What people write: kept once, obeyed where it says stop or start, answered on the way on which it came."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from django.db import connections, transaction
from django_scopes import scope
from rest_framework.test import APIClient

from integrations import events
from integrations.contracts.inbound import MessageReceived, Trust
from integrations.contracts.messaging import Media, SuppressReason
from integrations.events import DomainEvent
from integrations.messaging import inbound
from integrations.messaging.handlers import on_message_received
from integrations.messaging.models import InboundMessage, Message, Recipient, Suppression
from integrations.messaging.safety.screening import suppress
from integrations.models import Config, Membership, Role, Tenant
from integrations.runtime.jobs import Call
from tests.factories import START, MovableClock, make_client, make_config, make_inbound, make_user

pytestmark = pytest.mark.django_db
BASE = "/api/v1/integrations/inbound-messages"
JANE, SCHOOL = "+254711000001", "+254700000042"
Write = Callable[..., InboundMessage]


@pytest.fixture
def twilio(tenant: Tenant) -> Config:
    return make_config(tenant, "twilio", account="school")


@pytest.fixture
def writes(tenant: Tenant, twilio: Config, clock: MovableClock) -> Iterator[Write]:
    """`writes(text, **fields)`: somebody writes to the tenant; its scope is active."""

    def write(text: str = "Hello", **fields: Any) -> InboundMessage:
        given: dict[str, Any] = {
            "provider": "twilio",
            "tenant_id": tenant.pk,
            "config_id": twilio.pk,
            "trust": Trust.SIGNED,
            "receipt_id": 1,
            "channel": "sms",
            "provider_ref": f"SM{InboundMessage.unscoped.count()}",
            "address": JANE,
            "to": SCHOOL,
            "text": text,
            **fields,
        }
        on_message_received(MessageReceived(**given))
        return InboundMessage.objects.order_by("received_at", "id").last() or pytest.fail("nothing was kept")

    with scope(tenant=tenant):
        yield write


@pytest.fixture
def emitted() -> Iterator[list[DomainEvent]]:
    seen: list[DomainEvent] = []
    events.subscribe(DomainEvent, seen.append)
    yield seen
    events._handlers[DomainEvent].remove(seen.append)


def listed() -> list[tuple[str, str, str]]:
    """Return channel, address and reason of everybody who is on the suppression list now."""
    rows = Suppression.objects.filter(released_at=None).order_by("id")
    return [(row.channel, row.address, row.reason) for row in rows]


# --- kept, and told


def test_a_message_is_kept_and_told(writes: Write, twilio: Config, emitted: list[DomainEvent]) -> None:
    sent = START - timedelta(minutes=2)
    media = (("image/jpeg", "https://api.example/2010/Accounts/AC1/Media/ME1"),)
    row = writes("Slip attached", name="Jane", media=media, reply_to="SM99", occurred_at=sent)
    (event,) = emitted
    assert (event.type, event.object_id, event.key) == ("message.received", row.pk, row.pk)
    assert event.object == {
        "id": row.pk,
        "channel": "sms",
        "provider": "twilio",
        "config": twilio.pk,
        "provider_ref": "SM0",
        "from": JANE,
        "to": SCHOOL,
        "name": "Jane",
        "text": "Slip attached",
        "media": [{"index": 0, "type": "image/jpeg"}],
        "opted": None,
        "trusted": True,
        "reply_to": "SM99",
        "received_at": sent.isoformat().replace("+00:00", "Z"),
    }


def test_the_same_message_again_is_one(writes: Write, emitted: list[DomainEvent]) -> None:
    writes("STOP", provider_ref="SM7")
    Suppression.objects.get().delete()
    writes("STOP", provider_ref="SM7")
    assert (InboundMessage.objects.count(), len(emitted), listed()) == (1, 1, [])


def test_messages_without_an_id_are_each_kept(writes: Write) -> None:
    writes(provider_ref="")
    writes(provider_ref="")
    assert InboundMessage.objects.count() == 2


def test_the_same_id_at_another_tenant_is_another_message(writes: Write, other_tenant: Tenant) -> None:
    with scope(tenant=other_tenant):
        make_inbound(other_tenant, provider="twilio", provider_ref="SM7")
    writes(provider_ref="SM7")
    assert InboundMessage.objects.count() == 1


def test_what_no_database_stores_is_left_out(writes: Write) -> None:
    row = writes("a\0b\ud800", name="n" * 300, to="t" * 600, provider_ref="r" * 300)
    assert (row.text, len(row.name), len(row.to), len(row.provider_ref)) == ("ab?", 200, 512, 200)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("254711000001", JANE), ("0711000001", JANE), ("+254711000001", JANE), ("22345", "22345"), ("MPESA", "MPESA")],
)
def test_addresses_are_spelt_as_in_our_own_messages(writes: Write, given: str, kept: str) -> None:
    assert writes(address=given).address == kept


def test_a_clock_that_is_ahead_is_not_believed(writes: Write) -> None:
    assert writes(occurred_at=START + timedelta(hours=5)).received_at == START


# --- stop and start


@pytest.mark.parametrize("channel", ["sms", "whatsapp"])
@pytest.mark.parametrize(
    "text", ["STOP", " stop. ", "Stop All", "\u201cOpt-out!\u201d", "Acha", "sitisha", "ONDOA", "\uff33TOP"]
)
def test_a_word_that_says_stop(writes: Write, text: str, channel: str) -> None:
    row = writes(text, channel=channel)
    assert (row.opted, listed()) == ("out", [(channel, JANE, "opt_out")])


@pytest.mark.parametrize("text", ["", "Please stop the bus at 4", "stop it", "don't stop", "no", "yes"])
def test_other_texts_change_nothing(writes: Write, text: str) -> None:
    assert (writes(text).opted, listed()) == ("", [])


@pytest.mark.parametrize("text", ["START", "unstop", "Subscribe.", "anza"])
def test_a_word_that_says_start(writes: Write, text: str) -> None:
    writes("STOP")
    row = writes(text)
    assert (row.opted, listed()) == ("in", [])
    (history,) = Suppression.objects.all()
    assert (history.released_by, history.reason) == ("recipient", "opt_out")


def test_the_providers_word_comes_before_our_own_reading(writes: Write) -> None:
    writes("Ne plus recevoir", opt_out=True)
    assert listed() == [("sms", JANE, "opt_out")]
    writes("STOP", opt_out=False)
    assert listed() == []


@pytest.mark.parametrize("reason", [SuppressReason.INVALID, SuppressReason.BLOCKED, "manual"])
def test_start_cures_no_other_reason(writes: Write, tenant: Tenant, reason: str) -> None:
    suppress(tenant_id=tenant.pk, channel="sms", address=JANE, reason=reason, detail="said so", source="twilio")
    assert writes("START").opted == "in"
    assert listed() == [("sms", JANE, reason)]


def test_a_stop_is_not_lost_behind_another_reason(writes: Write, tenant: Tenant) -> None:
    """Else releasing the bounce would let somebody be written to who has said no."""
    suppress(tenant_id=tenant.pk, channel="sms", address=JANE, reason="manual", detail="moved away", source="clerk")
    writes("STOP")
    assert listed() == [("sms", JANE, "opt_out")]
    writes("STOP")
    writes("START")
    assert listed() == [("sms", JANE, "manual")]
    (back,) = Suppression.objects.filter(released_at=None)
    assert (back.detail, back.source) == ("moved away", "clerk")


def test_one_channel_says_nothing_of_another(writes: Write) -> None:
    writes("STOP", channel="whatsapp")
    writes("START")
    assert listed() == [("whatsapp", JANE, "opt_out")]


def test_an_unsigned_message_changes_no_list(writes: Write, emitted: list[DomainEvent]) -> None:
    row = writes("STOP", trust=Trust.HINT)
    assert (row.trusted, row.opted, listed()) == (False, "", [])
    assert emitted[0].object["trusted"] is False
    writes("STOP", provider_ref="SM8")
    writes("START", trust=Trust.HINT, opt_out=False)
    assert listed() == [("sms", JANE, "opt_out")]


def test_the_signed_one_counts_though_an_unsigned_one_came_first(writes: Write, emitted: list[DomainEvent]) -> None:
    writes("START", provider_ref="SM7", trust=Trust.HINT, address="+254711000666")
    row = writes("STOP", provider_ref="SM7")
    writes("nonsense", provider_ref="SM7", trust=Trust.HINT)
    assert (InboundMessage.objects.count(), row.trusted, row.address, row.opted) == (1, True, JANE, "out")
    assert listed() == [("sms", JANE, "opt_out")]
    assert len({each.key for each in emitted}) == 2, "the second word is told too"


# --- the API


@pytest.fixture
def staff(writes: Write, tenant: Tenant) -> APIClient:
    return make_client(tenant, Role.STAFF)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["third", "STOP", "first"]),
        ("?ordering=received_at", ["first", "STOP", "third"]),
        ("?from=%2B254711000001", ["third", "first"]),
        ("?from=+254711000001", ["third", "first"]),
        ("?from=254711000002", ["STOP"]),
        ("?to=254700000042", ["STOP", "first"]),
        ("?channel=whatsapp", ["third"]),
        ("?provider=nobody", []),
        ("?opted=out", ["STOP"]),
        ("?received_after=2026-11-20T09:00:01Z", ["third", "STOP"]),
        ("?received_before=2026-11-20T09:00:01Z", ["first"]),
        ("?page_size=1", ["third"]),
    ],
)
def test_list(staff: APIClient, writes: Write, clock: MovableClock, query: str, found: list[str]) -> None:
    writes("first")
    clock.advance(1)
    writes("STOP", address="+254711000002")
    clock.advance(1)
    writes("third", channel="whatsapp", to="+254700000043")
    answer = staff.get(f"{BASE}{query}")
    assert answer.status_code == 200
    assert [each["text"] for each in answer.json()["results"]] == found


@pytest.mark.parametrize("query", ["?channel=pigeon", "?opted=perhaps", "?received_after=yesterday"])
def test_a_filter_that_is_none_is_a_400(staff: APIClient, query: str) -> None:
    assert staff.get(f"{BASE}{query}").status_code == 400


def test_details(staff: APIClient, writes: Write) -> None:
    row = writes("STOP", name="Jane")
    assert staff.get(f"{BASE}/{row.pk}").json() == inbound.public_object(row)
    assert staff.get(f"{BASE}/inm_00000000000000000000000000").status_code == 404


def test_a_reply_goes_back_on_the_same_way_once(staff: APIClient, writes: Write, twilio: Config) -> None:
    row = writes("When is the meeting?")
    ask = {"path": f"{BASE}/{row.pk}/reply", "data": {"text": "Monday at 9."}, "headers": {"Idempotency-Key": "r-1"}}
    first, again = staff.post(format="json", **ask), staff.post(format="json", **ask)
    assert (first.status_code, again.json()) == (202, first.json())
    message = Message.objects.get()
    assert (message.channel, message.config_id, message.sender, message.body) == ("sms", twilio.pk, SCHOOL, "Monday at 9.")
    assert first.json()["reference"] == {"type": "inbound_message", "id": row.pk}
    assert [each["to"] for each in first.json()["recipients"]] == [JANE]


def test_somebody_who_said_stop_is_not_answered(staff: APIClient, writes: Write) -> None:
    row = writes("STOP")
    answer = staff.post(f"{BASE}/{row.pk}/reply", {"text": "Why?"}, format="json")
    assert answer.json()["recipients"][0]["provider_status"] == "suppressed"


@pytest.mark.parametrize(
    ("fields", "body", "status", "attr"),
    [
        ({}, {}, 400, "text"),
        ({}, {"text": "   "}, 400, "text"),
        ({}, {"text": "a" * 1601}, 400, "text"),
        ({}, {"text": "a" * 4097}, 400, "text"),
        ({}, {"text": "a\0"}, 400, "text"),
        ({}, {"text": "Hi", "to": JANE}, 400, "to"),
        ({"address": "22345"}, {"text": "Hi"}, 400, "to"),
        ({"channel": "email", "address": "a@b.ke"}, {"text": "Hi"}, 422, None),
    ],
)
def test_a_reply_that_can_not_be_sent(
    staff: APIClient, writes: Write, fields: dict[str, Any], body: dict[str, Any], status: int, attr: str | None
) -> None:
    row = writes(**fields)
    answer = staff.post(f"{BASE}/{row.pk}/reply", body, format="json")
    assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (status, attr)
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    ("role", "scopes", "status"),
    [(Role.AUDITOR, None, 403), (Role.STAFF, ["messages:read"], 403), (Role.STAFF, ["messages:write"], 202)],
)
def test_who_may_reply(writes: Write, tenant: Tenant, role: str, scopes: list[str] | None, status: int) -> None:
    row = writes()
    client = make_client(tenant, role, scopes)
    assert client.post(f"{BASE}/{row.pk}/reply", {"text": "Hi"}, format="json").status_code == status
    assert client.get(BASE).status_code == (403 if scopes == ["messages:write"] else 200)


def test_a_person_needs_the_messages_own_channel(writes: Write, tenant: Tenant) -> None:
    row = writes()
    person = make_user("jane", tenant=tenant, role=Role.STAFF)
    client = APIClient()
    client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
    for channels, status in ((["whatsapp"], 403), (["sms"], 202)):
        Membership.objects.update(channels=channels)
        assert client.post(f"{BASE}/{row.pk}/reply", {"text": "Hi"}, format="json").status_code == status


@pytest.mark.parametrize("path", ["", "/inm_00000000000000000000000000", "/inm_00000000000000000000000000/media/0"])
def test_without_credentials(path: str, db: None) -> None:
    assert APIClient().get(f"{BASE}{path}").status_code == 401


def test_a_file_is_handed_on_as_a_download(
    staff: APIClient, writes: Write, twilio: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = writes(media=(("image/svg+xml", "https://files.example/ME1"),))
    calls: list[Call] = []

    def execute(call: Call, *, tenant_id: int) -> Media:
        calls.append(call)
        return Media('a"\r\nX-Evil: 1.svg', "image/svg+xml", content=b"<svg/>")

    monkeypatch.setattr(inbound, "execute", execute)
    answer = staff.get(f"{BASE}/{row.pk}/media/0", headers={"Accept": "image/webp"})
    assert (answer.status_code, answer.content) == (200, b"<svg/>")
    assert answer["Content-Disposition"].startswith("attachment;")
    assert "X-Evil" not in answer.headers
    assert (answer["X-Content-Type-Options"], answer["Content-Type"]) == ("nosniff", "image/svg+xml")
    assert "sandbox" in answer["Content-Security-Policy"]
    (call,) = calls
    # Text messages' files are fetched by the adapter of the same provider that can.
    assert (call.operation, call.arguments, call.config_id) == ("fetch_media", ("https://files.example/ME1",), twilio.pk)


def test_a_file_that_is_none(staff: APIClient, writes: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    row = writes(media=(("image/png", "1"),))
    big = Media("a", "image/png", content=b"a" * (inbound.LARGEST_FILE + 1))
    monkeypatch.setattr(inbound, "execute", lambda call, tenant_id: big)
    assert staff.get(f"{BASE}/{row.pk}/media/1").status_code == 404
    assert staff.get(f"{BASE}/{row.pk}/media/0").status_code == 422
    other = make_inbound(row.tenant, media=[{"type": "image/png", "id": "1"}])
    answer = staff.get(f"{BASE}/{other.pk}/media/0")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "unsupported_operation")


def test_a_reply_is_a_recipient_like_any_other(staff: APIClient, writes: Write) -> None:
    row = writes(address="0711000001")
    staff.post(f"{BASE}/{row.pk}/reply", {"text": "Hi"}, format="json")
    assert Recipient.objects.get().address == JANE


@pytest.mark.django_db(transaction=True)
def test_the_same_message_at_the_same_moment_is_one(tenant: Tenant) -> None:
    """Two workers, two stored webhooks, one message: whoever comes second finds it."""
    config = make_config(tenant, "twilio", account="school")
    together, problems = Barrier(4), []

    def write(address: str) -> None:
        try:
            together.wait(timeout=10)
            with scope(tenant=tenant), transaction.atomic():
                given: dict[str, Any] = {"tenant_id": tenant.pk, "config_id": config.pk, "receipt_id": 1, "provider": "twilio"}
                text: dict[str, Any] = {"channel": "sms", "provider_ref": "SM1", "to": SCHOOL, "text": "STOP"}
                on_message_received(MessageReceived(trust=Trust.SIGNED, address=address, **given, **text))
        except Exception as error:  # noqa: BLE001 told below
            problems.append(error)
        finally:
            connections.close_all()

    threads = [Thread(target=write, args=(address,)) for address in (JANE, JANE, JANE, "+254711000002")]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert problems == []
    assert InboundMessage.unscoped.count() == 1
    assert Suppression.unscoped.count() == 1
