"""The pages that are measured: lists, filters and searches of the API and of the console, each with what it must find."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode

from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from integrations.adminbase import large
from integrations.models import Role
from tests.bench.growth_rows import World
from tests.factories import make_client, make_user

API = "/api/v1/"
LOGS, QUEUE, MESSAGES = "integrations/logs", "integrations/queue", "integrations/messages"
EVENTS, DELIVERIES = "events", "integration/deliveries"


@dataclass(frozen=True, slots=True)
class Page:
    """One address, asked by `who` (`api`: a key of the largest tenant, `admin`: its admin, `operator`)."""

    who: str
    name: str
    url: str


class Askers:
    """Clients that are logged in."""

    def __init__(self, world: World) -> None:
        largest = world.tenants[0]
        admin, operator = Client(), Client()
        admin.force_login(make_user(f"growth-{largest.pk}", tenant=largest, role=Role.ADMIN))
        operator.force_login(make_user(f"growth-operator-{largest.pk}", is_superuser=True))
        self.clients: dict[str, Client | APIClient] = {
            "api": make_client(largest), "admin": admin, "operator": operator
        }  # fmt: skip

    def get(self, page: Page) -> bytes:
        answer = self.clients[page.who].get(page.url)
        if answer.status_code != 200:
            raise RuntimeError(f"{page.who} {page.url}: {answer.status_code}")
        return bytes(answer.content)


def pages(world: World) -> list[Page]:
    """Return the pages, all of which can be asked at any number of rows from 10,000."""
    return [*_api(), *_console("admin"), *_console("operator", world.tenants[1].pk)]


def _window() -> tuple[str, str]:
    """Return a range of time half way back: neither the newest nor the oldest rows."""
    middle = timezone.now() - timedelta(days=40)
    return (middle - timedelta(days=2)).isoformat(), middle.isoformat()


def _api() -> Iterator[Page]:
    since, until = _window()
    times = {"created_after": since, "created_before": until}
    asked: list[tuple[str, str, dict[str, str]]] = [
        ("logs: list", LOGS, {}),
        ("logs: half way back", LOGS, times),
        ("logs: failed", LOGS, {"status": "failed"}),
        ("logs: failed, half way back", LOGS, {"status": "failed", **times}),
        ("logs: rare provider", LOGS, {"provider": "rare"}),
        ("logs: of an operation", LOGS, {"operation": "refund"}),
        ("logs: nothing matches", LOGS, {"operation": "there-is-none"}),
        ("logs: reference", LOGS, {"reference": "pay_" + "2000".zfill(26)}),
        ("logs: external reference", LOGS, {"external_reference": "ext-6000"}),
        ("logs: unknown request id", LOGS, {"request_id": "nowhere"}),
        ("logs: text", LOGS, {"q": "nowhere to be found"}),
        ("queue: list", QUEUE, {}),
        ("queue: failed", QUEUE, {"state": "failed"}),
        ("queue: half way back", QUEUE, times),
        ("queue: reference", QUEUE, {"reference": "pay_" + "2000".zfill(26)}),
        ("messages: list", MESSAGES, {}),
        ("messages: half way back", MESSAGES, times),
        ("messages: to a number", MESSAGES, {"to": "+254700006000"}),
        ("messages: failed", MESSAGES, {"status": "failed"}),
        ("events: list", EVENTS, {}),
        ("events: half way back", EVENTS, times),
        ("events: object", EVENTS, {"object_id": "pay_" + "2000".zfill(26)}),
        ("deliveries: list", DELIVERIES, {}),
        ("deliveries: half way back", DELIVERIES, times),
        ("deliveries: failed", DELIVERIES, {"state": "failed"}),
        ("deliveries: of a type", DELIVERIES, {"type": "nothing.happened"}),
        ("dead letters", "webhooks/dead-letters", {}),
    ]
    for name, path, query in asked:
        yield Page("api", name, f"{API}{path}?{urlencode(query)}")


def _console(who: str, tenant: int | None = None) -> Iterator[Page]:
    middle = timezone.localtime() - timedelta(days=40)
    asked: list[tuple[str, str, dict[str, str]]] = [
        ("logs: list", "integrations/calllog", {}),
        ("logs: a late page", "integrations/calllog", {"p": str(min(large.LISTED, 4_000) // 50)}),
        ("logs: failed", "integrations/calllog", {"status__exact": "failed"}),
        ("logs: half way back", "integrations/calllog", {"created_to_0": f"{middle:%Y-%m-%d}", "created_to_1": "12:00:00"}),
        ("logs: reference", "integrations/calllog", {"q": "pay_" + "2000".zfill(26)}),
        ("logs: text", "integrations/calllog", {"q": "nowhere"}),
        ("queue: list", "integrations/queueitem", {}),
        ("queue: failed", "integrations/queueitem", {"state__exact": "failed"}),
        ("receipts: list", "webhooks_inbound/receipt", {}),
        ("receipts: object", "webhooks_inbound/receipt", {"q": "payment:pay_" + "2000".zfill(26)}),
        ("messages: list", "messaging/message", {}),
        ("messages: to a number", "messaging/message", {"q": "+254700006000"}),
        ("events: list", "webhooks_outbound/event", {}),
        ("deliveries: list", "webhooks_outbound/delivery", {}),
        ("deliveries: failed", "webhooks_outbound/delivery", {"state__exact": "failed"}),
    ]
    for name, model, query in asked:
        yield Page(who, name, f"/admin/{model}/?{urlencode(query)}")
    if tenant is not None:
        yield Page(who, "logs: one tenant", f"/admin/integrations/calllog/?tenant={tenant}")
        yield Page(who, "logs: one tenant, failed", f"/admin/integrations/calllog/?tenant={tenant}&status__exact=failed")
