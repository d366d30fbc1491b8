"""E-mails: one letter to all of its recipients, or many letters of the same words with values of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Capability
from integrations.contracts.email import EmailAdapter, Mailbox
from integrations.contracts.errors import InvalidRequest, UnsupportedOperation
from integrations.contracts.messaging import Media
from integrations.messaging.destinations import read_alternatives
from integrations.messaging.drafts import Destination, Draft
from integrations.messaging.email.checks import check_attachments, check_data, check_headers, check_subject
from integrations.messaging.email.html_text import text_of
from integrations.messaging.email.mailboxes import parse_mailbox
from integrations.messaging.models import Channel, Message
from integrations.messaging.sending import accept, find_by_key
from integrations.messaging.sms.services import MAX_RECIPIENTS
from integrations.messaging.templates import find_template
from integrations.messaging.templating import MissingVariables, TemplateError, check_template, render, variables_of
from integrations.models import Tenant
from integrations.registry import get_provider
from integrations.runtime.jobs import Call
from integrations.runtime.resolve import resolve

MAX_LETTERS = 1_000
MAX_REPLY_TO = 10
MAX_TEXT = 500_000
MAX_HTML = 1_000_000
SENDER_FIELDS = ("sender_address", "sender_email", "from_address", "from_email")
"""What providers call the config field that holds an account's own sender address; the first that is there counts."""
UNSUBSCRIBE = "unsubscribe_url"
SAMPLE_LINK = "https://unsubscribe.invalid/"
"""Stands for a recipient's own link where there is no recipient yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Personalization:
    """One letter of several: its recipients, and what it has over the others. `data` fills in the words."""

    to: Sequence[str | Mailbox]
    cc: Sequence[str | Mailbox] = ()
    bcc: Sequence[str | Mailbox] = ()
    subject: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class Words(NamedTuple):
    """What a letter says."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter whose addresses have been checked. `path` goes before the names of its fields in errors; `values` are those
    that every recipient's row carries."""

    path: str
    to: tuple[Mailbox, ...]
    cc: tuple[Mailbox, ...]
    bcc: tuple[Mailbox, ...]
    subject: str
    values: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def recipients(self) -> tuple[tuple[str, Mailbox], ...]:
        return tuple((role, each) for role, group in (("to", self.to), ("cc", self.cc), ("bcc", self.bcc)) for each in group)


@dataclass(frozen=True, slots=True)
class Composition:
    """An e-mail thought through. `personal`: `words` are templates that `data` and each letter's values fill in."""

    words: Words
    personal: bool
    data: Mapping[str, Any]
    letters: tuple[Letter, ...]

    @property
    def recipients(self) -> int:
        return sum(len(letter.recipients) for letter in self.letters)

    def words_of(self, letter: Letter, *, unsubscribe_url: str) -> Words:
        """Return what one letter says. Raises `InvalidRequest` naming the letter and the variables that it lacks."""
        words = self.words._replace(subject=letter.subject or self.words.subject)
        if not self.personal:
            return words
        # An unsubscribe link is one person's own: a letter that several get has none.
        own = {UNSUBSCRIBE: unsubscribe_url} if len(letter.recipients) == 1 else {}
        return _filled(words, {**own, **self.data, **letter.values}, letter)

    def destinations(self) -> Iterator[Destination]:
        for number, letter in enumerate(self.letters):
            for role, mailbox in letter.recipients:
                yield Destination(mailbox.address, mailbox.name, data=letter.values, role=role, envelope=number)


def send_email(
    *,
    tenant: Tenant,
    to: Sequence[str | Mailbox] = (),
    cc: Sequence[str | Mailbox] = (),
    bcc: Sequence[str | Mailbox] = (),
    sender: str | Mailbox = "",
    from_name: str = "",
    reply_to: Sequence[str | Mailbox] = (),
    subject: str = "",
    text: str = "",
    html: str = "",
    template: str = "",
    language: str = "",
    data: Mapping[str, Any] | None = None,
    provider_template_id: str = "",
    personalizations: Sequence[Personalization] = (),
    attachments: Sequence[Media] = (),
    headers: Mapping[str, str] | None = None,
    category: str = "",
    track: bool = False,
    send_at: datetime | None = None,
    expires_at: datetime | None = None,
    provider: str | None = None,
    config_id: int | None = None,
    reference: tuple[str, str] = ("", ""),
    key: str = "",
    created_by: str = "",
    override_reason: str = "",
    fallback: Mapping[str, str] | None = None,
) -> Message:
    """Accept an e-mail for sending: rows and queue items in one transaction (the caller's where there is one).

    Addresses are written `jane@x.ke` or `Jane <jane@x.ke>`, each once in the whole message. Without `sender` the account's own
    address is used. The words are `subject` with `text` or `html`, the hub's `template`, or the provider's own
    (`provider_template_id`); `data` (and that of a personalization) fills in any of them, and nothing goes out with a hole in
    it. HTML is sent as it is given: clean what people typed with `html_text.clean`. `fallback` says where else the one
    recipient can be reached, by channel. With a `key` a second call returns the first call's message. The network is not
    touched.

    Raises `InvalidRequest` naming the field, `UnsupportedOperation`, `NotConfigured`, `spending.SpendCapReached`.
    """
    if (existing := find_by_key(tenant, key)) is not None:
        return existing
    view = resolve(Call(Capability.EMAIL, "send", config_id=config_id, provider=provider), tenant_id=tenant.pk)
    adapter = _adapter(view)
    composition = compose(
        tenant=tenant,
        to=to,
        cc=cc,
        bcc=bcc,
        subject=subject,
        text=text,
        html=html,
        template=template,
        language=language,
        data=data,
        provider_template_id=provider_template_id,
        personalizations=personalizations,
    )
    if provider_template_id and not adapter.has_templates:
        raise UnsupportedOperation("This provider keeps no templates.", provider=view.provider, attr="template_id")
    for letter in composition.letters:
        if len(letter.recipients) > adapter.recipient_limit:
            raise InvalidRequest(f"At most {adapter.recipient_limit} recipients of one letter.", attr=f"{letter.path}to")
    destinations = list(composition.destinations())
    if fallback and len(destinations) > 1:
        raise InvalidRequest("This is for one recipient.", attr="fallback")
    if fallback:
        destinations = [replace(destinations[0], alternatives=read_alternatives(fallback, tenant.country))]
    mailbox = _sender(view, sender, from_name)
    if len(reply_to) > MAX_REPLY_TO:
        raise InvalidRequest(f"At most {MAX_REPLY_TO} addresses.", attr="reply_to")
    answers = [parse_mailbox(each, attr="reply_to") for each in reply_to]
    content = {
        "from_name": mailbox.name,
        "reply_to": [{"address": each.address, "name": each.name} for each in answers],
        "headers": check_headers(headers or {}),
        "template_id": provider_template_id,
        "track": track,
        "envelopes": _envelopes(composition),
    }
    draft = Draft(
        channel=Channel.EMAIL,
        subject=composition.words.subject,
        body=composition.words.text,
        html=composition.words.html,
        sender=mailbox.address,
        content={name: value for name, value in content.items() if value},
        personal=composition.personal,
        data=composition.data,
        template_name=template,
        language=language,
        provider=provider,
        config_id=config_id,
        reference=reference,
        category=category,
        send_at=send_at,
        expires_at=expires_at,
        key=key,
        created_by=created_by,
        override_reason=override_reason,
        attachments=check_attachments(attachments, limit=adapter.attachment_limit),
    )
    return accept(tenant=tenant, draft=draft, destinations=destinations)


def compose(
    *,
    tenant: Tenant,
    to: Sequence[str | Mailbox] = (),
    cc: Sequence[str | Mailbox] = (),
    bcc: Sequence[str | Mailbox] = (),
    subject: str = "",
    text: str = "",
    html: str = "",
    template: str = "",
    language: str = "",
    data: Mapping[str, Any] | None = None,
    provider_template_id: str = "",
    personalizations: Sequence[Personalization] = (),
) -> Composition:
    """Return the letters that `send_email` would make of this, every one checked. Raises as it."""
    shared = check_data(data or {})
    words = _words(tenant, subject, text, html, template, language, provider_template_id)
    if personalizations and (to or cc or bcc):
        raise InvalidRequest("Give recipients or personalizations, not both.", attr="personalizations")
    if len(personalizations) > MAX_LETTERS:
        raise InvalidRequest(f"At most {MAX_LETTERS} letters.", attr="personalizations")
    asked = personalizations or (Personalization(to=to, cc=cc, bcc=bcc),)
    # Words are filled in where somebody gave values for them: else two braces in a text are two braces.
    fills = not provider_template_id and bool(template or shared or any(each.data for each in asked))
    path = "personalizations.{}." if personalizations else ""
    seen: set[str] = set()
    letters = tuple(_letter(each, path.format(number), seen, shared if fills else None) for number, each in enumerate(asked))
    composition = Composition(words, fills, shared, letters)
    if composition.recipients > MAX_RECIPIENTS:
        raise InvalidRequest(f"At most {MAX_RECIPIENTS} recipients.", attr="personalizations" if personalizations else "to")
    if fills:
        _check_templates(composition)
    for letter in letters:
        said = composition.words_of(letter, unsubscribe_url=SAMPLE_LINK)
        if not said.subject.strip() and not provider_template_id:
            raise InvalidRequest("An e-mail needs a subject.", attr=f"{letter.path}subject" if letter.subject else "subject")
        check_subject(said.subject, attr=f"{letter.path}data" if fills else "subject")
    # Of many letters only the values are kept, with their recipients: the words stay templates until they are sent. A single
    # letter is filled in here, so that the message shows what it says; but not its recipient's own unsubscribe link.
    if fills and not personalizations and UNSUBSCRIBE not in variables_of(*words):
        words = composition.words_of(letters[0], unsubscribe_url="")
        return Composition(words, False, {}, (replace(letters[0], values={}),))
    return composition


def _words(tenant: Tenant, subject: str, text: str, html: str, template: str, language: str, template_id: str) -> Words:
    check_subject(subject)
    if template or template_id:
        if template and template_id:
            raise InvalidRequest("Give one template, the hub's or the provider's.", attr="template_id")
        if text or html:
            raise InvalidRequest("Give a template or a text, not both.", attr="template" if template else "template_id")
        if template_id:
            if len(template_id) > 200 or not template_id.isprintable():
                raise InvalidRequest("This is no id of a template.", attr="template_id")
            return Words(subject, "", "")
        found = find_template(tenant=tenant, channel=Channel.EMAIL, name=template, language=language)
        return Words(subject or found.subject, found.body or text_of(found.html), found.html)
    for name, given, longest in (("text", text, MAX_TEXT), ("html", html, MAX_HTML)):
        if len(given) > longest:
            raise InvalidRequest(f"More than {longest} characters.", attr=name)
        if "\0" in given or any("\ud800" <= letter <= "\udfff" for letter in given):
            raise InvalidRequest("It holds a character that can't be sent.", attr=name)
    if not text.strip() and not html.strip():
        raise InvalidRequest("An e-mail needs a text, an HTML text or a template.", attr="text")
    # A letter of pictures alone says its subject to those who see no pictures.
    return Words(subject, text if text.strip() else text_of(html) or subject, html if html.strip() else "")


def _letter(asked: Personalization, path: str, seen: set[str], shared: Mapping[str, Any] | None) -> Letter:
    groups: dict[str, tuple[Mailbox, ...]] = {}
    for role, given in (("to", asked.to), ("cc", asked.cc), ("bcc", asked.bcc)):
        attr = f"{path}{role}"
        if len(given) > MAX_RECIPIENTS:
            raise InvalidRequest(f"At most {MAX_RECIPIENTS} recipients.", attr=attr)
        groups[role] = tuple(parse_mailbox(each, attr=attr) for each in given)
        for mailbox in groups[role]:
            if mailbox.address.casefold() in seen:
                raise InvalidRequest(f"{mailbox.address} stands there twice: a message reaches each once.", attr=attr)
            seen.add(mailbox.address.casefold())
    if not groups["to"]:
        raise InvalidRequest("At least one recipient is needed.", attr=f"{path}to")
    values = check_data(asked.data, attr=f"{path}data")
    if shared is not None:
        # Whoever of its recipients is left in the end: the letter speaks to the one that it was written to.
        name = groups["to"][0].name or shared.get("name")
        values = {**({"name": name} if name else {}), **values}
    check_subject(asked.subject, attr=f"{path}subject")
    headers = check_headers(asked.headers, attr=f"{path}headers")
    return Letter(path, groups["to"], groups["cc"], groups["bcc"], asked.subject, values, headers)


def _check_templates(composition: Composition) -> None:
    """Refuse braces that are no variable's."""
    own = [(f"{letter.path}subject", letter.subject) for letter in composition.letters if letter.subject]
    for attr, template in (*zip(("subject", "text", "html"), composition.words, strict=True), *own):
        try:
            check_template(template)
        except TemplateError as error:
            raise InvalidRequest(str(error), attr=attr) from None


def _filled(words: Words, values: Mapping[str, Any], letter: Letter) -> Words:
    try:
        subject, text = render(words.subject, values), render(words.text, values)
        return Words(subject, text, render(words.html, values, html=True))
    except MissingVariables:
        lacking = ", ".join(name for name in variables_of(*words) if _lacks(name, values))
        text = f"Missing in the letter to {letter.to[0].address}: {lacking}."
        raise InvalidRequest(text, attr=f"{letter.path}data") from None


def _lacks(name: str, values: Mapping[str, Any]) -> bool:
    try:
        render(f"{{{{ {name} }}}}", values)
    except MissingVariables:
        return True
    return False


def _envelopes(composition: Composition) -> dict[str, dict[str, Any]]:
    """Return what letters have of their own besides values, by their numbers; most have nothing."""
    found = {}
    for number, letter in enumerate(composition.letters):
        own = {"subject": letter.subject, "headers": dict(letter.headers)}
        if any(own.values()):
            found[str(number)] = {name: value for name, value in own.items() if value}
    return found


def _adapter(view: ConfigView) -> type[EmailAdapter]:
    adapter = get_provider(view.provider).adapter_class(Capability.EMAIL)
    if not issubclass(adapter, EmailAdapter):
        raise UnsupportedOperation("This provider sends no e-mail.", provider=view.provider, attr="provider")
    return adapter


def _sender(view: ConfigView, sender: str | Mailbox, from_name: str) -> Mailbox:
    given = sender
    if not given:
        given = next((str(view.get(name)) for name in SENDER_FIELDS if view.get(name)), "")
        if not given:
            raise InvalidRequest("This account has no sender address of its own: name the sender.", attr="from")
    mailbox = parse_mailbox(given, attr="from")
    return parse_mailbox(Mailbox(mailbox.address, from_name.strip() or mailbox.name), attr="from")
