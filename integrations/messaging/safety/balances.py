"""What the tenants' accounts have left: asked hourly, kept, and warned about before messages stop."""

from __future__ import annotations

from decimal import Decimal

from integrations.contracts import clock
from integrations.contracts.adapter import Adapter
from integrations.contracts.capabilities import Capability
from integrations.contracts.email import EmailAdapter
from integrations.contracts.messaging import Balance
from integrations.contracts.sms import SmsAdapter
from integrations.contracts.whatsapp import WhatsAppAdapter
from integrations.messaging.models import BalanceReading, Channel
from integrations.messaging.safety.spending import policy_of
from integrations.models import Config
from integrations.registry import UnknownProvider, get_provider
from integrations.runtime.alerts import raise_alert, resolve_alert
from integrations.runtime.queue import enqueue

BALANCE_KIND = "balance.read"
ALERT = "low_balance"
BASES: dict[Channel, type[Adapter]] = {
    Channel.SMS: SmsAdapter,
    Channel.EMAIL: EmailAdapter,
    Channel.WHATSAPP: WhatsAppAdapter,
}


def ask_all() -> int:
    """Queue the question for each active account that has a balance; return for how many. Run hourly by a schedule; a question
    that still waits for its answer is not asked twice."""
    asked = 0
    configs = Config.unscoped.filter(is_active=True, provider__enabled=True, tenant__is_active=True)
    for config in configs.order_by("pk").iterator():
        for channel in channels_with_balance(config.provider_id):
            enqueue(
                tenant_id=config.tenant_id,
                kind=BALANCE_KIND,
                payload={"config": config.pk, "channel": channel.value},
                key=f"{config.pk}:{channel.value}",
                config_id=config.pk,
                priority=8,
            )
            asked += 1
    return asked


def channels_with_balance(provider: str) -> list[Channel]:
    """Return the channels of a provider whose adapter can be asked for a balance."""
    try:
        found = get_provider(provider)
    except UnknownProvider:
        return []
    return [
        channel
        for channel, base in BASES.items()
        if channel.value in found.categories and _asks(found.adapter_class(Capability(channel.value)), base)
    ]


def store(config: Config, channel: Channel, balance: Balance) -> BalanceReading:
    """Keep what an account has left, and warn where the tenant's policy calls that little; once it is above that again the
    warning ends."""
    reading, _is_new = BalanceReading.unscoped.update_or_create(
        config=config,
        channel=channel,
        defaults={
            "tenant_id": config.tenant_id,
            "amount": balance.amount,
            "currency": balance.currency[:3],
            "unit": balance.unit[:20],
            "at": clock.now(),
        },
    )
    limit = _limit(config, channel, balance)
    subject = f"{channel.label}: {config.label or config.provider_id} #{config.pk}"
    if limit is None or balance.amount >= limit:
        resolve_alert(tenant_id=config.tenant_id, kind=ALERT, subject=subject)
    else:
        raise_alert(
            tenant_id=config.tenant_id,
            kind=ALERT,
            subject=subject,
            message=f"{balance.amount:f} {balance.currency or balance.unit} left, less than {limit:f}.",
        )
    return reading


def _limit(config: Config, channel: Channel, balance: Balance) -> Decimal | None:
    """Return the least that the account should have. A limit in another currency says nothing about it; of an account that
    counts messages, it is a number of messages."""
    policy = policy_of(config.tenant_id, channel)
    if policy is None or policy.low_balance is None:
        return None
    comparable = not balance.currency or balance.currency == policy.currency
    return policy.low_balance if comparable else None


def _asks(adapter: type[Adapter], base: type[Adapter]) -> bool:
    return getattr(adapter, "balance", None) is not getattr(base, "balance", None)
