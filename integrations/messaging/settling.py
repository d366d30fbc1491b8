"""A person's word on recipients of whom nobody else can tell: the answer was lost, the provider can't be asked (or can't say),
and no report came."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Lower, Right

from integrations.contracts import clock
from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.contracts.messaging import MessageState
from integrations.messaging.closing import finish_items_of
from integrations.messaging.models import Message, Recipient
from integrations.messaging.reports import lock_addresses
from integrations.messaging.transitions import advance, shown_address
from integrations.runtime.alerts import resolve_alert

AT_ONCE = 200
"""How many recipients are settled in one go: some seconds, for whose time each one's address is held."""
NOT_ARRIVED = "not_arrived"
"""What stands for the provider's word on those whom, a person says, the message did not reach."""

logger = structlog.get_logger(__name__)


def unknown_of(message: Message) -> QuerySet[Recipient]:
    """Return the message's recipients whose outcome is unknown."""
    rows: QuerySet[Recipient] = Recipient.unscoped.filter(
        tenant_id=message.tenant_id, message=message, state=MessageState.UNKNOWN
    )
    return rows


def recipients_at(message: Message, addresses: Sequence[str]) -> list[int]:
    """Return the ids of the message's recipients at these addresses, written as the message shows them. Raises
    `InvalidRequest` with `attr` "to" where one of them is none of its recipients."""
    asked = {each.strip().casefold() for each in addresses}
    # A device's token is shown by its end alone.
    ends = [each.strip()[1:] for each in addresses if each.strip().startswith("…")]
    rows = Recipient.unscoped.filter(tenant_id=message.tenant_id, message=message).select_related("message")
    rows = rows.alias(low=Lower("address"), end=Right("address", 8)).filter(Q(low__in=asked) | Q(end__in=ends))
    found: set[int] = set()
    known: set[str] = set()
    for each in rows:
        mine = {each.address.casefold(), shown_address(each).casefold()} & asked
        if mine:
            found.add(each.pk)
            known |= mine
    strange = sorted(asked - known)
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise InvalidRequest(f"No recipients of this message: {', '.join(strange[:3])}{more}.", attr="to")
    return sorted(found)


def settle(*, message: Message, arrived: bool, by: str, recipients: Sequence[int] | None = None) -> int:
    """Write down what a person found out about recipients whose outcome is unknown: these, or all of the message. Returns how
    many they were, `AT_ONCE` at most.

    Who got it is `sent`, and is not written to another way because no receipt comes. Who did not is `failed`: the fallback
    policy goes on, and sending again to those who failed includes him. The queue items that waited for them are completed.
    Others of them, decided meanwhile by a report or the provider, stay as they are. Raises `Conflict` where none is unknown.
    """
    with transaction.atomic():
        rows = unknown_of(message)
        if recipients is not None:
            rows = rows.filter(pk__in=recipients)
        addresses = dict(rows.order_by("id").values_list("pk", "address")[:AT_ONCE])
        lock_addresses(message.tenant_id, addresses.values())
        # Read again: whoever held one of the addresses has told meanwhile what became of it.
        locked = unknown_of(message).filter(pk__in=addresses).select_for_update(of=("self",)).select_related("message")
        settled = list(locked.order_by("id"))
        if not settled:
            raise Conflict("There is nobody here whose outcome is unknown any more.")
        for each in settled:
            _decide(each, arrived=arrived, by=by)
        for each in settled:
            finish_items_of(each)
        if not unknown_of(message).exists():
            resolve_alert(tenant_id=message.tenant_id, kind="message_outcome_unknown", subject=message.pk)
    logger.info("message_settled", message=message.pk, by=by, arrived=arrived, recipients=len(settled))
    return len(settled)


def _decide(recipient: Recipient, *, arrived: bool, by: str) -> None:
    advance(
        recipient,
        MessageState.SENT if arrived else MessageState.FAILED,
        at=clock.now(),
        source="person",
        detail=f"{by}: {'arrived' if arrived else 'did not arrive'}",
        provider_status="" if arrived else NOT_ARRIVED,
    )
