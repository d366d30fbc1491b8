"""Endpoints get their health row and keys in the new form; events that were published are spread."""

from typing import Any

from django.db import migrations
from django.db.models import F

from integrations.secrets import SecretUnreadable, open_sealed, seal
from webhooks.outbound.signing import new_key


def complete(apps: Any, schema_editor: Any) -> None:
    endpoints = apps.get_model("webhooks_outbound", "Endpoint")
    health = apps.get_model("webhooks_outbound", "EndpointHealth")
    for endpoint in endpoints._base_manager.all().iterator():
        health._base_manager.get_or_create(endpoint=endpoint, defaults={"tenant_id": endpoint.tenant_id})
        try:
            secrets = open_sealed(endpoint.tenant_id, endpoint.sealed_secrets)
        except SecretUnreadable:
            continue  # it can't sign today either
        keys = [each if isinstance(each, dict) else new_key(secret=each) for each in secrets]
        endpoint.sealed_secrets = seal(endpoint.tenant_id, keys)
        endpoint.save(update_fields=["sealed_secrets"])
    apps.get_model("webhooks_outbound", "Event")._base_manager.filter(spread_at=None).update(spread_at=F("created"))
    deliveries = apps.get_model("webhooks_outbound", "Delivery")._base_manager
    deliveries.filter(state="delivered", delivered_at=None).update(delivered_at=F("finished_at"))


class Migration(migrations.Migration):
    dependencies = [("webhooks_outbound", "0002_portal_grade")]

    operations = [migrations.RunPython(complete, migrations.RunPython.noop)]
