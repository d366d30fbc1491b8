"""A school with M-Pesa and SMS at the simulators, a hub that their callbacks really reach, and a sink for its webhooks."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from django.db import connections
from django.db.models import Q
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.contracts import clock
from integrations.events import TimelineEntry
from integrations.models import Config, Tenant
from integrations.simulators import running_simulators
from payments.models import Payment
from payments.selectors import payment_timeline
from tests.factories import make_client, make_config, work_off
from webhooks.outbound.delivery.engine import Engine, Limits
from webhooks.outbound.models import Delivery

SHORT = Limits(stop_check=0.02)
"""A shift that sees at once that nothing is left."""


@dataclass
class School:
    """The whole hub as seen from one tenant."""

    tenant: Tenant
    api: APIClient
    mpesa: Config
    sms: Config
    simulator_url: str

    def ask(self, phone: str, amount: int = 150_000, **more: Any) -> Any:
        """Ask for a school fee; return the API's answer."""
        body = {
            "amount": amount,
            "currency": "KES",
            "method": {"type": "mobile_money", "phone": phone},
            "reference": {"type": "invoice", "id": "INV-0042"},
            "customer": {"name": "Jane Wanjiku"},
            "description": "Term 1 fees",
        }
        return self.api.post("/api/v1/payments/authorize", body | more, format="json")

    def payment(self, payment_id: str) -> Payment:
        with scope(tenant=self.tenant):
            return Payment.objects.get(pk=payment_id)

    def payments(self) -> list[Payment]:
        with scope(tenant=self.tenant):
            return list(Payment.objects.order_by("created", "pk"))

    def timeline(self, payment_id: str) -> list[TimelineEntry]:
        with scope(tenant=self.tenant):
            return payment_timeline(Payment.objects.get(pk=payment_id))

    def control(self, method: str, path: str, **kwargs: Any) -> Any:
        answer = requests.request(method, f"{self.simulator_url}/control/{path}", timeout=10, **kwargs)
        answer.raise_for_status()
        return answer.json()

    def fault(self, slug: str, operation: str, fault: str, **more: Any) -> None:
        self.control("POST", f"{slug}/faults", json={"operation": operation, "fault": fault, **more})

    def prompts(self, msisdn: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control("GET", "phone/prompts", params={"msisdn": msisdn})
        return found

    def enter_pin(self, msisdn: str, pin: str = "1234") -> None:
        (prompt,) = self.prompts(msisdn)
        self.control("POST", f"phone/prompts/{prompt['id']}", json={"action": "pin", "pin": pin})

    def inbox(self, number: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control("GET", "phone/inbox", params={"number": number})
        return found

    def sink(self) -> list[dict[str, Any]]:
        """Return what the school's own system received; each body parsed."""
        return [{**received, "body": json.loads(received["body"])} for received in self.control("GET", "sink/school")]

    def seen(self, operation: str) -> list[dict[str, Any]]:
        """Return the requests of this operation that the fake M-Pesa got."""
        return [r for r in self.control("GET", "mpesa/requests") if r["operation"] == operation]


@pytest.fixture
def school(
    tenant: Tenant, simulators: running_simulators, live_server: Any, settings: Any, transactional_db: None
) -> Iterator[School]:
    settings.PUBLIC_BASE_URL = live_server.url
    mpesa = make_config(tenant, "mpesa", account="school")
    sms = make_config(tenant, "africastalking", account="school")
    school = School(tenant, make_client(tenant), mpesa, sms, simulators.url)
    school.control(
        "PUT",
        f"africastalking/accounts/{sms.values['username']}",
        json={"dlr_url": f"{live_server.url}/hooks/{sms.hook_token}/dlr"},
    )
    answer = school.api.post(
        "/api/v1/webhooks", {"name": "school", "url": f"{simulators.url}/sink/school", "events": ["*"]}, format="json"
    )
    assert answer.status_code == 201, answer.json()
    school.control("PUT", "sink/school", json={"secret": answer.json()["secret"]})
    yield school
    connections.close_all()


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """`until(check)`: work off queue and deliveries until `check()` gives something true; return that."""

    def wait(check: Callable[[], Any], seconds: float = 60.0) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            work_off()
            deliver()
            found = check()
            if found:
                return found
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.02)

    return wait


def deliver() -> None:
    """Deliver what is due, in this process, and return when nothing is."""
    pending = Delivery.unscoped.filter(state="pending")

    def nothing_left() -> bool:
        # What is in flight too: a shift that is told to stop cuts it off after two seconds, and it would go out twice.
        now = clock.now()
        return not pending.filter(Q(due_at__lte=now) | Q(lease_until__gt=now)).exists()

    while pending.filter(due_at__lte=clock.now()).exists():
        # As `run_shift` does, but for the collector: a shift of a moment is not worth looking through all memory for.
        asyncio.run(Engine(SHORT).run(nothing_left, time.monotonic() + 5))
