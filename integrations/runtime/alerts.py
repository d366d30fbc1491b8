"""Raising and resolving alerts. One open alert of a kind and subject; a repetition counts up instead of piling up."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet

from integrations.contracts import clock
from integrations.models import Alert


def raise_alert(
    *, tenant_id: int | None, kind: str, subject: str, message: str, level: str = Alert.Level.WARNING.value
) -> None:
    """Open the alert, or count it up where it is open already. Works inside and outside of a transaction."""
    opened = _open(tenant_id, kind, subject)
    for _ in range(2):
        if opened.update(count=F("count") + 1, message=message, level=level, updated=clock.now()):
            return
        try:
            with transaction.atomic():
                Alert.objects.create(tenant_id=tenant_id, kind=kind, subject=subject[:150], message=message, level=level)
        except IntegrityError:
            continue  # somebody else opened it between our two statements
        return


def resolve_alert(*, tenant_id: int | None, kind: str, subject: str) -> None:
    """Close the alert where it is open."""
    _open(tenant_id, kind, subject).update(resolved_at=clock.now())


def _open(tenant_id: int | None, kind: str, subject: str) -> QuerySet[Alert]:
    whose = Q(tenant_id__isnull=True) if tenant_id is None else Q(tenant_id=tenant_id)
    return Alert.objects.filter(whose, kind=kind, subject=subject[:150], resolved_at__isnull=True)
