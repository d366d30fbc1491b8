"""The handshake's word gets a column of its own, where a change of keys finds it."""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

WORD = "verify_token"


def out_of_the_options(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Move the sealed words as they are: no key is needed for it."""
    rows = apps.get_model("webhooks_inbound", "InboundEndpoint")._base_manager
    for row in rows.filter(options__has_key=WORD).iterator():
        row.sealed_verify_token = row.options.pop(WORD)
        row.save(update_fields=["options", "sealed_verify_token"])


def into_the_options(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    rows = apps.get_model("webhooks_inbound", "InboundEndpoint")._base_manager
    for row in rows.exclude(sealed_verify_token="").iterator():
        row.options[WORD] = row.sealed_verify_token
        row.save(update_fields=["options"])


class Migration(migrations.Migration):
    dependencies = [("webhooks_inbound", "0002_endpoints")]

    operations = [
        migrations.AddField(
            model_name="inboundendpoint",
            name="sealed_verify_token",
            field=models.TextField(blank=True, editable=False),
        ),
        migrations.RunPython(out_of_the_options, into_the_options),
    ]
