"""The device-token registry: apps announce themselves, follow topics, and dead ones are let go.

Whoever changes a device holds its token (`reports.lock_addresses`), and so does the job that tells the provider who follows
what: whatever order they come in, the provider ends up with what stands here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import InvalidRequest, NotConfigured
from integrations.contracts.messaging import MessageState, RecipientResult
from integrations.contracts.push import PushAdapter
from integrations.messaging.models import Device, Recipient
from integrations.messaging.reports import lock_addresses
from integrations.models import Tenant
from integrations.registry import get_provider, providers_of
from integrations.runtime.jobs import Call
from integrations.runtime.queue import enqueue
from integrations.runtime.resolve import resolve
from integrations.secrets import open_sealed, seal

TOPICS_KIND = "push.topics"
TOPICS_PRIORITY = 7
MAX_TOPICS = 200
LONGEST_TOKEN = 512
TOKEN = re.compile(rf"[\x21-\x7e]{{8,{LONGEST_TOKEN}}}")
HEXADECIMAL = re.compile(r"([0-9a-fA-F]{2}){16,}")
TOPIC = re.compile(r"[a-zA-Z0-9_.~%-]{1,500}")
LANGUAGE = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z]{4})?(?:[-_]([A-Za-z]{2}))?")
# What an adapter says beside SENT where it found the device among the development builds: in the words of this registry.
DEVELOPMENT_HINT = "environment sandbox"


@dataclass(frozen=True, slots=True)
class Account:
    """An account at a push service, and whom it reaches. `config_id` None is the installation's."""

    provider: str
    config_id: int | None
    platforms: frozenset[str]
    has_topics: bool


class Accounts:
    """A tenant's push accounts: one for each service, as calls to it would be served."""

    def __init__(self, tenant_id: int) -> None:
        self._tenant_id = tenant_id
        self._configs: dict[int, Account | None] = {}
        found = [self._try(provider=each.slug) for each in providers_of(Capability.PUSH.value)]
        # The one made for a platform comes before those that pass on to it.
        self.all = sorted((each for each in found if each is not None), key=lambda each: (len(each.platforms), each.provider))

    def of(self, device: Device) -> Account | None:
        """Return the account that reaches the device: its own config, its service, else the one made for its platform."""
        if device.config_id is not None:
            if device.config_id not in self._configs:
                self._configs[device.config_id] = self._try(config_id=device.config_id)
            return self._configs[device.config_id]
        if device.provider:
            return next((each for each in self.all if each.provider == device.provider), None)
        able = [each for each in self.all if device.platform in each.platforms]
        if device.platform == Device.Platform.IOS and not HEXADECIMAL.fullmatch(device.token):
            able.reverse()  # not the platform's own token: a service for several platforms gave it
        return able[0] if able else None

    def named(self, *, provider: str | None = None, config_id: int | None = None) -> Account:
        """Return the account asked for, or without names the one that serves push; raise `NotConfigured`, `InvalidRequest`."""
        view = resolve(Call(Capability.PUSH, "send", config_id=config_id, provider=provider or None), tenant_id=self._tenant_id)
        if Capability.PUSH.value not in get_provider(view.provider).categories:
            raise InvalidRequest("This account sends no push notifications.", attr="config")
        adapter = get_provider(view.provider).adapter_class(Capability.PUSH)
        if not issubclass(adapter, PushAdapter):
            raise InvalidRequest("This account sends no push notifications.", attr="config")
        return Account(view.provider, view.id, adapter.platforms, adapter.has_topics)

    def _try(self, *, provider: str | None = None, config_id: int | None = None) -> Account | None:
        try:
            return self.named(provider=provider, config_id=config_id)
        except (NotConfigured, InvalidRequest):
            return None


def register(
    *,
    tenant: Tenant,
    token: str,
    platform: str,
    user: str = "",
    provider: str = "",
    config_id: int | None = None,
    environment: str = "",
    app: str = "",
    language: str = "",
    time_zone: str = "",
    topics: Sequence[str] | None = None,
) -> tuple[Device, bool]:
    """Write down that an app is on a device, and tell whether the token is new here. It describes the device as it is now: what
    is left out goes back to empty; but the topics stay while the user does, and the environment stays.

    The token moves to the user who came last; one that was gone is alive again. Topics are followed at the provider by the
    queue. Raises `InvalidRequest` naming the field.
    """
    token = clean_token(token)
    _check_platform(token, platform)
    wanted = None if topics is None else clean_topics(topics)
    language, time_zone = clean_language(language), _clean_zone(time_zone)
    accounts = Accounts(tenant.pk)
    with transaction.atomic():
        lock_addresses(tenant.pk, [token])
        device = Device.unscoped.select_for_update(of=("self",)).filter(tenant=tenant, token=token).first()
        is_new = device is None
        device = device or Device(tenant=tenant, token=token)
        followed = _follows(device, accounts)
        if wanted is not None:
            device.topics = wanted
        elif device.user != user:
            device.topics = []
        device.platform, device.user, device.app = platform, user, app
        device.provider, device.config_id = provider, config_id
        device.environment = environment or device.environment
        device.language, device.time_zone = language, time_zone
        device.registered_at, device.gone_at, device.gone_why = clock.now(), None, ""
        _check_account(device, accounts)
        device.save()
        _tell(device, followed ^ _follows(device, accounts))
    return device, is_new


def remove(*, tenant_id: int, token: str) -> bool:
    """Forget a device: its user signed out, or asked for it. Tell whether it was there; removing twice changes nothing."""
    token = clean_token(token)
    with transaction.atomic():
        lock_addresses(tenant_id, [token])
        device = Device.unscoped.filter(tenant_id=tenant_id, token=token).first()
        if device is None:
            return False
        _tell(device, _follows(device, Accounts(tenant_id)))
        device.delete()
    return True


def prune(recipient: Recipient, *, since: datetime | None, why: str) -> bool:
    """Let the device of a recipient go because its push service calls it dead (`since` then); tell whether it did. One that
    registered again after that moment is another installation of the app under the same token: it stays."""
    rows = Device.unscoped.filter(tenant_id=recipient.tenant_id, token=recipient.address, gone_at__isnull=True)
    if since is not None:
        rows = rows.filter(registered_at__lte=since)
    return bool(rows.update(gone_at=clock.now(), gone_why=why[:200]))


def learn(*, tenant_id: int, said: RecipientResult) -> None:
    """Write down what a successful send taught of the device: that it runs a development build."""
    if said.state is MessageState.SENT and DEVELOPMENT_HINT in said.detail:
        Device.unscoped.filter(tenant_id=tenant_id, token=said.address).update(environment=Device.Environment.SANDBOX)


def should_follow(*, tenant_id: int, token: str, topic: str, provider: str, config_id: int | None) -> bool:
    """Tell whether the device is to follow the topic at this account."""
    device = Device.unscoped.filter(tenant_id=tenant_id, token=token).first()
    return device is not None and (provider, config_id, topic) in _follows(device, Accounts(tenant_id))


def drop_topic(*, tenant_id: int, token: str, topic: str) -> None:
    """Let the device follow the topic no more, since its provider refuses that: a later registration asks again."""
    device = Device.unscoped.select_for_update(of=("self",)).filter(tenant_id=tenant_id, token=token).first()
    if device is not None and topic in device.topics:
        device.topics = [each for each in device.topics if each != topic]
        device.save(update_fields=["topics"])


def tell_provider(
    *,
    tenant_id: int,
    token: str,
    topic: str,
    provider: str,
    config_id: int | None,
    key: str = "",
    due_at: datetime | None = None,
) -> None:
    """Queue that the provider learns whether this device follows the topic, in the caller's transaction."""
    digest = hashlib.sha256(f"{token} {provider} {config_id} {topic}".encode()).hexdigest()
    enqueue(
        tenant_id=tenant_id,
        kind=TOPICS_KIND,
        # Sealed: with the provider's account a token is all that it takes to write to the device.
        payload={"token": seal(tenant_id, token), "topic": topic, "provider": provider, "config": config_id},
        key=f"{digest}{key}",
        config_id=config_id,
        due_at=due_at,
        priority=TOPICS_PRIORITY,
    )


def token_of(tenant_id: int, sealed: str) -> str:
    """Return the token of a queue item's payload; raise `secrets.SecretUnreadable`."""
    return str(open_sealed(tenant_id, sealed))


def masked(token: str) -> str:
    """Return a token as all but the app that registers it may see it."""
    return f"…{token[-8:]}" if len(token) > 16 else f"…{token[-3:]}"


def clean_token(token: str) -> str:
    """Return the token as it is compared; raise `InvalidRequest` (attr `token`) for what can't be one."""
    if not TOKEN.fullmatch(token):
        raise InvalidRequest(f"A device token has 8 to {LONGEST_TOKEN} letters, digits and signs, and no spaces.", attr="token")
    return token.lower() if HEXADECIMAL.fullmatch(token) else token


def clean_topics(topics: Sequence[str]) -> list[str]:
    """Return the topics, each once; raise `InvalidRequest` (attr `topics`)."""
    distinct = list(dict.fromkeys(topics))
    if len(distinct) > MAX_TOPICS:
        raise InvalidRequest(f"A device follows at most {MAX_TOPICS} topics.", attr="topics")
    for each in distinct:
        check_topic(each, attr="topics")
    return distinct


def check_topic(topic: str, *, attr: str = "topic") -> None:
    """Raise `InvalidRequest` for a name that no topic can have."""
    if not TOPIC.fullmatch(topic):
        raise InvalidRequest("A topic's name is of letters, digits and -_.~% alone.", attr=attr)


def clean_language(language: str) -> str:
    """Return a language as templates name it, `en` or `en-KE`; devices say `en_KE` or `zh-Hans-CN` too."""
    if not language:
        return ""
    found = LANGUAGE.fullmatch(language)
    if found is None:
        raise InvalidRequest("Write the language as en or en-KE.", attr="language")
    return found[1].lower() + (f"-{found[2].upper()}" if found[2] else "")


def _clean_zone(name: str) -> str:
    if name:
        try:
            ZoneInfo(name)
        except (ValueError, OSError, LookupError):  # no such zone; a folder of zones; nothing that may be a name
            raise InvalidRequest("Write the time zone as Africa/Nairobi.", attr="time_zone") from None
    return name


def _check_platform(token: str, platform: str) -> None:
    if platform != Device.Platform.IOS and HEXADECIMAL.fullmatch(token):
        raise InvalidRequest("A token of hexadecimal digits alone is that of an Apple device.", attr="platform")


def _check_account(device: Device, accounts: Accounts) -> None:
    """Raise `InvalidRequest` where the device names an account that is not there, or does not reach it."""
    if not device.provider and device.config_id is None:
        return
    attr = "config" if device.config_id is not None else "provider"
    account = accounts.of(device)
    if account is None:
        raise InvalidRequest("There is no such push account.", attr=attr)
    if device.provider and account.provider != device.provider:
        raise InvalidRequest("This account is another provider's.", attr="config")
    if device.platform not in account.platforms:
        raise InvalidRequest(f"This account does not reach {Device.Platform(device.platform).label} devices.", attr="platform")


def _follows(device: Device, accounts: Accounts) -> set[tuple[str, int | None, str]]:
    """Return (provider, config, topic) that the device is to follow at its provider: nothing where the hub itself fans out."""
    if device.gone_at is not None or not device.topics:
        return set()
    account = accounts.of(device)
    if account is None or not account.has_topics:
        return set()
    return {(account.provider, account.config_id, topic) for topic in device.topics}


def _tell(device: Device, changed: Iterable[tuple[str, int | None, str]]) -> None:
    for provider, config_id, topic in sorted(changed, key=str):
        tell_provider(tenant_id=device.tenant_id, token=device.token, topic=topic, provider=provider, config_id=config_id)
