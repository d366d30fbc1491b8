"""The device-token registry: apps announce themselves, dead ones are let go."""

from __future__ import annotations

from datetime import datetime

from integrations.contracts import clock
from integrations.messaging.models import Device, Recipient


def prune(recipient: Recipient, *, since: datetime | None, why: str) -> bool:
    """Let the device of a recipient go because its push service calls it dead (`since` then); tell whether it did. One that
    registered again after that moment is another installation of the app under the same token: it stays."""
    rows = Device.unscoped.filter(tenant_id=recipient.tenant_id, token=recipient.address, gone_at__isnull=True)
    if since is not None:
        rows = rows.filter(registered_at__lte=since)
    return bool(rows.update(gone_at=clock.now(), gone_why=why[:200]))
