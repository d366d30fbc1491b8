import django.db.models.deletion
import django.db.models.manager
from django.db import migrations, models

import integrations.contracts.clock
import integrations.models.base
from integrations.models.constraints import tenant_foreign_key


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("integrations", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Endpoint",
            fields=[
                ("id", integrations.models.base.PrefixedIdField(prefix="we", serialize=False)),
                ("name", models.CharField(blank=True, max_length=100)),
                ("url", models.CharField(max_length=2000)),
                ("events", models.JSONField(default=list)),
                ("sealed_headers", models.TextField(blank=True, editable=False)),
                ("sealed_secrets", models.TextField(editable=False)),
                ("is_active", models.BooleanField(default=True)),
                ("disabled_reason", models.CharField(blank=True, editable=False, max_length=200)),
                ("created", models.DateTimeField(default=integrations.contracts.clock.now, editable=False)),
                ("updated", models.DateTimeField(default=integrations.contracts.clock.now, editable=False)),
                ("deleted_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "tenant",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="integrations.tenant"),
                ),
            ],
            options={
                "ordering": ["-id"],
                "abstract": False,
                "base_manager_name": "unscoped",
            },
            managers=[
                ("objects", django.db.models.manager.Manager()),
                ("unscoped", django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                ("id", integrations.models.base.PrefixedIdField(prefix="evt", serialize=False)),
                ("type", models.CharField(max_length=100)),
                ("key", models.CharField(max_length=200)),
                ("payload", models.TextField()),
                ("object_type", models.CharField(blank=True, max_length=40)),
                ("object_id", models.CharField(blank=True, max_length=100)),
                ("created", models.DateTimeField(default=integrations.contracts.clock.now, editable=False)),
                (
                    "tenant",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="integrations.tenant"),
                ),
            ],
            options={
                "ordering": ["-id"],
                "abstract": False,
                "base_manager_name": "unscoped",
            },
            managers=[
                ("objects", django.db.models.manager.Manager()),
                ("unscoped", django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name="Delivery",
            fields=[
                ("id", integrations.models.base.PrefixedIdField(prefix="dlv", serialize=False)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("delivered", "Delivered"),
                            ("failed", "Failed"),
                            ("held", "Held (endpoint is off)"),
                        ],
                        default="pending",
                        max_length=10,
                    ),
                ),
                ("due_at", models.DateTimeField(default=integrations.contracts.clock.now)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("attempts_allowed", models.PositiveIntegerField(default=12)),
                ("lease", models.UUIDField(blank=True, editable=False, null=True)),
                ("lease_until", models.DateTimeField(blank=True, editable=False, null=True)),
                ("fence", models.PositiveIntegerField(default=0, editable=False)),
                ("last_status", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("last_error", models.TextField(blank=True)),
                ("created", models.DateTimeField(default=integrations.contracts.clock.now, editable=False)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                (
                    "tenant",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="integrations.tenant"),
                ),
                (
                    "endpoint",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="deliveries", to="webhooks_outbound.endpoint"
                    ),
                ),
                (
                    "event",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="deliveries", to="webhooks_outbound.event"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "deliveries",
                "ordering": ["-id"],
                "abstract": False,
                "base_manager_name": "unscoped",
            },
            managers=[
                ("objects", django.db.models.manager.Manager()),
                ("unscoped", django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name="DeliveryAttempt",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                ("started_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField()),
                ("status_code", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("duration_ms", models.PositiveIntegerField(blank=True, null=True)),
                ("error_class", models.CharField(blank=True, max_length=20)),
                ("error", models.TextField(blank=True)),
                ("response_head", models.TextField(blank=True)),
                ("address", models.CharField(blank=True, help_text="The address that was really dialled.", max_length=60)),
                (
                    "delivery",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="tries", to="webhooks_outbound.delivery"
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="integrations.tenant"),
                ),
            ],
            options={
                "ordering": ["number"],
                "abstract": False,
                "base_manager_name": "unscoped",
                "constraints": [models.UniqueConstraint(fields=("delivery", "number"), name="webhook_attempt_once")],
            },
            managers=[
                ("objects", django.db.models.manager.Manager()),
                ("unscoped", django.db.models.manager.Manager()),
            ],
        ),
        migrations.AddIndex(
            model_name="endpoint",
            index=models.Index(
                condition=models.Q(("deleted_at__isnull", True)), fields=["tenant", "id"], name="webhook_endpoint_of_tenant"
            ),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["tenant", "object_type", "object_id"], name="webhook_event_of_object"),
        ),
        migrations.AddConstraint(
            model_name="event",
            constraint=models.UniqueConstraint(fields=("tenant", "type", "key"), name="webhook_event_once"),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("state", "pending")), fields=["endpoint", "due_at"], name="webhook_delivery_due"
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("lease_until__isnull", False)),
                fields=["endpoint", "lease_until"],
                name="webhook_delivery_in_flight",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(fields=["endpoint", "-id"], name="webhook_delivery_of_endpoint"),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.UniqueConstraint(fields=("event", "endpoint"), name="webhook_delivery_once"),
        ),
        tenant_foreign_key("webhooks_outbound_delivery", "event_id", "webhooks_outbound_event"),
        tenant_foreign_key("webhooks_outbound_delivery", "endpoint_id", "webhooks_outbound_endpoint"),
        tenant_foreign_key("webhooks_outbound_deliveryattempt", "delivery_id", "webhooks_outbound_delivery"),
    ]
