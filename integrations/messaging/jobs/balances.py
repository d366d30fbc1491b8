"""Asking an account what it has left."""

from __future__ import annotations

from collections.abc import Callable

from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import AuthenticationFailed, OutcomeUnknown, ProviderError, UnsupportedOperation
from integrations.contracts.messaging import Balance
from integrations.messaging.models import Channel
from integrations.messaging.safety.balances import BALANCE_KIND, store
from integrations.models import Config, QueueItem, QueueState
from integrations.runtime.execute import execute
from integrations.runtime.jobs import Call, EffectJob


class BalanceJob(EffectJob):
    """One question to one account. A provider that is down is asked on for two days by the same item: a new one each hour
    would end in as many alerts.

    It makes its call itself because of keys that may send and nothing else: asked uninvited, their refusal is no reason to
    call the account broken.
    """

    kind = BALANCE_KIND
    max_attempts = 48

    def prepare(self, item: QueueItem) -> Call | None:
        config = _config(item)
        return _call(item) if config is not None and config.is_active else None

    def perform(self, item: QueueItem, begin: Callable[[], None]) -> Balance:
        try:
            found: Balance = execute(_call(item), tenant_id=item.tenant_id, item=item)
        except AuthenticationFailed as error:
            raise UnsupportedOperation(
                f"The account's keys may not read its balance: {error.message}", provider=error.provider
            ) from error
        return found

    def succeeded(self, item: QueueItem, result: Balance) -> None:
        config = _config(item)
        if config is not None:
            store(config, Channel(item.payload["channel"]), result)

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        """The last reading stays, with its time."""

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        """A question has no effect: the next hour asks again."""
        return QueueState.COMPLETED


def _call(item: QueueItem) -> Call:
    return Call(Capability(item.payload["channel"]), "balance", config_id=item.payload["config"])


def _config(item: QueueItem) -> Config | None:
    found: Config | None = Config.unscoped.filter(tenant_id=item.tenant_id, pk=item.payload["config"]).first()
    return found
