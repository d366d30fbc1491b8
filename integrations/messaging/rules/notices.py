"""Telling people by template that something happened, as the tenant's notification rules say.

Rules stand beside what the hub sends by itself: the payer's receipt (SMS and e-mail) goes out whether or not a rule names
`payment.completed`. Nothing of a rule reaches the one who emitted the event: what keeps it from being sent is an alert of kind
`notification_not_sent`, one for each rule, and the payment goes on.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, transaction

from integrations.contracts import clock
from integrations.contracts.errors import Conflict
from integrations.contracts.money import InvalidMoney, Money
from integrations.events import DomainEvent, PayloadErased
from integrations.messaging.models import Channel, Message, NotificationRule
from integrations.models import QueueItem, QueueState, Tenant
from integrations.runtime.alerts import raise_alert
from integrations.runtime.queue import enqueue

logger = structlog.get_logger(__name__)

KIND = "message.notify"
ALERT = "notification_not_sent"
KEY_PREFIX = "rule:"
"""Messages of rules, and no others, have keys that begin like this."""
MAX_ADDRESSES = 100
LONGEST_CHAIN = 20
LONGEST_KEY = 150
PATH = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")

PHONES = ("customer.phone", "payer.phone", "phone")
EMAILS = ("customer.email", "payer.email", "email")
USERS = ("customer.id", "payer.id", "user")
PAYER: dict[str, tuple[str, ...]] = {
    Channel.SMS: PHONES,
    Channel.WHATSAPP: PHONES,
    Channel.EMAIL: EMAILS,
    Channel.PUSH: USERS,
}
"""Where in an event's object the payer's address on a channel stands, best first. `method.phone` is masked and no address."""


def notify(event: DomainEvent) -> None:
    """Queue the messages of the rules for this event, in the caller's transaction. Raises nothing of a rule's own."""
    rules = list(
        NotificationRule.unscoped.filter(
            tenant_id=event.tenant_id, is_active=True, event_type__in=patterns_of(event.type)
        ).order_by("id")
    )
    if not rules or _is_of_rule(event):
        return
    for rule in rules:
        try:
            with transaction.atomic():
                _queue(rule, event)
        except (OperationalError, InterfaceError):
            raise  # the database is away: the emitter's own rows are lost too
        except Exception as error:
            logger.exception("notification_not_queued", rule=rule.pk, event_type=event.type)
            not_sent(rule, event.type, event.object_id, f"it could not be queued ({type(error).__name__})")


def patterns_of(event_type: str) -> list[str]:
    """Return what a rule's `event_type` may say to be about this type: `payment.completed`, `payment.*`, `*`."""
    parts = event_type.split(".")
    return [event_type, *(".".join(parts[:count]) + ".*" for count in range(1, len(parts))), "*"]


def holds(conditions: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    """Tell whether each path has just this value; true and 1 are two values."""
    return all(
        (found := dig(about, path)) == wanted and isinstance(found, bool) == isinstance(wanted, bool)
        for path, wanted in conditions.items()
    )


def dig(about: Any, path: str) -> Any:
    """Return what stands at a dotted path (of a list: at a number), None where nothing does."""
    found = about
    for part in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, Sequence) and not isinstance(found, str) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return found


def values_for(about: Mapping[str, Any], *, event_type: str, tenant: Tenant, payer_name: str = "") -> dict[str, Any]:
    """Return what a rule's template may use: the event's object; `event` and `tenant.name`; for each amount in minor units its
    text (`amount_text`: "KES 1,500.00"); `payer_name`. What the object says itself comes before what is added, but for `event`
    and `tenant`."""
    currency = str(about.get("currency") or "")
    eased: dict[str, Any] = {"currency": currency or tenant.currency}
    for name, value in about.items():
        if name.startswith("amount") and isinstance(value, int) and not isinstance(value, bool):
            try:
                eased[f"{name}_text"] = str(Money(value, currency))
            except InvalidMoney:
                continue  # a template that asks for it is told that it is missing
    name = payer_name or dig(about, "customer.name")
    if name:
        eased["payer_name"] = name
    return {**eased, **about, "event": event_type, "tenant": {"name": tenant.name}}


def message_key(rule: NotificationRule, event_type: str, event_key: str) -> str:
    """Return the key by which the same fact is told once by the same rule."""
    key = f"{KEY_PREFIX}{rule.pk}:{event_type}:{event_key}"
    if len(key) <= LONGEST_KEY:
        return key
    return f"{KEY_PREFIX}{rule.pk}:{hashlib.sha256(key.encode()).hexdigest()}"


def not_sent(rule: NotificationRule, event_type: str, object_id: str, why: str) -> None:
    """Alert the tenant that a rule's message is not sent; counted up while the rule's alert is open."""
    raise_alert(
        tenant_id=rule.tenant_id,
        kind=ALERT,
        subject=f"rule {rule.pk}",
        message=f"“{rule.name}” told nobody of {event_type} {object_id}: {why}".rstrip(),
    )


def _queue(rule: NotificationRule, event: DomainEvent) -> None:
    if not holds(rule.conditions, event.object):
        return
    addresses = _addresses(rule, event)
    if not addresses:
        if rule.audience == NotificationRule.Audience.PAYER:
            # As with receipts: that somebody paid without leaving an address is nobody's mistake.
            logger.info("notification_without_address", rule=rule.pk, object=event.object_id)
        else:
            not_sent(rule, event.type, event.object_id, "no address")
        return
    # More than ids, since no table keeps events for this feature: the object's public form, which the tenant's own systems get
    # as well; of what is private only the addresses that it goes to and the payer's name. Retention purges it with the item.
    payload = {
        "rule": rule.pk,
        "event": event.type,
        "key": message_key(rule, event.type, event.key),
        "object": json.loads(json.dumps(event.object, default=str)),
        "to": addresses[:MAX_ADDRESSES],
        "payer_name": str(event.private.get("payer_name") or ""),
    }
    enqueue(
        tenant_id=rule.tenant_id,
        kind=KIND,
        payload=payload,
        reference=(event.object_type, event.object_id),
        key=payload["key"],
        due_at=clock.now() + timedelta(minutes=rule.delay_minutes),
    )


def erase(event: PayloadErased) -> None:
    """Empty what the queue holds of an event whose payload was erased; what has not been sent of it will not be. Raises
    `Conflict` while a message is being made of it."""
    about = QueueItem.unscoped.filter(tenant_id=event.tenant_id, kind=KIND, reference_id=event.object_id)
    for item in about.filter(reference_type=event.object_type).order_by("pk").select_for_update():
        given = item.payload
        if given["key"] != message_key(NotificationRule(pk=given["rule"]), event.type, event.key):
            continue
        if item.state == QueueState.PROCESSING:
            raise Conflict("A message is being made of the event right now: try again in a moment.")
        item.payload = {**given, "object": {}, "to": [], "payer_name": "", "erased": True}
        item.save(update_fields=["payload"])


def _addresses(rule: NotificationRule, event: DomainEvent) -> list[str]:
    match rule.audience:
        case NotificationRule.Audience.FIXED:
            found: Any = rule.addresses.splitlines()
        case NotificationRule.Audience.FIELD:
            found = dig(event.object, rule.addresses.strip())
        case _:
            found = _payer(rule.channel, event)
    rows = [found] if isinstance(found, str | int) else found if isinstance(found, list | tuple) else []
    texts = (str(each).strip() for each in rows if isinstance(each, str | int) and not isinstance(each, bool))
    return list(dict.fromkeys(text for text in texts if text))


def _payer(channel: str, event: DomainEvent) -> str:
    """Return the address of the payer or customer; of the person who wrote or was written to, where it is about a message."""
    private = "email" if channel == Channel.EMAIL else "user" if channel == Channel.PUSH else "phone"
    candidates = [event.private.get(private), *(dig(event.object, path) for path in PAYER[channel])]
    if event.type.startswith("message.") and PAYER.get(str(event.object.get("channel"))) == PAYER[channel] != USERS:
        candidates.append(event.object.get("from") or event.object.get("to"))
    return next((str(each) for each in candidates if isinstance(each, str | int) and str(each).strip()), "")


def _is_of_rule(event: DomainEvent) -> bool:
    """Tell whether the event is about a message that a rule has sent, or one sent in its place: a rule that told of its own
    messages would never come to an end."""
    if event.object_type != "message":
        return False
    message_id: str | None = event.object_id
    for _ in range(LONGEST_CHAIN):
        row = Message.unscoped.filter(tenant_id=event.tenant_id, pk=message_id).values_list("key", "continues_id").first()
        if row is None:
            return False
        key, message_id = row
        if key.startswith(KEY_PREFIX):
            return True
        if message_id is None:
            return False
    return True
