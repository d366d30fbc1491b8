"""Having an e-mail provider write to an address again that its own list holds."""

from __future__ import annotations

from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import OutcomeUnknown, ProviderError
from integrations.messaging.models import Suppression
from integrations.messaging.safety.screening import RELEASE_KIND, listing
from integrations.models import Config, QueueItem, QueueState
from integrations.runtime.jobs import Call, ProviderJob


class ReleaseJob(ProviderJob):
    """One address at one account, unless it is on the tenant's list again meanwhile."""

    kind = RELEASE_KIND

    def prepare(self, item: QueueItem) -> Call | None:
        row = Suppression.unscoped.filter(tenant_id=item.tenant_id, pk=item.payload["suppression"]).first()
        if row is None or listing(item.tenant_id, row.channel, row.address) is not None:
            return None
        config = item.payload["config"]
        if not Config.unscoped.filter(tenant_id=item.tenant_id, pk=config, is_active=True).exists():
            return None
        reference = ("suppression", str(row.pk))
        return Call(Capability.EMAIL, "unsuppress", (row.address,), config_id=config, reference=reference)

    def succeeded(self, item: QueueItem, result: None) -> None:
        """Nothing of ours changes."""

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        """The queue shows it; mail to the address then comes back as refused by the provider, which lists it anew."""

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        """Releasing again does no harm, but that is a person's to say."""
        return QueueState.NEEDS_REVIEW
