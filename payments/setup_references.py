"""Under which ids and paths the outside will name our setups."""

from __future__ import annotations

from collections.abc import Iterable

from integrations.models import ExternalReference
from payments.models import SetupIntent

SETUP = "setup"


def open_setup_path(setup: SetupIntent, *, token: str) -> None:
    """Make `/hooks/<token>/...` lead to this setup, and to nothing else."""
    ExternalReference.objects.create(
        tenant_id=setup.tenant_id,
        provider=setup.provider,
        kind="hook_token",
        external_id=token,
        config_id=setup.config_id,
        object_type=SETUP,
        object_id=setup.pk,
    )


def note_setup_references(setup: SetupIntent, references: Iterable[tuple[str, str]]) -> None:
    """Remember the (kind, id) pairs that the gateway gave this setup; harmless to repeat."""
    for kind, external_id in references:
        ExternalReference.objects.get_or_create(
            tenant_id=setup.tenant_id,
            provider=setup.provider,
            kind=kind,
            external_id=external_id,
            object_type=SETUP,
            object_id=setup.pk,
            defaults={"config_id": setup.config_id},
        )


def find_setup_id(*, tenant_id: int, provider: str, external_id: str) -> str:
    """Return the id of the setup that this provider knows by `external_id` (ours or its own); empty where there is none."""
    if not external_id:
        return ""
    found = ExternalReference.objects.filter(
        tenant_id=tenant_id, provider=provider, external_id=external_id, object_type=SETUP
    ).exclude(kind="hook_token")
    return found.values_list("object_id", flat=True).first() or ""
