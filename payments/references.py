"""Under which ids and paths the outside will name our payments and refunds."""

from __future__ import annotations

from collections.abc import Iterable

from integrations.models import ExternalReference
from payments.models import Payment


def open_path(payment: Payment, *, token: str, object_type: str, object_id: str) -> None:
    """Make `/hooks/<token>/...` lead to this object of the payment's, and to nothing else."""
    ExternalReference.objects.create(
        tenant_id=payment.tenant_id,
        provider=payment.provider,
        kind="hook_token",
        external_id=token,
        config_id=payment.config_id,
        object_type=object_type,
        object_id=object_id,
    )


def note_references(payment: Payment, references: Iterable[tuple[str, str]], *, object_type: str, object_id: str) -> None:
    """Remember the (kind, id) pairs that the gateway gave this object of the payment's; harmless to repeat."""
    for kind, external_id in references:
        ExternalReference.objects.get_or_create(
            tenant_id=payment.tenant_id,
            provider=payment.provider,
            kind=kind,
            external_id=external_id,
            object_type=object_type,
            object_id=object_id,
            defaults={"config_id": payment.config_id},
        )
