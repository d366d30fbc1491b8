"""Going on by another way: a new message to those whom the first one did not reach, with the same words as far as its channel
can carry them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from integrations.contracts import clock
from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import NotConfigured, ProviderError
from integrations.messaging.drafts import Destination
from integrations.messaging.email.emails import SENDER_FIELDS
from integrations.messaging.fallback.rewording import carried_over, reworded
from integrations.messaging.fallback.ways import Ways, address_on, ways_of
from integrations.messaging.models import Channel, Device, FallbackStep, Message, Recipient
from integrations.messaging.push.devices import Accounts
from integrations.messaging.sending import accept
from integrations.messaging.transitions import note
from integrations.messaging.whatsapp import window as whatsapp_window
from integrations.runtime.alerts import raise_alert
from integrations.runtime.jobs import Call
from integrations.runtime.resolve import resolve


class NoWay(Exception):
    """This step leads nowhere for them, and nothing is wrong: it is passed over in silence."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a recipient is reached next, and by which account where that is his device's to say: (config, provider)."""

    recipient: Recipient
    address: str
    device: Device | None = None
    account: tuple[int | None, str] = (None, "")


def go_on(message: Message, recipients: Sequence[Recipient], *, why: str = "") -> None:
    """Send each of these (locked) recipients the message by the first of his next ways that takes it, in the caller's
    transaction. Where all refuse it stands in his story, and an alert is raised."""
    ways = ways_of(message)
    left = ways.for_each(recipients) if ways is not None else {}
    if ways is None or not left:
        return
    waiting = {each.pk: each for each in recipients if each.pk in left}
    problems: dict[int, list[str]] = {}
    for step in ways.steps:
        for part in _apart(_places(step, message, [each for each in waiting.values() if step in left[each.pk]])):
            try:
                second = _send(ways, step, part)
            except NoWay:
                continue
            except ProviderError as error:
                for place in part:
                    problems.setdefault(place.recipient.pk, []).append(f"{step}: {error.message}")
                continue
            for place in part:
                _leave(waiting.pop(place.recipient.pk), step, second, why)
    stuck = [each for each in waiting.values() if each.pk in problems]
    for each in stuck:
        note(each, at=clock.now(), source="hub", detail=f"no other way: {' '.join(problems[each.pk])}"[:500])
    if stuck:
        raise_alert(
            tenant_id=message.tenant_id,
            kind="fallback_failed",
            subject=message.pk,
            message=f"No other way for {len(stuck)} recipients. {' '.join(problems[stuck[0].pk])}",
        )


def _places(step: FallbackStep, message: Message, recipients: Sequence[Recipient]) -> list[Place]:
    """Return where these can be reached by the step; a user without a device of the step's service nowhere."""
    if step.channel == message.channel:
        return [Place(each, each.address) for each in recipients]
    found = [Place(each, address_on(step.channel, message, each)) for each in recipients]
    if step.channel != Channel.PUSH:
        return found
    accounts = Accounts(message.tenant_id)
    return [place for each in found if (place := _on_device(each, step, accounts, message.tenant_id)) is not None]


def _on_device(user: Place, step: FallbackStep, accounts: Accounts, tenant_id: int) -> Place | None:
    """Return the device that the user registered last: a try on each of them would be several messages in the place of one."""
    devices = Device.unscoped.filter(tenant_id=tenant_id, user=user.address, gone_at__isnull=True)
    for device in devices.order_by("-registered_at", "-id"):
        account = accounts.of(device)
        if account is not None and step.provider in ("", account.provider):
            return Place(user.recipient, device.token, device, (account.config_id, account.provider))
    return None


def _apart(places: Sequence[Place]) -> Iterator[list[Place]]:
    """Divide them into those who can share a message: of one account, and no address twice (two pupils of one parent)."""
    parts: dict[tuple[tuple[int | None, str], int], list[Place]] = {}
    seen: dict[str, int] = {}
    for each in places:
        turn = seen[each.address.casefold()] = seen.get(each.address.casefold(), -1) + 1
        parts.setdefault((each.account, turn), []).append(each)
    yield from parts.values()


def _leave(recipient: Recipient, step: FallbackStep, second: Message, why: str) -> None:
    # Not to be retried by a person any more: he would get it twice.
    recipient.given_up = False
    recipient.save(update_fields=["given_up"])
    detail = f"goes on by {step.get_channel_display()} with {second.provider} as {second.pk}"
    note(recipient, at=clock.now(), source="hub", detail=f"{why}: {detail}" if why else detail)


def _send(ways: Ways, step: FallbackStep, places: Sequence[Place]) -> Message:
    """Accept the next message; raise `NoWay`, or a `ProviderError` saying what is in the way."""
    message = ways.chain[0]
    config_id, provider = places[0].account
    call = Call(Capability(step.channel), "send", config_id=config_id, provider=provider or step.provider or None)
    view = resolve(call, tenant_id=message.tenant_id)
    if any((each.channel, each.provider, each.config_id) == (step.channel, view.provider, view.id) for each in ways.chain):
        raise NoWay
    _check(step, message, view, places)
    same = next((each for each in ways.chain if each.channel == step.channel), None)
    recipients = [each.recipient for each in places]
    if same is not None:
        draft, own = carried_over(same, recipients)
    else:
        first = ways.chain[-1]
        source = next(each for each in ways.chain if each.channel == first.channel)
        draft, own = reworded(source, recipients, Channel(step.channel))
    sender = same.sender if same is not None and (same.provider == view.provider or step.channel == Channel.EMAIL) else ""
    if step.channel == Channel.EMAIL and not sender:
        sender = _mailbox(message, view)
    draft = replace(
        draft,
        sender=sender,
        provider=view.provider,
        config_id=view.id,
        reference=(message.reference_type, message.reference_id),
        category=message.category,
        content={"from_name": message.tenant.name} if step.channel == Channel.EMAIL and same is None else draft.content,
        expires_at=message.expires_at,
        created_by=message.created_by,
        continues_id=message.pk,
        step=step.number,
    )
    destinations = [_destination(message, place, own[place.recipient.pk]) for place in places]
    return accept(tenant=message.tenant, draft=draft, destinations=destinations)


def _destination(message: Message, place: Place, own: Destination) -> Destination:
    recipient, device = place.recipient, place.device
    back = {} if message.channel == Channel.PUSH else {message.channel: recipient.address}
    found = replace(
        own,
        address=place.address,
        name=recipient.name,
        alternatives={**back, **recipient.alternatives},
        instead_of=recipient.pk,
    )
    if device is None:
        return found
    # A device's recipient is named by its user; what he is called otherwise goes with his values.
    called = {"name": recipient.name} if recipient.name else {}
    return replace(found, name=device.user, device_id=device.pk, data={**called, **own.data})


def _check(step: FallbackStep, message: Message, view: ConfigView, places: Sequence[Place]) -> None:
    """Raise `NotConfigured` where the account can't reach them: known here, without asking it."""
    if step.channel == Channel.WHATSAPP and message.channel != Channel.WHATSAPP:
        addresses = [each.address for each in places]
        opened = whatsapp_window.open_until(
            tenant_id=message.tenant_id, provider=view.provider, config_id=view.id, addresses=addresses
        )
        if not opened:
            raise NotConfigured(whatsapp_window.refusal_text())


def _mailbox(message: Message, view: ConfigView) -> str:
    """Return the address that an account writes from: its own, else the one that it wrote from last."""
    own = next((str(view.get(name)) for name in SENDER_FIELDS if view.get(name)), "")
    if own:
        return own
    mails = Message.unscoped.filter(
        tenant_id=message.tenant_id, channel=Channel.EMAIL, provider=view.provider, config_id=view.id
    ).exclude(sender="")
    last: str | None = mails.order_by("-created").values_list("sender", flat=True).first()
    if not last:
        raise NotConfigured(f"{view.provider} has no sender address, and has sent no e-mail yet.")
    return last
