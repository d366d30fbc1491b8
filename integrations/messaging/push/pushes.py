"""Sending push notifications: to tokens, to the devices of users, to all who follow a topic; and what apps say of them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import InvalidRequest
from integrations.messaging.drafts import Destination, Draft
from integrations.messaging.models import Channel, Device, Message
from integrations.messaging.push.devices import HEXADECIMAL, Account, Accounts, check_topic, clean_token, masked
from integrations.messaging.sending import accept, find_by_key
from integrations.messaging.templates import fill_in, find_template
from integrations.models import Tenant
from integrations.runtime.jobs import Call
from integrations.runtime.resolve import resolve

MAX_TOKENS = 1000
MAX_USERS = 1000
MAX_DEVICES = 5000
"""The most devices that one request is fanned out to."""
PAYLOAD_BYTES = 4096
TOPIC_BYTES = 2048
OWN_BYTES = 48
"""What the hub's own note for the app takes of it."""
RESERVED = frozenset({"aps", "from", "message_type", "hub_message"})
RESERVED_BEGINNINGS = ("google.", "gcm.")
COLLAPSE_KEY = re.compile(r"[\x20-\x7e]{0,64}")


@dataclass(frozen=True, slots=True)
class Words:
    """What a notification says, in one language."""

    title: str
    body: str
    language: str = ""


Group = tuple[Account, Words, bool]
"""Those that get one message: the account, the words, and whether it goes to the topic itself."""


def send_push(
    *,
    tenant: Tenant,
    to: Sequence[str] = (),
    users: Sequence[str] = (),
    topic: str = "",
    title: str = "",
    body: str = "",
    template: str = "",
    language: str = "",
    template_data: Mapping[str, Any] | None = None,
    data: Mapping[str, str] | None = None,
    image_url: str = "",
    link: str = "",
    sound: str = "",
    badge: int | None = None,
    collapse_key: str = "",
    ttl: int | None = None,
    urgent: bool = True,
    provider: str | None = None,
    config_id: int | None = None,
    reference: tuple[str, str] = ("", ""),
    category: str = "",
    send_at: datetime | None = None,
    expires_at: datetime | None = None,
    override_reason: str = "",
    key: str = "",
    created_by: str = "",
    continues_id: str | None = None,
    step: int = 0,
    instead_of: int | None = None,
) -> Message:
    """Accept a notification for just one of: tokens, users' devices, followers of a topic. One transaction, no network.

    Each device is reached through its own account and, from a template, in its own language (`language` where the template has
    no variant for that); there is a message for each account and language: the first is returned, its `content["also"]` names
    the others. `template_data` fills in the template, `data` goes to the app. Without any words it is silent. `instead_of` is
    the recipient in whose place the first device is written to. With a `key` a second call returns the first call's message.

    Raises `InvalidRequest` naming the field (`to`, `user`, `topic`: nobody there), `NotConfigured`, `SpendCapReached`.
    """
    if (existing := find_by_key(tenant, key)) is not None:
        return existing
    if (bool(to) + bool(users) + bool(topic)) != 1:
        raise InvalidRequest("Give just one of: to, user, users, topic.", attr="to")
    content = _content(data, image_url, link, sound, badge, collapse_key, ttl, urgent)
    writer = _Writer(tenant, title, body, template, language, template_data or {})
    if not template and not (title or body or data or badge is not None or sound):
        raise InvalidRequest("There is nothing to send: no body, no template, no data.", attr="body")
    accounts = Accounts(tenant.pk)
    if not accounts.all and config_id is None:
        resolve(Call(Capability.PUSH, "send", provider=provider), tenant_id=tenant.pk)  # says what is missing
    chosen = accounts.named(provider=provider, config_id=config_id) if provider or config_id else None
    if to:
        groups, found_by = _by_token(tenant, to, accounts, chosen, writer), ""
    elif users:
        groups, found_by = _by_user(tenant, users, accounts, chosen, writer), "user"
    else:
        groups, found_by = _by_topic(tenant, topic, accounts, chosen, writer), "topic"
    for _account, words, to_topic in groups:
        _check_size(words, content, TOPIC_BYTES if to_topic else PAYLOAD_BYTES)
    with transaction.atomic():
        messages = []
        for number, ((account, words, to_topic), destinations) in enumerate(groups.items()):
            mine = _with_first(destinations, instead_of) if number == 0 and instead_of else destinations
            how: dict[str, Any] = {"topic": topic} if to_topic else {"found_by": found_by} if found_by else {}
            if how.get("found_by") == "topic":
                how["followers_of"] = topic
            draft = Draft(
                channel=Channel.PUSH,
                subject=words.title,
                body=words.body,
                content=content | how,
                template_name=template,
                language=words.language,
                provider=account.provider,
                config_id=account.config_id,
                reference=reference,
                category=category,
                send_at=send_at,
                expires_at=expires_at,
                override_reason=override_reason,
                key=f"{hashlib.sha256(key.encode()).hexdigest()}:{number}" if key and number else key,
                created_by=created_by,
                continues_id=continues_id,
                step=step,
            )
            messages.append(accept(tenant=tenant, draft=draft, destinations=mine))
        first = messages[0]
        if len(messages) > 1 and "also" not in first.content:
            first.content = first.content | {"also": [each.pk for each in messages[1:]]}
            first.save(update_fields=["content"])
    return first


class _Writer:
    """Finds the words for a device's language, and fills them in once for each variant."""

    def __init__(self, tenant: Tenant, title: str, body: str, template: str, language: str, data: Mapping[str, Any]) -> None:
        if template and (title or body):
            raise InvalidRequest("Give title and body, or a template, not both.", attr="template")
        self._plain = None if template else Words(title, body)
        self._tenant, self._template, self._language, self._data = tenant, template, language, data
        self._known: dict[str, Words] = {}

    def words(self, language: str = "") -> Words:
        if self._plain is not None:
            return self._plain
        if language not in self._known:
            variant = self._variant(language)
            try:
                made = fill_in(
                    tenant=self._tenant, channel=Channel.PUSH, name=self._template, language=variant, data=self._data
                )
            except InvalidRequest as error:
                attr = "template_data" if error.attr == "data" else error.attr
                raise InvalidRequest(error.message, attr=attr) from error
            self._known[language] = Words(made.subject.strip(), made.body, variant)
        return self._known[language]

    def _variant(self, language: str) -> str:
        """Return the variant's own language: the device's before the request's before the one for all."""
        found = ""
        for each in dict.fromkeys((language, self._language)):
            try:
                found = self._find(each)
            except InvalidRequest as error:
                # Only "not in this language" lets the request's own language have a try.
                if error.attr != "language" or each == self._language:
                    raise
            if found:
                break
        return found

    def _find(self, language: str) -> str:
        return find_template(tenant=self._tenant, channel=Channel.PUSH, name=self._template, language=language).language


def _by_token(
    tenant: Tenant, to: Sequence[str], accounts: Accounts, chosen: Account | None, writer: _Writer
) -> dict[Group, list[Destination]]:
    if len(to) > MAX_TOKENS:
        raise InvalidRequest(f"At most {MAX_TOKENS} tokens.", attr="to")
    try:
        tokens = list(dict.fromkeys(clean_token(each) for each in to))
    except InvalidRequest as error:
        raise InvalidRequest(error.message, attr="to") from None
    known = {each.token: each for each in Device.unscoped.filter(tenant=tenant, token__in=tokens)}
    groups: dict[Group, list[Destination]] = {}
    for token in tokens:
        device = known.get(token) or Device(tenant=tenant, token=token, platform=_likely_platform(token))
        account = chosen or accounts.of(device)
        if account is None or device.platform not in account.platforms:
            raise InvalidRequest(f"No account of yours reaches the device {masked(token)}.", attr="to")
        group = (account, writer.words(device.language), False)
        groups.setdefault(group, []).append(Destination(token, device_id=device.pk))
    return groups


def _likely_platform(token: str) -> str:
    """Return the platform of a token that the registry does not know, as far as its look tells."""
    return Device.Platform.IOS if HEXADECIMAL.fullmatch(token) else Device.Platform.ANDROID


def _by_user(
    tenant: Tenant, users: Sequence[str], accounts: Accounts, chosen: Account | None, writer: _Writer
) -> dict[Group, list[Destination]]:
    attr = "user" if len(users) == 1 else "users"
    if len(users) > MAX_USERS:
        raise InvalidRequest(f"At most {MAX_USERS} users.", attr=attr)
    alive = Device.unscoped.filter(tenant=tenant, user__in=set(users) - {""}, gone_at__isnull=True)
    groups = _fan_out(alive, accounts, chosen, writer, attr)
    if not groups:
        raise InvalidRequest("There is no device that could be written to.", attr=attr)
    return groups


def _by_topic(
    tenant: Tenant, topic: str, accounts: Accounts, chosen: Account | None, writer: _Writer
) -> dict[Group, list[Destination]]:
    """Return the topic itself at every account that keeps topics, and the followers where the hub has to know them."""
    check_topic(topic)
    followers = Device.unscoped.filter(tenant=tenant, topics__contains=[topic], gone_at__isnull=True)
    serving = [chosen] if chosen is not None else list(accounts.all)
    if chosen is None:
        ids = followers.filter(config__isnull=False).order_by().values_list("config_id", flat=True).distinct()
        named = [accounts.of(Device(tenant=tenant, config_id=each)) for each in ids]
        serving += [each for each in named if each is not None and each not in serving]
    groups: dict[Group, list[Destination]] = {}
    for account in serving:
        if account.has_topics:
            groups[account, writer.words(), True] = [Destination(topic)]
    if not all(each.has_topics for each in serving):
        without = [each for each in serving if not each.has_topics]
        reached = followers.filter(platform__in=set().union(*(each.platforms for each in without)))
        fanned = _fan_out(reached, accounts, chosen, writer, "topic")
        groups |= {group: found for group, found in fanned.items() if not group[0].has_topics}
    if not groups:
        raise InvalidRequest("No device follows this topic.", attr="topic")
    return groups


def _fan_out(
    rows: QuerySet[Device], accounts: Accounts, chosen: Account | None, writer: _Writer, attr: str
) -> dict[Group, list[Destination]]:
    """Return the devices that an account reaches, by account and language; with `chosen` only those that are its own."""
    groups: dict[Group, list[Destination]] = {}
    found = list(rows.order_by("id")[: MAX_DEVICES + 1])
    if len(found) > MAX_DEVICES:
        raise InvalidRequest(f"These are more than {MAX_DEVICES} devices.", attr=attr)
    for device in found:
        account = _account_for(device, accounts, chosen)
        if account is not None:
            destination = Destination(device.token, name=device.user, device_id=device.pk)
            groups.setdefault((account, writer.words(device.language), False), []).append(destination)
    return groups


def _account_for(device: Device, accounts: Accounts, chosen: Account | None) -> Account | None:
    own = accounts.of(device)
    if chosen is None or own is None or own == chosen:
        return own
    # Of two accounts at one service, a device that names neither may be of either: the caller's word counts.
    free = device.config_id is None and own.provider == chosen.provider
    return chosen if free else None


def _content(
    given: Mapping[str, str] | None,
    image_url: str,
    link: str,
    sound: str,
    badge: int | None,
    collapse_key: str,
    ttl: int | None,
    urgent: bool,
) -> dict[str, Any]:
    """Return what `calls._push` reads, checked as far as every service agrees."""
    data = dict(given or {})
    for name, value in data.items():
        if not isinstance(name, str) or not isinstance(value, str) or "\0" in name + value:
            raise InvalidRequest("Names and values of the data are texts.", attr="data")
        if not name or name in RESERVED or name.startswith(RESERVED_BEGINNINGS):
            raise InvalidRequest(f"The name {name[:60]!r} is taken by the push services.", attr="data")
    if not COLLAPSE_KEY.fullmatch(collapse_key):
        raise InvalidRequest("A collapse key has at most 64 plain characters.", attr="collapse_key")
    given = {"image_url": image_url, "link": link, "sound": sound, "badge": badge, "collapse_key": collapse_key, "ttl": ttl}
    kept = {name: value for name, value in given.items() if value not in ("", None)}
    return {**kept, "urgent": urgent, **({"data": data} if data else {})}


def _check_size(words: Words, content: Mapping[str, Any], limit: int) -> None:
    """Refuse what is too large everywhere: the same in the form that takes most room."""
    data = content.get("data") or {}
    whole = {
        **data,
        **{name: content[name] for name in ("image_url", "link") if name in content},
        "aps": {
            "alert": {"title": words.title, "body": words.body},
            **{name: content[name] for name in ("sound", "badge") if name in content},
        },
    }
    size = len(json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()) + OWN_BYTES
    if size > limit:
        attr = "data" if len(json.dumps(data)) > limit // 2 else "body"
        raise InvalidRequest(f"Title, body and data take {size} bytes of at most {limit}.", attr=attr)


def _with_first(destinations: Sequence[Destination], instead_of: int) -> list[Destination]:
    first = destinations[0]
    own = Destination(first.address, name=first.name, device_id=first.device_id, instead_of=instead_of)
    return [own, *destinations[1:]]
