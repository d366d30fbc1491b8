"""ReceiptDelivery: a receipt that is sent to somebody, and what became of it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from integrations.models.base import PrefixedIdField, TenantOwned
from payments.models.operation import Operation
from payments.models.payment import Payment


class ReceiptChannel(models.TextChoices):
    EMAIL = "email", "E-mail"
    SMS = "sms", "SMS"


class ReceiptReason(models.TextChoices):
    COMPLETED = "completed", "Payment completed"
    REFUNDED = "refunded", "Payment refunded"
    REISSUED = "reissued", "Sent again by hand"


class DeliveryState(models.TextChoices):
    QUEUED = "queued", "Queued"
    SENT = "sent", "Sent"
    FAILED = "failed", "Failed"
    UNKNOWN = "unknown", "Unknown"


class ReceiptDelivery(TenantOwned):
    """One sending of a payment's receipt to one address. What the hub sends by itself it sends once: for the completed payment,
    and for each refund (`operation`) that succeeded; a person may have it sent again as often as wanted.

    `to` is an e-mail address or a phone number in E.164. `sent`: the mail server or the SMS provider took it; `unknown`: it may
    have, and it is not sent again. `message` is messaging's id of a text.
    """

    id = PrefixedIdField(prefix="rd")
    payment = models.ForeignKey(Payment, on_delete=models.CASCADE, related_name="receipt_deliveries")
    operation = models.ForeignKey(Operation, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    channel = models.CharField(max_length=10, choices=ReceiptChannel.choices)
    reason = models.CharField(max_length=10, choices=ReceiptReason.choices)
    to = models.CharField(max_length=254)
    state = models.CharField(max_length=10, choices=DeliveryState.choices, default=DeliveryState.QUEUED)
    detail = models.CharField(max_length=300, blank=True)
    message = models.CharField(max_length=40, blank=True)
    actor = models.CharField(max_length=100)
    created = models.DateTimeField()
    finished = models.DateTimeField(null=True, blank=True)

    class Meta(TenantOwned.Meta):
        ordering = ["created", "id"]
        verbose_name_plural = "receipt deliveries"
        constraints = [
            models.CheckConstraint(
                condition=Q(reason="refunded", operation__isnull=False) | (~Q(reason="refunded") & Q(operation__isnull=True)),
                name="receipt_delivery_names_its_refund",
            ),
            models.UniqueConstraint(
                fields=["payment", "channel"], condition=Q(reason="completed"), name="receipt_delivery_completed_once"
            ),
            models.UniqueConstraint(
                fields=["operation", "channel"], condition=Q(reason="refunded"), name="receipt_delivery_refunded_once"
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "message"], condition=~Q(message=""), name="receipt_delivery_message"),
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.pk}"

    @property
    def way(self) -> str:
        """What stands after "by" in a sentence, and where to: `e-mail to jane@example.com`."""
        return f"{'e-mail' if self.channel == ReceiptChannel.EMAIL else 'SMS'} to {self.to}"
