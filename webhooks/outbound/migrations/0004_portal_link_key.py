"""A link knows the key that made it, and ends with it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("webhooks_outbound", "0003_existing_rows")]

    operations = [
        migrations.AddField(
            model_name="portallink",
            name="created_by_key",
            field=models.CharField(blank=True, default="", editable=False, max_length=40),
        ),
    ]
