"""Sending on WhatsApp: approved templates at any time, free text and files only while the customer's window is open."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import InvalidRequest, NotConfigured
from integrations.contracts.messaging import Media, MessageState
from integrations.contracts.whatsapp import TemplateInfo, TemplateUse
from integrations.messaging.destinations import read_alternatives
from integrations.messaging.drafts import Destination, Draft
from integrations.messaging.models import Channel, InboundMessage, Message, MessageEvent, Recipient
from integrations.messaging.sending import accept, find_by_key
from integrations.messaging.sms.numbers import SHOWN, normalise
from integrations.messaging.templates import fill_in
from integrations.messaging.transitions import advance
from integrations.messaging.whatsapp.window import REFUSAL, OutsideWindow, open_until, refusal_text
from integrations.models import Tenant
from integrations.registry import get_provider
from integrations.runtime.execute import execute
from integrations.runtime.jobs import Call
from integrations.runtime.resolve import resolve

MAX_RECIPIENTS = 1000
"""Of one request: each is a call of its own. More are sent to a list of recipients."""
MAX_TEXT = 4096
MAX_CAPTION = 1024
MAX_PARAMETERS = 60
HIDDEN_NUMBER = re.compile(r"[A-Za-z0-9._:-]{3,128}")
"""An id that stands in for a number which its owner does not show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What is said: just one of `text`, `media` (`text` is then its caption), `template` (an approved one of the provider's)
    and `template_name` (one of the hub's own, filled in with `data`; it goes as free text). With a `template` the `data` are
    kept for a fallback: they fill in the hub's template of that name on the other channel."""

    text: str = ""
    media: Media | None = None
    template: TemplateUse | None = None
    template_name: str = ""
    language: str = ""
    data: Mapping[str, Any] | None = None


def send_whatsapp(
    *,
    tenant: Tenant,
    to: Sequence[str],
    words: Words,
    sender: str = "",
    reply_to: str = "",
    provider: str | None = None,
    config_id: int | None = None,
    reference: tuple[str, str] = ("", ""),
    category: str = "",
    send_at: datetime | None = None,
    expires_at: datetime | None = None,
    override_reason: str = "",
    fallback: Mapping[str, str] | None = None,
    key: str = "",
    created_by: str = "",
) -> Message:
    """Accept a message for sending: rows and queue items in one transaction (the caller's where there is one).

    `to` as for `services.send_sms`; also the id of somebody who hides his number and has written to the tenant. `reply_to` is
    the inbound message that is answered: its id here (`inm_...`) or the provider's. Recipients whose window is closed when it
    would be sent become failed ones (`outside_window`), where the others can be written to. `fallback` says where else the one
    recipient can be reached, by channel. The network is not touched: what a template needs, only the provider knows.

    Raises `InvalidRequest` naming the field, `OutsideWindow` where nobody's window is open, `NotConfigured`,
    `spending.SpendCapReached`.
    """
    if (existing := find_by_key(tenant, key)) is not None:
        return existing
    _check(words)
    if reply_to and len(to) > 1:
        raise InvalidRequest("A reply goes to one recipient.", attr="reply_to")
    addresses = _addresses(tenant, to)
    if fallback and len(addresses) > 1:
        raise InvalidRequest("This is for one recipient.", attr="fallback")
    elsewhere = read_alternatives(fallback or {}, tenant.country)
    text = _text(tenant, words)
    view = _account(tenant, provider, config_id)
    closed: list[str] = []
    if words.template is None:
        closed = _closed(tenant, view, addresses, sender, send_at)
        if len(closed) == len(addresses):
            attr = "media" if words.media is not None else "template" if words.template_name else "text"
            raise OutsideWindow(refusal_text(), provider=view.provider, attr=attr)
    draft = Draft(
        channel=Channel.WHATSAPP,
        body=text,
        sender=sender,
        content=_content(words, _quoted(tenant, reply_to)),
        # Of a provider's template too: whoever looks at the message wants to know which one it was.
        template_name=(words.template_name or (words.template.name or words.template.id if words.template else ""))[:60],
        # A template of the hub's with the same name may stand in for it on another channel: that one knows `en-KE`.
        language=(words.language or (words.template.language if words.template else "")).replace("_", "-")[:10],
        data=dict(words.data or {}),
        provider=view.provider,
        config_id=view.id,
        reference=reference,
        category=category,
        send_at=send_at,
        expires_at=expires_at,
        key=key,
        created_by=created_by,
        override_reason=override_reason,
        attachments=(words.media,) if words.media is not None else (),
    )
    unwritten = set(closed)
    with transaction.atomic():
        open_ones = [Destination(each, alternatives=elsewhere) for each in addresses if each not in unwritten]
        message = accept(tenant=tenant, draft=draft, destinations=open_ones)
        _refuse(message, closed)
        return message


def list_templates(
    *, tenant: Tenant, provider: str | None = None, config_id: int | None = None
) -> tuple[str, tuple[TemplateInfo, ...]]:
    """Ask the provider for the account's templates; return (provider slug, templates). Called outside of any transaction.

    Raises `NotConfigured`, `UnsupportedOperation` where they can't be listed, and as any call.
    """
    view = _account(tenant, provider, config_id)
    call = Call(Capability.WHATSAPP, "templates", config_id=view.id, provider=view.provider)
    found: tuple[TemplateInfo, ...] = execute(call, tenant_id=tenant.pk)
    return view.provider, found


# --- what is asked for


def _check(words: Words) -> None:
    kinds = [bool(words.text) or words.media is not None, words.template is not None, bool(words.template_name)]
    if sum(kinds) != 1:
        problem = "Give just one of text, template and media." if any(kinds) else "Give a text, a template or media."
        raise InvalidRequest(problem, attr="template" if any(kinds) else "text")
    if words.media is not None:
        if len(words.text) > MAX_CAPTION:
            raise InvalidRequest(f"The caption has more than {MAX_CAPTION} characters.", attr="media.caption")
    elif words.text:
        _check_text(words.text, "text")
    if words.template is not None:
        _check_template(words.template)


def _check_text(text: str, attr: str) -> None:
    if not text.strip():
        raise InvalidRequest("The text is empty.", attr=attr)
    if len(text) > MAX_TEXT:
        raise InvalidRequest(f"The text has more than {MAX_TEXT} characters.", attr=attr)


def _check_template(template: TemplateUse) -> None:
    if not template.id and not (template.name and template.language):
        raise InvalidRequest("A template is named by name and language, or by its id.", attr="template")
    if template.header and template.header_media is not None:
        raise InvalidRequest("A header is text or a file, not both.", attr="template.header")
    values = [*template.body, *template.header, *template.buttons.values()]
    if len(values) > MAX_PARAMETERS:
        raise InvalidRequest(f"A template takes at most {MAX_PARAMETERS} values.", attr="template.body")
    if not all(each.strip() for each in values):
        raise InvalidRequest("A template's values can't be empty.", attr="template.body")
    if any("\0" in each for each in (*values, template.name, template.language, template.id)):
        raise InvalidRequest("Null characters can't be sent.", attr="template")


def _text(tenant: Tenant, words: Words) -> str:
    """Return the free text or caption; the hub's own template filled in."""
    if not words.template_name:
        return words.text
    rendered = fill_in(
        tenant=tenant, channel=Channel.WHATSAPP, name=words.template_name, language=words.language, data=words.data
    )
    _check_text(rendered.body, "template")
    return rendered.body


def _content(words: Words, quoted: str) -> dict[str, Any]:
    """Return what `calls.py` makes the call from."""
    content: dict[str, Any] = {"reply_to": quoted} if quoted else {}
    if (template := words.template) is not None:
        file = template.header_media
        content["template"] = {
            "name": template.name,
            "language": template.language,
            "id": template.id,
            "body": list(template.body),
            "header": list(template.header),
            "header_media": (
                {"url": file.url, "content_type": file.content_type, "filename": file.filename} if file is not None else None
            ),
            "buttons": {str(index): value for index, value in template.buttons.items()},
        }
    return content


def _addresses(tenant: Tenant, to: Sequence[str]) -> list[str]:
    if len(to) > MAX_RECIPIENTS:
        raise InvalidRequest(f"At most {MAX_RECIPIENTS} recipients.", attr="to")
    found: dict[str, None] = {}
    strange = []
    for each in to:
        number = normalise(each, country=tenant.country)
        if number is None:
            strange.append(each)
        found[number or each] = None
    hidden = {each for each in strange if HIDDEN_NUMBER.fullmatch(each)}
    known = set(
        InboundMessage.unscoped.filter(tenant=tenant, channel=Channel.WHATSAPP, address__in=hidden, trusted=True).values_list(
            "address", flat=True
        )
        if hidden
        else ()
    )
    bad = [each[:30] for each in strange if each not in known]
    if bad:
        more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise InvalidRequest(f"Not phone numbers: {', '.join(bad[:SHOWN])}{more}.", attr="to")
    if not found:
        raise InvalidRequest("At least one recipient is needed.", attr="to")
    return list(found)


def _quoted(tenant: Tenant, reply_to: str) -> str:
    """Return the provider's id of the message that is answered."""
    if not reply_to.startswith("inm_"):
        return reply_to
    row = InboundMessage.unscoped.filter(tenant=tenant, channel=Channel.WHATSAPP, pk=reply_to).first()
    if row is None:
        raise InvalidRequest("There is no such message.", attr="reply_to")
    return str(row.provider_ref)


# --- whom it may go to


def _account(tenant: Tenant, provider: str | None, config_id: int | None) -> ConfigView:
    view = resolve(Call(Capability.WHATSAPP, "send", config_id=config_id, provider=provider), tenant_id=tenant.pk)
    if Capability.WHATSAPP.value not in get_provider(view.provider).categories:
        raise NotConfigured("This config does not serve whatsapp.", provider=view.provider, attr="config")
    return view


def _closed(tenant: Tenant, view: ConfigView, addresses: Sequence[str], sender: str, send_at: datetime | None) -> list[str]:
    """Return those whose window is not open any more when the message would be sent."""
    if send_at is not None and send_at.tzinfo is None:
        raise InvalidRequest("The time needs an offset from UTC.", attr="send_at")
    moment = max(clock.now(), send_at or clock.now())
    windows = open_until(tenant_id=tenant.pk, provider=view.provider, config_id=view.id, addresses=addresses, sender=sender)
    return [each for each in addresses if each not in windows or windows[each] <= moment]


def _refuse(message: Message, addresses: Sequence[str]) -> None:
    """Write down those whose window is closed: failed, never queued. Those that the message has already are passed over."""
    known = set(Recipient.unscoped.filter(message=message, address__in=addresses).values_list("address", flat=True))
    now = clock.now()
    rows = [
        Recipient(tenant_id=message.tenant_id, message=message, address=each, updated=now)
        for each in addresses
        if each not in known
    ]
    Recipient.unscoped.bulk_create(rows)
    MessageEvent.unscoped.bulk_create(
        [
            MessageEvent(tenant_id=message.tenant_id, recipient=each, at=now, state=MessageState.QUEUED, source="hub")
            for each in rows
        ]
    )
    for each in rows:
        advance(each, MessageState.FAILED, at=now, source="hub", detail=refusal_text(), provider_status=REFUSAL)
