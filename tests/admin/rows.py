"""One row of each tenant-owned model that has an admin page, for a tenant."""

from __future__ import annotations

from datetime import time, timedelta
from decimal import Decimal
from typing import Any

from integrations.contracts import clock
from integrations.contracts.ids import new_id, new_token
from integrations.messaging.models import (
    BalanceReading,
    Device,
    FallbackPolicy,
    InboundMessage,
    Message,
    MessageCategory,
    MessageEvent,
    MessageTemplate,
    NotificationRule,
    Preference,
    Recipient,
    RecurringMessage,
    SendingPolicy,
    Suppression,
    UnmatchedReport,
)
from integrations.models import (
    Alert,
    Attempt,
    AuditEntry,
    Config,
    LogRetention,
    Membership,
    PrimaryConfig,
    ProviderGrant,
    QueueState,
    Tenant,
)
from integrations.secrets import seal
from integrations.tenancy.authentication import create_api_key
from payments.models import (
    AllocationRule,
    Dispute,
    LedgerEntry,
    Operation,
    PayerMethod,
    Payment,
    ReconciliationLine,
    ReconciliationRun,
    RoutingRule,
    RoutingStep,
    SetupIntent,
)
from tests import factories
from webhooks.inbound.models import Receipt, Rejection
from webhooks.outbound.endpoints.services import create_endpoint
from webhooks.outbound.models import (
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    Event,
    EventTypeDefinition,
    PortalLink,
    Replay,
    RetentionPolicy,
)

CANARY = "canary-9f3b61d27c"
"""A secret of every config here; whatever shows it leaks."""


def make_payment(tenant: Tenant, config: Any = None, **fields: Any) -> Payment:
    """Return a payment of KES 1,500.00 with its operation and one ledger line; succeeded unless told otherwise."""
    now = clock.now()
    values: dict[str, Any] = {
        "config": config,
        "provider": "mpesa",
        "status": "succeeded",
        "amount": 150_000,
        "currency": "KES",
        "amount_authorized": 150_000,
        "amount_captured": 150_000,
        "method_type": "mobile_money",
        "phone": "+254712345678",
        "payer_name": "Jane Wanjiku",
        "reference_type": "invoice",
        "reference_id": "INV-0042",
        "receipt": f"R{new_token()[:9].upper()}",
        "receipt_number": f"2026-{new_token()[:6]}",
        "hook_token": new_token(),
        "completed_at": now,
        "created": now,
        "updated": now,
        **fields,
    }
    payment = Payment.unscoped.create(tenant=tenant, **values)
    operation = Operation.unscoped.create(
        id=new_id("op"),
        tenant=tenant,
        payment=payment,
        kind="authorize",
        status="succeeded",
        amount=payment.amount,
        idempotency_key=new_token(),
        hook_token=new_token(),
        created=now,
        updated=now,
    )
    LedgerEntry.unscoped.create(
        tenant=tenant,
        payment=payment,
        operation=operation,
        at=now,
        actor="api",
        reason="payment asked for",
        to_status=payment.status,
        amount=payment.amount,
        amount_captured=payment.amount_captured,
        amount_refunded=payment.amount_refunded,
    )
    return payment


def make_dispute(payment: Payment, **fields: Any) -> Dispute:
    """Return a dispute about the whole payment that waits for an answer, the money withdrawn."""
    now = clock.now()
    values: dict[str, Any] = {
        "provider": payment.provider,
        "provider_ref": f"dp-{new_token()[:12]}",
        "status": "needs_response",
        "amount": payment.amount,
        "currency": payment.currency,
        "reason": "fraudulent",
        "withdrawn": True,
        "respond_by": now,
        "created": now,
        "updated": now,
        **fields,
    }
    return Dispute.unscoped.create(tenant=payment.tenant, payment=payment, **values)


def make_setup(tenant: Tenant, config: Any, **fields: Any) -> SetupIntent:
    """Return a setup that has stored a card, whose token is `CANARY`."""
    now = clock.now()
    method = PayerMethod.unscoped.create(
        tenant=tenant,
        config=config,
        provider=config.provider_id,
        customer_id="c-1",
        customer_ref="cus_1",
        method_type="card",
        brand="Visa",
        last4="4242",
        expires="12/2030",
        sealed_token=seal(tenant.pk, CANARY),
        created=now,
    )
    values: dict[str, Any] = {"status": "succeeded", "method_type": "card", "payer_method": method, **fields}
    return SetupIntent.unscoped.create(
        tenant=tenant, config=config, provider=config.provider_id, created=now, updated=now, **values
    )


def make_reconciliation(payment: Payment, config: Config, **fields: Any) -> ReconciliationLine:
    """Return a line of a completed run: the gateway charged for the payment, and nothing of it is booked here."""
    now = clock.now()
    run = ReconciliationRun.unscoped.create(
        tenant=payment.tenant,
        config=config,
        provider=payment.provider,
        since=now - timedelta(days=1),
        until=now,
        status="completed",
        actor="schedule",
        started_at=now,
        finished_at=now,
    )
    values: dict[str, Any] = {
        "kind": "missing_here",
        "transaction_kind": "charge",
        "payment": payment,
        "provider_ref": f"txn-{new_token()[:12]}",
        "gateway_amount": payment.amount,
        "currency": payment.currency,
        "fee": 450,
        "net": payment.amount - 450,
        "settlement_currency": payment.currency,
        "occurred_at": now,
        "detail": "has no such charge",
        **fields,
    }
    return ReconciliationLine.unscoped.create(tenant=payment.tenant, run=run, **values)


def make_rows(tenant: Tenant) -> dict[str, Any]:
    """Return {model label: row}. Everything is written as if by the hub itself; the config holds `CANARY` as a secret."""
    now = clock.now()
    config = factories.make_config(tenant, "africastalking", {"api_key": CANARY})
    item = factories.make_item(
        tenant,
        config=config,
        state=QueueState.FAILED,
        attempts=8,
        errors=[{"at": now.isoformat(), "attempt": 8, "error": "ProviderUnavailable", "detail": "no connection"}],
        last_error="no connection",
    )
    Attempt.unscoped.create(tenant=tenant, item=item, fence=1, operation="send", state="failed", started_at=now)
    log = factories.make_log(tenant, config=config, item=item, request_body='{"to": "+254712345678"}')
    key, _secret = create_api_key(tenant=tenant, name=f"key of {tenant.slug}")
    endpoint, _secret = create_endpoint(
        tenant=tenant, url=f"https://{tenant.slug}.example/hook", events=["*"], name=f"hook of {tenant.slug}"
    )
    event = Event.unscoped.create(tenant=tenant, type="payment.completed", key=new_token(), payload='{"id": "evt"}')
    delivery = Delivery.unscoped.create(
        tenant=tenant, event=event, endpoint=endpoint, state=DeliveryState.FAILED, attempts=12, finished_at=now
    )
    DeliveryAttempt.unscoped.create(
        tenant=tenant, delivery=delivery, number=1, started_at=now, finished_at=now, status_code=500, error_class="http"
    )
    message = Message.unscoped.create(
        tenant=tenant, provider="africastalking", config=config, body="Received KES 1,500.00", segments=1, encoding="gsm7"
    )
    recipient = Recipient.unscoped.create(tenant=tenant, message=message, address="+254712345678", state="sent")
    MessageEvent.unscoped.create(tenant=tenant, recipient=recipient, at=now, state="sent", source="provider")
    receipt = Receipt.unscoped.create(
        tenant=tenant,
        provider="africastalking",
        config=config,
        purpose="dlr",
        trust="token",
        dedupe_key=new_token(),
        method="POST",
        headers={"content-type": "application/x-www-form-urlencoded", "authorization": f"Bearer {CANARY}"},
        body=f"id=ATX_1&note={CANARY}".encode(),
        status="processed",
        received_at=now,
    )
    source, _secret = factories.make_source(tenant, name=f"source of {tenant.slug}", secret=CANARY)
    member = factories.make_user(f"clerk-of-{tenant.slug}")
    payment = make_payment(tenant)
    setup = make_setup(tenant, config)
    rule = RoutingRule.unscoped.create(tenant=tenant, name=f"rule of {tenant.slug}", currency="KES", minimum=100)
    RoutingStep.unscoped.create(tenant=tenant, rule=rule, config=config)
    line = make_reconciliation(payment, config)
    rows = [
        config,
        PrimaryConfig.unscoped.filter(tenant=tenant).first(),
        item,
        log,
        key,
        endpoint,
        event,
        delivery,
        message,
        receipt,
        source,
        Rejection.objects.create(
            tenant=tenant,
            endpoint=source,
            key=new_token(),
            source=source.pk,
            reason="malformed",
            day=now.date(),
            last_at=now,
        ),
        payment,
        make_dispute(payment),
        line,
        line.run,
        setup,
        setup.payer_method,
        rule,
        AllocationRule.unscoped.create(tenant=tenant, pattern=r"INV-\d+", reference_type="invoice"),
        Alert.objects.create(tenant=tenant, kind="sample", subject=tenant.slug, message=f"look at {tenant.slug}"),
        Membership.unscoped.create(tenant=tenant, user=member, role="staff"),
        EventTypeDefinition.unscoped.create(tenant=tenant, name=f"booking.{tenant.slug.replace('-', '_')}"),
        PortalLink.unscoped.create(
            tenant=tenant, label=f"link of {tenant.slug}", token_hash=new_token(), expires_at=now + timedelta(days=365)
        ),
        Replay.unscoped.create(tenant=tenant, endpoint=endpoint, mode="failed", since=now - timedelta(days=1), until=now),
        RetentionPolicy.unscoped.create(tenant=tenant, payload_days=30),
        LogRetention.unscoped.create(tenant=tenant, call_log_days=30),
        AuditEntry.unscoped.create(tenant=tenant, actor=f"admin of {tenant.slug}", action="config.updated"),
        ProviderGrant.unscoped.create(tenant=tenant, provider_id="africastalking"),
        NotificationRule.unscoped.create(
            tenant=tenant,
            name=f"notice of {tenant.slug}",
            event_type="payment.completed",
            channel="sms",
            template_name="fee-due",
        ),
        RecurringMessage.unscoped.create(
            tenant=tenant,
            name=f"report of {tenant.slug}",
            channel="sms",
            request={"to": ["+254700000003"], "message": f"Weekly word of {tenant.slug}"},
            frequency="daily",
            at=time(7, 30),
        ),
        FallbackPolicy.unscoped.create(tenant=tenant, name=f"policy of {tenant.slug}", channel="sms"),
        MessageTemplate.unscoped.create(tenant=tenant, name="fee-due", body=f"{tenant.slug}: {{{{ amount }}}} is due."),
        Suppression.unscoped.create(tenant=tenant, address="+254700000001", reason="manual"),
        Preference.unscoped.create(tenant=tenant, channel="sms", address="+254700000002", category="bulk", allowed=False),
        MessageCategory.unscoped.create(tenant=tenant, name="fees", label=f"Fees of {tenant.slug}"),
        SendingPolicy.unscoped.create(tenant=tenant, channel="sms", unit_cost=Decimal("0.8"), currency="KES", spend_cap=100),
        BalanceReading.unscoped.create(tenant=tenant, config=config, channel="sms", amount=Decimal("1785.5"), currency="KES"),
        InboundMessage.unscoped.create(
            tenant=tenant,
            channel="sms",
            provider="africastalking",
            provider_ref=new_token(),
            address="+254700000008",
            text="Hi",
        ),
        Device.unscoped.create(tenant=tenant, token=new_token(), platform="android", user=f"parent of {tenant.slug}"),
        UnmatchedReport.unscoped.create(
            tenant=tenant, provider="africastalking", provider_ref="ATX_9", address="+254700000009", payload={"status": "Sent"}
        ),
    ]
    return {row._meta.label_lower: row for row in rows}
