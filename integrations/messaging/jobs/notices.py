"""The queue's job that sends what a notification rule says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from integrations.contracts.errors import InvalidRequest, ProviderError
from integrations.messaging.email.emails import SAMPLE_LINK, UNSUBSCRIBE, Personalization, send_email
from integrations.messaging.models import Channel, Message, MessageTemplate, NotificationRule
from integrations.messaging.push.pushes import send_push
from integrations.messaging.rules.notices import KIND, dig, not_sent, values_for
from integrations.messaging.sms.numbers import normalise
from integrations.messaging.sms.services import send_sms
from integrations.messaging.templates import Rendered, fill_in
from integrations.messaging.whatsapp.whatsapps import Words as WhatsAppWords
from integrations.messaging.whatsapp.whatsapps import send_whatsapp
from integrations.models import QueueItem, Tenant
from integrations.runtime.jobs import LocalJob


class NotifyJob(LocalJob):
    """Sends one rule's message about one event, once; what can't be sent is an alert and is not tried again."""

    kind = KIND

    def run(self, item: QueueItem) -> None:
        given = item.payload
        if given.get("erased"):
            return
        rule = NotificationRule.unscoped.select_related("tenant").filter(
            tenant_id=item.tenant_id, pk=given["rule"], is_active=True
        )
        found = rule.first()
        if found is None:  # switched off or removed while the message waited
            return
        good, bad = usable(found.channel, given["to"], tenant=found.tenant)
        try:
            with transaction.atomic():
                send(
                    found,
                    to=good,
                    about=given["object"],
                    event_type=given["event"],
                    payer_name=given["payer_name"],
                    reference=(item.reference_type, item.reference_id),
                    key=given["key"],
                )
        except ProviderError as error:
            not_sent(found, given["event"], item.reference_id, error.message)
            return
        if bad:
            not_sent(found, given["event"], item.reference_id, f"no address of this channel: {', '.join(bad)[:200]}")


def usable(channel: str, addresses: Sequence[str], *, tenant: Tenant) -> tuple[list[str], list[str]]:
    """Return those that can be written to on the channel, as it writes them, and those that can't."""
    good: dict[str, None] = {}
    bad = []
    for address in addresses:
        written = _written(channel, address, tenant)
        if written:
            good[written] = None
        else:
            bad.append(address)
    return list(good), bad


def send(
    rule: NotificationRule,
    *,
    to: Sequence[str],
    about: Mapping[str, Any],
    event_type: str,
    payer_name: str = "",
    reference: tuple[str, str] = ("", ""),
    key: str,
    created_by: str = "",
) -> Message:
    """Accept the rule's message about an object for these recipients, in the caller's transaction; return it (of push the
    first, where there are several accounts). Raises as `templates.fill_in` and the channel's own service."""
    if not to:
        raise InvalidRequest("There is nobody to write to.", attr="to")
    values = values_for(about, event_type=event_type, tenant=rule.tenant, payer_name=payer_name)
    common: dict[str, Any] = {
        "tenant": rule.tenant,
        "category": rule.category,
        "reference": (reference[0][:30], reference[1][:60]),
        "key": key,
        "created_by": created_by or f"rule {rule.name}",
    }
    return _SENDERS[Channel(rule.channel)](rule, list(to), values, common)


def words_of(rule: NotificationRule, *, about: Mapping[str, Any], event_type: str, payer_name: str = "") -> Rendered:
    """Return what the rule says about an object; raises as `templates.fill_in`."""
    values = values_for(about, event_type=event_type, tenant=rule.tenant, payer_name=payer_name)
    if rule.channel == Channel.EMAIL:
        values = {UNSUBSCRIBE: SAMPLE_LINK, **values}  # each recipient gets his own when it is sent
    return fill_in(
        tenant=rule.tenant, channel=Channel(rule.channel), name=rule.template_name, language=rule.language, data=values
    )


def _written(channel: str, address: str, tenant: Tenant) -> str:
    if channel == Channel.PUSH:
        return address if len(address) <= 200 and address.isprintable() else ""
    if channel != Channel.EMAIL:
        return normalise(address, country=tenant.country) or ""
    try:
        validate_email(address)
    except ValidationError:
        return ""
    return address


def _needed(rule: NotificationRule, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that some variant of the rule's template uses: a message keeps what it is made from, and no more."""
    variants = MessageTemplate.unscoped.filter(tenant=rule.tenant, channel=rule.channel, name=rule.template_name)
    needed: dict[str, Any] = {}
    for path in {path for variant in variants for path in variant.variables}:
        found = dig(values, path)
        if found is None or isinstance(found, Mapping | list):
            continue
        inner = needed
        *branches, leaf = path.split(".")
        for branch in branches:
            inner = inner.setdefault(branch, {})
        inner[leaf] = found
    return needed


def _sms(rule: NotificationRule, to: list[str], values: dict[str, Any], common: dict[str, Any]) -> Message:
    words = fill_in(tenant=rule.tenant, channel=Channel.SMS, name=rule.template_name, language=rule.language, data=values)
    return send_sms(to=to, message=words.body, template_name=rule.template_name, **common)


def _email(rule: NotificationRule, to: list[str], values: dict[str, Any], common: dict[str, Any]) -> Message:
    # A letter for each: recipients of a rule need not know of each other.
    letters = [Personalization(to=[each]) for each in to]
    return send_email(
        to=to if len(to) == 1 else (),
        personalizations=letters if len(to) > 1 else (),
        template=rule.template_name,
        language=rule.language,
        data=_needed(rule, values),
        **common,
    )


def _push(rule: NotificationRule, to: list[str], values: dict[str, Any], common: dict[str, Any]) -> Message:
    return send_push(
        users=to, template=rule.template_name, language=rule.language, template_data=_needed(rule, values), **common
    )


def _whatsapp(rule: NotificationRule, to: list[str], values: dict[str, Any], common: dict[str, Any]) -> Message:
    words = WhatsAppWords(template_name=rule.template_name, language=rule.language, data=_needed(rule, values))
    return send_whatsapp(to=to, words=words, **common)


_SENDERS = {Channel.SMS: _sms, Channel.EMAIL: _email, Channel.PUSH: _push, Channel.WHATSAPP: _whatsapp}
