"""Two tenants with accounts at the SMS simulator, served over real sockets; the queue is run by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django_cryptography.conf  # noqa: F401 puts its defaults into the settings when first imported: before a test swaps them
import pytest
import requests
from django_scopes import scope

from integrations import events
from integrations.contracts.inbound import MessageReported, Trust
from integrations.contracts.messaging import MessageState
from integrations.events import DomainEvent
from integrations.models import Config, QueueItem, Tenant
from integrations.providers.africastalking.simulator import AfricasTalkingSimulator
from integrations.registry import sync_rows
from integrations.runtime.worker import Outcome, claim, run
from integrations.simulators import running_simulators

SLUG = "africastalking"


@dataclass
class Account:
    """A tenant, its config and its account at the simulator."""

    tenant: Tenant
    config: Config
    username: str


def make_account(tenant: Tenant, state_dir: Path, label: str) -> Account:
    demo = next(each for each in AfricasTalkingSimulator.demo_accounts(state_dir) if each.label == label)
    with scope(tenant=tenant):
        config = Config(tenant=tenant, provider_id=SLUG, environment="simulator", values=dict(demo.values))
        config.set_secrets(dict(demo.secrets))
        config.save()
    return Account(tenant, config, str(demo.values["username"]))


@pytest.fixture
def simulator(tmp_path: Path, settings: Any) -> Iterator[running_simulators]:
    with running_simulators([AfricasTalkingSimulator], state_dir=tmp_path) as running:
        settings.SIMULATOR_URL = running.url
        yield running
        assert running.violations == []


@pytest.fixture
def school(db: None, simulator: running_simulators, tmp_path: Path) -> Iterator[Account]:
    """A tenant in Kenya with an SMS account; its scope is active."""
    sync_rows()
    tenant = Tenant.objects.create(slug="springfield", name="Springfield School")
    account = make_account(tenant, tmp_path, "school")
    with scope(tenant=tenant):
        yield account


@pytest.fixture
def studio(school: Account, tmp_path: Path) -> Account:
    """Another tenant with an account of its own; its scope is not active."""
    return make_account(Tenant.objects.create(slug="lens", name="Lens Studio"), tmp_path, "studio")


@pytest.fixture
def emitted() -> Iterator[list[DomainEvent]]:
    """What the test's own code emits as domain events."""
    seen: list[DomainEvent] = []
    events.subscribe(DomainEvent, seen.append)
    yield seen
    events._handlers[DomainEvent].remove(seen.append)


@pytest.fixture
def run_due() -> Callable[[], list[Outcome]]:
    """Claim and run what is due in the queue, once."""
    return lambda: [run(item) for item in claim(50, kinds=["sms.send"])]


@pytest.fixture
def fault(simulator: running_simulators) -> Callable[..., None]:
    """Set a fault of the simulator's send operation."""

    def set_fault(name: str, **details: Any) -> None:
        body = {"operation": "sms_send", "fault": name, **details}
        requests.post(f"{simulator.url}/control/{SLUG}/faults", json=body, timeout=10).raise_for_status()

    return set_fault


@pytest.fixture
def sends(simulator: running_simulators) -> Callable[[], list[list[str]]]:
    """Tell the recipients of every send request that the simulator saw, oldest first."""

    def seen() -> list[list[str]]:
        reply = requests.get(f"{simulator.url}/control/{SLUG}/requests", timeout=10).json()
        rows = reply["requests"] if isinstance(reply, dict) else reply
        found = [row for row in rows if row["operation"] == "sms_send"]
        return [str(_body(row)["to"]).split(",") for row in sorted(found, key=lambda row: row["id"])]

    return seen


def _body(row: dict[str, Any]) -> dict[str, Any]:
    import json

    body: dict[str, Any] = row["body"] if isinstance(row["body"], dict) else json.loads(row["body"])
    return body


def inbox(simulator: running_simulators, number: str) -> list[str]:
    """Return the texts on a phone of the simulator."""
    reply = requests.get(f"{simulator.url}/control/phone/inbox", params={"number": number}, timeout=10).json()
    rows = reply["messages"] if isinstance(reply, dict) else reply
    return [row["text"] for row in rows]


def report(account: Account, provider_ref: str, number: str, status: str = "Success", **changes: Any) -> MessageReported:
    """Return a delivery report as the inbound side hands it over."""
    states = {
        "Sent": MessageState.SENT,
        "Success": MessageState.DELIVERED,
        "Failed": MessageState.FAILED,
        "AbsentSubscriber": MessageState.FAILED,
    }
    given: dict[str, Any] = {
        "provider": SLUG,
        "tenant_id": account.tenant.pk,
        "config_id": account.config.pk,
        "trust": Trust.TOKEN,
        "receipt_id": 1,
        "provider_ref": provider_ref,
        "address": number,
        "state": states.get(status),
        "provider_status": status,
    }
    return MessageReported(**{**given, **changes})


def queue_items() -> list[QueueItem]:
    return list(QueueItem.objects.order_by("id"))
