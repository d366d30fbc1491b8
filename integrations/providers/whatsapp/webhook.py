"""What Meta sends: statuses of messages and messages of customers, several in one body, signed with the app's secret.

Meta repeats what was not taken for up to 7 days, in no order, and signs no time: a replay is absorbed by its facts.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from integrations.contracts.adapter import ConfigView
from integrations.contracts.inbound import (
    Ack,
    BadSignature,
    FixedPath,
    InboundEvent,
    InboundRequest,
    Locator,
    MalformedWebhook,
    MessageReported,
    Origin,
    Trust,
    ValidationAnswer,
    Verified,
    WebhookAdapter,
)
from integrations.contracts.messaging import MessageState
from integrations.contracts.wire import Wire, WireError
from integrations.providers.whatsapp.codes import STATES, problem_of
from integrations.providers.whatsapp.reading import entries, moment, short
from integrations.providers.whatsapp.received import CHANNEL, received

EVENTS = "events"
ACCOUNT = "whatsapp_business_account"
MESSAGES = "messages"
LOCATORS = 20


@dataclass(frozen=True, slots=True)
class _Change:
    """One change of a body. `number` is the id of the tenant's phone number, '' where the change is about none."""

    account: str
    field: str
    value: Wire
    number: str

    def parts(self, name: str) -> list[Wire]:
        """Return the entries of a list in the value, none where it is no list."""
        return entries(self.value.get(name)) if self.field == MESSAGES else []


class WhatsAppWebhook(WebhookAdapter):
    """One URL for each app, or one for each phone number (an override, set by `register_webhooks`)."""

    provider = "whatsapp"
    fixed_paths = (FixedPath("/webhooks/whatsapp", EVENTS, ("GET", "POST")),)
    purposes = frozenset({EVENTS})
    config_purposes = {EVENTS: "Messages and their statuses: App > WhatsApp > Configuration > Callback URL, field `messages`"}

    def locate(self, request: InboundRequest) -> Sequence[Locator]:
        """Return the tenant's phone number IDs, then the messages, then the accounts. Nothing here is believed before `verify`.

        For Meta's question on the shared path: a verify token of the form `<phone number ID>.<verify token>`.
        """
        if request.method == "GET":
            number, _, rest = request.query.get("hub.verify_token", "").partition(".")
            return (Locator("phone_number_id", number),) if rest and re.fullmatch(r"[0-9]{5,30}", number) else ()
        changes = _changes(request)
        found = [Locator("phone_number_id", change.number) for change in changes if change.number]
        for change in changes:
            found += [Locator("message", ref) for each in change.parts("statuses") if (ref := short(each, "id"))]
        # What is told of the account alone (a template's new status) has neither.
        found += [Locator("waba_id", change.account) for change in changes if change.account]
        return tuple(dict.fromkeys(found))[:LOCATORS]

    def challenge(self, request: InboundRequest, config: ConfigView | None) -> Ack | None:
        """Answer `GET ?hub.mode=subscribe&hub.verify_token=...&hub.challenge=...` with the challenge, as plain text."""
        if request.method != "GET":
            return None
        own = str(config.get("verify_token") or "") if config is not None else ""
        given = request.query.get("hub.verify_token", "")
        if config is None or not own or request.query.get("hub.mode") != "subscribe":
            raise BadSignature("this is no question that can be answered here")
        fitting = (own, f"{config.get('phone_number_id')}.{own}")
        if not any(hmac.compare_digest(given.encode(), each.encode()) for each in fitting):
            raise BadSignature("the verify token does not fit")
        challenge = request.query.get("hub.challenge", "")
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", challenge):
            raise MalformedWebhook("hub.challenge has not the documented form")
        return Ack(body=challenge.encode(), content_type="text/plain")

    def verify(self, request: InboundRequest, config: ConfigView | None, *, by_token: bool) -> Verified:
        """Check `X-Hub-Signature-256` on the raw body, then that it is about this config's number.

        An app's secret may serve several tenants' numbers: what customers write to another number is refused here, and so is
        a body that is about other numbers only.
        """
        secret = str(config.get("app_secret") or "") if config is not None else ""
        if config is None or not secret:
            raise BadSignature("there is no app secret to check this with")
        expected = "sha256=" + hmac.new(secret.encode(), request.body, hashlib.sha256).hexdigest()
        given = next((value for name, value in request.headers.items() if name.lower() == "x-hub-signature-256"), "")
        if not hmac.compare_digest(given.encode(), expected.encode()):
            raise BadSignature("the signature does not fit")
        changes = _changes(request)
        own = str(config.get("phone_number_id"))
        numbers = {change.number for change in changes if change.number}
        writing = {change.number for change in changes if change.parts("messages")}
        if (numbers and own not in numbers) or not writing <= {own}:
            raise BadSignature("it is about another phone number")
        facts = sorted({fact for change in changes for fact in _facts(change)})
        # A body that tells nothing (a template's new status, an account's trouble) is the same only if it is the very same.
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest() if facts else request.digest()
        return Verified(Trust.SIGNED, f"{EVENTS}:{key}", _type(changes))

    def parse(self, request: InboundRequest, origin: Origin) -> Sequence[InboundEvent]:
        """Return a fact for each status and each customer's message; entries that can't be read are left out."""
        events: list[InboundEvent] = []
        for change in _changes(request):
            reported = origin.fields(self.provider, "messages.status")
            statuses = (_report(each, reported) for each in change.parts("statuses"))
            events += [event for event in statuses if event is not None]
            written = origin.fields(self.provider, "messages.message")
            messages = (received(each, change.value, written) for each in change.parts("messages"))
            events += [event for event in messages if event is not None]
        return tuple(events)

    def ack(self, request: InboundRequest, answer: ValidationAnswer | None = None) -> Ack:
        return Ack(status=200, body=b"", content_type="text/plain")


def _changes(request: InboundRequest) -> list[_Change]:
    """Return the changes of a body whose outer shape is Meta's; a change of another shape is left out."""
    wire = request.json()
    try:
        if wire["object"].text(max_length=100) != ACCOUNT:
            raise MalformedWebhook(f"object is not {ACCOUNT}")
        entries = list(wire["entry"].items())
    except WireError as error:
        raise MalformedWebhook(str(error)) from None
    return [change for entry in entries for change in _of_entry(entry)]


def _of_entry(entry: Wire) -> Iterator[_Change]:
    for each in entries(entry.get("changes")):
        field, value = short(each, "field"), each.get("value")
        if value is None or not isinstance(value.raw, Mapping):
            continue
        metadata = value.get("metadata")
        yield _Change(short(entry, "id"), field, value, "" if metadata is None else short(metadata, "phone_number_id"))


def _facts(change: _Change) -> Iterator[tuple[str, ...]]:
    for each in change.parts("statuses"):
        if short(each, "id"):
            yield ("status", short(each, "id"), short(each, "status"), short(each, "recipient_id"))
    for each in change.parts("messages"):
        if short(each, "id"):
            yield ("message", short(each, "id"))


def _type(changes: Sequence[_Change]) -> str:
    for change in changes:
        if change.parts("statuses"):
            return "messages.status"
        if change.parts("messages"):
            return "messages.message"
    return changes[0].field[:80] if changes else ""


def _report(each: Wire, common: Mapping[str, object]) -> MessageReported | None:
    ref, status, digits = short(each, "id"), short(each, "status"), short(each, "recipient_id")
    if not ref or not status:
        return None
    state = STATES.get(status)
    detail, suppress = "", None
    if state is MessageState.FAILED:
        code, said = _first_error(each)
        problem = None if code is None else problem_of(code)
        detail = f"{problem.detail} ({code})" if problem is not None else said
        suppress = problem.suppress if problem is not None else None
    note = short(each, "biz_opaque_callback_data")
    return MessageReported(
        **common,  # type: ignore[arg-type]
        provider_ref=ref,
        address=f"+{digits}" if re.fullmatch(r"[0-9]{5,20}", digits) else "",
        state=state,
        provider_status=status,
        detail=detail,
        suppress=suppress,
        ref=note if re.fullmatch(r"[0-9a-z_]{1,64}", note) else "",
        channel=CHANNEL,
        occurred_at=moment(each),
    )


def _first_error(each: Wire) -> tuple[int | None, str]:
    """Return code and text of the first error of a status; both empty where there is none that can be read."""
    error = next(iter(entries(each.get("errors"))), Wire({}))
    try:
        code = error["code"].integer()
    except WireError:
        return None, ""
    data = error.get("error_data")
    details = "" if data is None else short(data, "details")
    text = details or short(error, "message") or short(error, "title")
    return code, f"{' '.join(text.split())[:200]} ({code})".strip()
