from django.db import migrations, models

from integrations.models.indexes import AddIndexConcurrently


class Migration(migrations.Migration):
    """Built while the hub works: without a lock on the table, so outside of a transaction. It can be run again."""

    atomic = False

    dependencies = [
        ("webhooks_outbound", "0006_growth_indexes"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("state", "failed")),
                fields=["tenant", "-created", "-id"],
                name="webhook_delivery_dead_by_time",
            ),
        ),
    ]
