"""An address is any channel's, not only a phone number; the ladder knows what e-mail and chat tell."""

from django.db import migrations, models

STATES = [
    (state, state.capitalize())
    for state in (
        "queued",
        "sent",
        "delivered",
        "read",
        "failed",
        "bounced",
        "complained",
        "cancelled",
        "expired",
        "unknown",
    )
]
CHANNELS = [("sms", "SMS"), ("email", "E-mail"), ("push", "Push"), ("whatsapp", "WhatsApp")]


class Migration(migrations.Migration):
    dependencies = [("messaging", "0001_initial")]

    operations = [
        migrations.RemoveIndex(model_name="recipient", name="recipient_unknown"),
        migrations.RemoveConstraint(model_name="recipient", name="recipient_once"),
        migrations.RemoveIndex(model_name="unmatchedreport", name="unmatched_report_open"),
        migrations.RenameField(model_name="recipient", old_name="number", new_name="address"),
        migrations.RenameField(model_name="unmatchedreport", old_name="number", new_name="address"),
        migrations.AlterField(model_name="recipient", name="address", field=models.CharField(max_length=512)),
        migrations.AlterField(model_name="unmatchedreport", name="address", field=models.CharField(max_length=512)),
        migrations.AlterField(model_name="suppression", name="address", field=models.CharField(max_length=512)),
        migrations.AlterField(
            model_name="suppression",
            name="channel",
            field=models.CharField(choices=CHANNELS, default="sms", max_length=10),
        ),
        migrations.AlterField(
            model_name="message",
            name="channel",
            field=models.CharField(choices=CHANNELS, default="sms", max_length=10),
        ),
        migrations.AlterField(
            model_name="recipient",
            name="state",
            field=models.CharField(choices=STATES, default="queued", max_length=10),
        ),
        migrations.AlterField(
            model_name="messageevent",
            name="state",
            field=models.CharField(blank=True, choices=STATES, max_length=10),
        ),
        migrations.AddIndex(
            model_name="recipient",
            index=models.Index(
                condition=models.Q(("state", "unknown")), fields=["tenant", "address"], name="recipient_unknown"
            ),
        ),
        migrations.AddConstraint(
            model_name="recipient",
            constraint=models.UniqueConstraint(fields=("message", "address"), name="recipient_once"),
        ),
        migrations.AddIndex(
            model_name="unmatchedreport",
            index=models.Index(
                condition=models.Q(("matched_at__isnull", True)), fields=["tenant", "address"], name="unmatched_report_open"
            ),
        ),
    ]
