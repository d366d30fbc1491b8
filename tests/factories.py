"""Makes rows that tests of many features need. Everything goes through the services, as in real life."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

from django.db import connection
from django_scopes import scope
from rest_framework.test import APIClient

from integrations import registry
from integrations.configs import services
from integrations.contracts import clock
from integrations.contracts.capabilities import Environment
from integrations.contracts.ids import new_token
from integrations.messaging.fallback.policies import save_policy
from integrations.messaging.lists import lists
from integrations.messaging.models import (
    FallbackPolicy,
    InboundMessage,
    Message,
    MessageTemplate,
    NotificationRule,
    RecipientList,
    RecurringMessage,
)
from integrations.messaging.sms.services import send_sms
from integrations.models import CallLog, Config, Direction, LogStatus, Membership, QueueItem, Role, Tenant, User
from integrations.runtime.worker import Outcome, claim, recover_lapsed, run
from integrations.secrets import seal
from integrations.simulators import default_state_dir
from integrations.tenancy.authentication import create_api_key
from payments.models import PayerMethod, Payment, SetupIntent, Status
from webhooks.inbound.endpoints.services import create_source
from webhooks.inbound.models import InboundEndpoint
from webhooks.outbound.endpoints import services as outbound
from webhooks.outbound.models import Delivery, Endpoint, PortalLink, Replay
from webhooks.outbound.portal import links as portal_links
from webhooks.outbound.recovery.replays import start_replay

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
PASSWORD = "correct-horse-battery"


class MovableClock:
    """A clock that stands still until told otherwise."""

    def __init__(self, moment: datetime = START) -> None:
        self.moment = moment

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, seconds: float = 0, **span: float) -> datetime:
        """Move on by `seconds` and whatever `timedelta` takes; return the new time."""
        self.moment += timedelta(seconds=seconds) + timedelta(**span)
        return self.moment


def make_tenant(slug: str, name: str = "", **fields: Any) -> Tenant:
    return Tenant.objects.create(slug=slug, name=name or slug.replace("-", " ").title(), **fields)


def make_user(username: str, *, tenant: Tenant | None = None, role: Role | None = None, **fields: Any) -> User:
    """Return a user who may log in to the admin with `PASSWORD`; a member of `tenant` where both are given."""
    user = User.objects.create_user(username=username, password=PASSWORD, is_staff=True, **fields)
    if tenant is not None and role is not None:
        Membership.unscoped.create(tenant=tenant, user=user, role=role)
    return user


def make_client(tenant: Tenant, role: str = Role.ADMIN, scopes: list[str] | None = None) -> APIClient:
    """Return an API client that carries a fresh key of the tenant."""
    _row, key = create_api_key(tenant=tenant, name=f"test {role}", role=role, scopes=scopes)
    client = APIClient(raise_request_exception=True)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    return client


def make_config(
    tenant: Tenant, provider: str, values: Mapping[str, Any] | None = None, *, account: str = "school", **fields: Any
) -> Config:
    """Store a simulator config with the provider's own demo account `account`, `values` on top of it."""
    given = {**demo_values(provider, account), **(values or {})}
    fields.setdefault("environment", Environment.SIMULATOR.value)
    return services.create_config(tenant=tenant, provider=provider, values=given, **fields)


def demo_values(provider: str, account: str, state_dir: Path | None = None) -> dict[str, Any]:
    """Return the config values, secrets included, that the provider's simulator accepts for this account."""
    simulator = registry.get_provider(provider).simulator_class()
    assert simulator is not None, f"{provider} has no simulator"
    accounts = {each.label: each for each in simulator.demo_accounts(state_dir or default_state_dir())}
    return {**accounts[account].values, **accounts[account].secrets}


def make_log(tenant: Tenant, **fields: Any) -> CallLog:
    values: dict[str, Any] = {
        "direction": Direction.OUTBOUND,
        "provider": "example",
        "operation": "send",
        "status": LogStatus.SUCCESS,
        "method": "POST",
        "url": "https://api.example/send",
        **fields,
    }
    return CallLog.unscoped.create(tenant=tenant, **values)


def make_item(tenant: Tenant, **fields: Any) -> QueueItem:
    return QueueItem.unscoped.create(tenant=tenant, **{"kind": "sample", **fields})


def work_off(limit: int = 500) -> list[Outcome]:
    """Run every due queue item in this process, follow-ups included, until none is due; recover lapsed leases too.

    What is due follows the hub's clock: with the `clock` fixture, move it on and call again. Fails after `limit` items.
    """
    outcomes: list[Outcome] = []
    assert not connection.in_atomic_block, "work_off calls providers: mark the test django_db(transaction=True)"
    while True:
        recovered = recover_lapsed()
        items = claim(20)
        outcomes += [run(item) for item in items]
        assert len(outcomes) <= limit, f"still not done after {limit} items"
        if not items and not recovered:
            return outcomes


def make_payment(tenant: Tenant, **fields: Any) -> Payment:
    """Store a succeeded payment over KES 1,500.00, as a row only: nothing was asked of any gateway."""
    now = clock.now()
    values: dict[str, Any] = {
        "provider": "example",
        "status": Status.SUCCEEDED,
        "amount": 150_000,
        "amount_authorized": 150_000,
        "amount_captured": 150_000,
        "currency": "KES",
        "method_type": "mobile_money",
        "phone": "+254712345678",
        "provider_ref": "ref-1",
        "hook_token": new_token(),
        "completed_at": now,
        "created": now,
        "updated": now,
        **fields,
    }
    return Payment.unscoped.create(tenant=tenant, **values)


def make_payer_method(config: Config, token: str = "card-token-1", **fields: Any) -> PayerMethod:
    """Store a card at the config's gateway, as a row only."""
    values: dict[str, Any] = {
        "provider": config.provider_id,
        "customer_id": "student-7",
        "customer_ref": "cus-7",
        "method_type": "card",
        "brand": "Visa",
        "last4": "4242",
        "expires": "12/2030",
        "sealed_token": seal(config.tenant_id, token),
        "created": clock.now(),
        **fields,
    }
    return PayerMethod.unscoped.create(tenant_id=config.tenant_id, config=config, **values)


def make_setup(config: Config, **fields: Any) -> SetupIntent:
    """Store a setup that waits for its payer, as a row only: nothing was asked of any gateway."""
    now = clock.now()
    values = {"provider": config.provider_id, "status": "requires_action", "method_type": "card", "created": now, **fields}
    return SetupIntent.unscoped.create(tenant_id=config.tenant_id, config=config, updated=now, **values)


def make_list(tenant: Tenant, content: bytes = b"Phone,Name\n0712345678,Jane\n") -> RecipientList:
    """Store an uploaded list of recipients."""
    return lists.store_file(tenant=tenant, file=io.BytesIO(content), filename="parents.csv")


def make_template(tenant: Tenant, **fields: Any) -> MessageTemplate:
    return MessageTemplate.unscoped.create(tenant=tenant, **{"name": "fee-due", "body": "{{ amount }} is due.", **fields})


def make_inbound(tenant: Tenant, **fields: Any) -> InboundMessage:
    """Store a text that a parent wrote, as a row only: it moved no list."""
    values = {"channel": "sms", "provider": "africastalking", "provider_ref": new_token(), "address": "+254712345678", **fields}
    return InboundMessage.unscoped.create(tenant=tenant, **values)


def make_fallback_policy(tenant: Tenant, *steps: str, **fields: Any) -> FallbackPolicy:
    """Store a policy for texts; each step is `channel`, or `channel:provider`."""
    policy = FallbackPolicy(tenant=tenant, **{"name": "Go on", "channel": "sms", **fields})
    given = [(channel, provider) for channel, _, provider in (step.partition(":") for step in steps)]
    with scope(tenant=tenant):
        return save_policy(policy=policy, values={}, steps=given)


def make_notification_rule(tenant: Tenant, **fields: Any) -> NotificationRule:
    """Store a rule that texts the payer of each payment by the template `fee-due`."""
    values = {"name": "Paid", "event_type": "payment.completed", "channel": "sms", "template_name": "fee-due", **fields}
    return NotificationRule.unscoped.create(tenant=tenant, **values)


def make_recurring_message(tenant: Tenant, **fields: Any) -> RecurringMessage:
    """Store a daily text, as a row only."""
    request = {"to": ["+254712345678"], "message": "Fees are due on Friday."}
    values = {"name": "Fees", "channel": "sms", "request": request, "frequency": "daily", "at": time(7, 30), **fields}
    return RecurringMessage.unscoped.create(tenant=tenant, **values)


def make_message(tenant: Tenant, **fields: Any) -> Message:
    """Queue a text; the tenant needs an SMS config."""
    with scope(tenant=tenant):
        return send_sms(tenant=tenant, **{"to": ["+254712345678"], "message": "Term starts on Monday", **fields})


def make_endpoint(tenant: Tenant, **fields: Any) -> Endpoint:
    values: dict[str, Any] = {"url": "http://127.0.0.1:8999/events", "events": ["*"], "name": "School system", **fields}
    with scope(tenant=tenant):
        return outbound.create_endpoint(tenant=tenant, **values)[0]


def make_source(tenant: Tenant, **fields: Any) -> tuple[InboundEndpoint, str]:
    """Store a generic source of inbound webhooks; return it with its secret. Without more it signs by plain HMAC, and all that
    it sends is the tenant's own `shop.reported`."""
    values: dict[str, Any] = {"scheme": "hmac", "name": "Shop", "event_types": {"*": "shop.reported"}, **fields}
    given = values.pop("secret", "")
    with scope(tenant=tenant):
        endpoint, secret = create_source(tenant=tenant, secret=given, **values)
    return endpoint, secret or given


def make_portal_link(tenant: Tenant, **fields: Any) -> PortalLink:
    with scope(tenant=tenant):
        return portal_links.create_link(tenant=tenant, created_by="key test", **fields)[0]


def make_delivery(endpoint: Endpoint) -> Delivery:
    """Publish an event that the endpoint is owed, and return what is owed."""
    with scope(tenant=endpoint.tenant):
        event = outbound.publish(
            tenant_id=endpoint.tenant_id, type="payment.completed", object={"id": "pay_1"}, key=new_token()
        )
    return Delivery.unscoped.get(event=event, endpoint=endpoint)


def make_replay(endpoint: Endpoint) -> Replay:
    """Begin to send what failed within the last hour again; the queue's item waits."""
    with scope(tenant=endpoint.tenant):
        return start_replay(endpoint=endpoint, since=clock.now() - timedelta(hours=1))
