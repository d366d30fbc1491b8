"""Trying out a template before others are written to by it: what it says of given values, and one real message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from integrations.contracts.errors import InvalidRequest, ProviderError
from integrations.messaging.email.emails import SAMPLE_LINK, UNSUBSCRIBE, send_email
from integrations.messaging.models import Channel, Device, Message, MessageTemplate
from integrations.messaging.push.pushes import send_push
from integrations.messaging.sms.services import send_sms
from integrations.messaging.templates import Rendered, fill
from integrations.messaging.whatsapp.whatsapps import Words, send_whatsapp

REFERENCE = "template"
LONGEST_ID = 39
"""Characters of what is still taken for a user's id, should no device of his be known; tokens are longer. A UUID has 36."""
NO_VALUES: Mapping[str, Any] = {"": ""}
"""What the e-mail's service has to be given so that it fills in a letter for which no values are needed."""
FIELDS = {
    **dict.fromkeys(("message", "text", "subject", "html", "title", "body"), "template"),
    **dict.fromkeys(("user", "users"), "to"),
    "sender": "from",
}
"""What the channels' services call what here is the template, the address or the sender."""


def send_test(
    *,
    template: MessageTemplate,
    to: str,
    data: Mapping[str, Any] | None = None,
    sender: str = "",
    provider: str | None = None,
    created_by: str = "",
) -> Message:
    """Accept one message made from this very variant, active or not, for one address; return it (of push the first, its
    `content["also"]` names those to the user's other accounts). One transaction, no network.

    `to` is a number, an e-mail address, a user with registered devices or a device's token, by the template's channel; `sender`
    is for e-mail alone, whose account may have no address of its own. What was sent refers to the template, and to no name of
    one: should a fallback policy take over, then with these words and not with another channel's template.

    Raises `InvalidRequest` naming `to`, `from`, `data` (with the variables that are missing) or `template` (the channel can't
    send what it says), `OutsideWindow`, `NotConfigured`, `SpendCapReached`.
    """
    address = to.strip()
    if not address:
        raise InvalidRequest("Say where it is to be sent.", attr="to")
    if sender and template.channel != Channel.EMAIL:
        raise InvalidRequest("Only an e-mail is sent in somebody's name.", attr="from")
    common: dict[str, Any] = {
        "tenant": template.tenant,
        "provider": provider or None,
        "reference": (REFERENCE, str(template.pk)),
        "created_by": created_by,
    }
    try:
        if template.channel == Channel.EMAIL:
            return _email(template, address, data or {}, sender, common)
        made = fill(template, data or {})
        if template.channel == Channel.PUSH:
            return send_push(**_device(template, address), title=made.subject.strip(), body=made.body, **common)
        if template.channel == Channel.WHATSAPP:
            return send_whatsapp(to=[address], words=Words(text=made.body), **common)
        return send_sms(to=[address], message=made.body, **common)
    except ProviderError as error:
        error.attr = FIELDS.get(error.attr or "", error.attr)
        raise


def asked_of(template: MessageTemplate) -> list[str]:
    """Return the variables that somebody has to give; of an e-mail not its unsubscribe link, which every recipient has."""
    own = {UNSUBSCRIBE} if template.channel == Channel.EMAIL else set()
    return [each for each in template.variables if each not in own]


def nested(values: Mapping[str, str]) -> dict[str, Any]:
    """Return `{"order": {"number": 7}}` for `{"order.number": 7}`. Empty values are left out, and so is a value where an object
    stands by the same name: no data could fill in both."""
    found: dict[str, Any] = {}
    for path in sorted(values, key=lambda each: -each.count(".")):
        if not values[path]:
            continue
        *branches, leaf = path.split(".")
        inner = found
        for branch in branches:
            inner = inner.setdefault(branch, {})
        inner.setdefault(leaf, values[path])
    return found


def preview(template: MessageTemplate, values: Mapping[str, str]) -> Rendered:
    """Return what the variant says of these values, by their paths; a variable without one is shown as it is written."""
    shown = {each: values.get(each) or f"{{{{ {each} }}}}" for each in asked_of(template)}
    links = {UNSUBSCRIBE: SAMPLE_LINK} if template.channel == Channel.EMAIL else {}
    return fill(template, {**links, **nested(shown)})


def _email(template: MessageTemplate, address: str, data: Mapping[str, Any], sender: str, common: dict[str, Any]) -> Message:
    # The letter fills itself in: only it knows its recipient's own unsubscribe link.
    return send_email(
        to=[address],
        sender=sender,
        subject=template.subject,
        text=template.body,
        html=template.html,
        data=data or (NO_VALUES if template.variables else {}),
        **common,
    )


def _device(template: MessageTemplate, address: str) -> dict[str, Any]:
    """Return whom the notification is for, as `send_push` wants it: a user where one of this id has a device, else a token."""
    devices = Device.unscoped.filter(tenant_id=template.tenant_id)
    if devices.filter(user=address, gone_at__isnull=True).exists():
        return {"users": [address]}
    if len(address) <= LONGEST_ID and not devices.filter(token__in={address, address.lower()}).exists():
        raise InvalidRequest("This is no token, and no user of this id has a device that could be written to.", attr="to")
    return {"to": [address]}
