"""The pages that are measured: lists, filters and searches of the API and of the console, each with what it must find."""

from __future__ import annotations

import json
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
NUMBER = "+254700001200"
"""Somebody who was sent five messages, however many there are."""


@dataclass(frozen=True, slots=True)
class Page:
    """One address, asked by `who` (`api`: a key of the largest tenant, `admin`: its admin, `operator`); `group` names the
    tables that it reads (`growth.GROUPS`)."""

    who: str
    group: str
    name: str
    url: str

    def lines(self, content: bytes) -> int:
        """Return how many lines the answer has: two that have not as many can't be held against each other."""
        return len(json.loads(content)["results"]) if self.who == "api" else content.count(b"<tr")


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
    about = {"reference": "pay_" + "2000".zfill(26)}
    asked: dict[str, list[tuple[str, str, dict[str, str]]]] = {
        "logs": [
            ("logs: list", LOGS, {}),
            ("logs: half way back", LOGS, times),
            ("logs: failed", LOGS, {"status": "failed"}),
            # Without a beginning: among few rows two days have not as many that failed as a page holds.
            ("logs: failed, half way back", LOGS, {"status": "failed", "created_before": until}),
            # One call of a thousand is that provider's: more of them than these few a small table does not have.
            ("logs: rare provider", LOGS, {"provider": "rare", "page_size": "5"}),
            ("logs: of an operation", LOGS, {"operation": "refund"}),
            ("logs: nothing matches", LOGS, {"operation": "there-is-none"}),
            ("logs: reference", LOGS, about),
            ("logs: external reference", LOGS, {"external_reference": "ext-6000"}),
            ("logs: unknown request id", LOGS, {"request_id": "nowhere"}),
            ("logs: text", LOGS, {"q": "nowhere to be found"}),
            ("queue: list", QUEUE, {}),
            ("queue: failed", QUEUE, {"state": "failed"}),
            ("queue: half way back", QUEUE, times),
            ("queue: reference", QUEUE, about),
        ],
        "messages": [
            ("messages: list", MESSAGES, {}),
            ("messages: half way back", MESSAGES, times),
            ("messages: to a number", MESSAGES, {"to": NUMBER}),
            ("messages: failed", MESSAGES, {"status": "failed"}),
        ],
        "events": [
            ("events: list", EVENTS, {}),
            ("events: half way back", EVENTS, times),
            ("events: object", EVENTS, {"object_id": about["reference"]}),
            ("deliveries: list", DELIVERIES, {}),
            ("deliveries: half way back", DELIVERIES, times),
            ("deliveries: failed", DELIVERIES, {"state": "failed"}),
            ("deliveries: of a type", DELIVERIES, {"type": "message.delivered"}),
            ("deliveries: of a type that ended", DELIVERIES, {"type": "invoice.sent"}),
            ("deliveries: of no known type", DELIVERIES, {"type": "nothing.happened"}),
            ("dead letters", "webhooks/dead-letters", {}),
        ],
    }
    for group, each in asked.items():
        for name, path, query in each:
            yield Page("api", group, name, f"{API}{path}?{urlencode(query)}")


def _console(who: str, tenant: int | None = None) -> Iterator[Page]:
    middle = timezone.localtime() - timedelta(days=40)
    asked: dict[str, list[tuple[str, str, dict[str, str]]]] = {
        "logs": [
            ("logs: list", "integrations/calllog", {}),
            ("logs: a late page", "integrations/calllog", {"p": str(min(large.LISTED, 4_000) // 50)}),
            ("logs: failed", "integrations/calllog", {"status__exact": "failed"}),
            ("logs: half way back", "integrations/calllog", {"created_to_0": f"{middle:%Y-%m-%d}", "created_to_1": "12:00:00"}),
            ("logs: reference", "integrations/calllog", {"q": "pay_" + "2000".zfill(26)}),
            ("logs: text", "integrations/calllog", {"q": "nowhere"}),
            ("queue: list", "integrations/queueitem", {}),
            ("queue: failed", "integrations/queueitem", {"state__exact": "failed"}),
        ],
        "receipts": [
            ("receipts: list", "webhooks_inbound/receipt", {}),
            ("receipts: failed", "webhooks_inbound/receipt", {"status__exact": "failed"}),
            ("receipts: object", "webhooks_inbound/receipt", {"q": "payment:pay_" + "2000".zfill(26)}),
        ],
        "messages": [
            ("messages: list", "messaging/message", {}),
            ("messages: to a number", "messaging/message", {"q": NUMBER}),
        ],
        "events": [
            ("events: list", "webhooks_outbound/event", {}),
            ("deliveries: list", "webhooks_outbound/delivery", {}),
            ("deliveries: failed", "webhooks_outbound/delivery", {"state__exact": "failed"}),
        ],
    }
    if tenant is not None:
        of_one = {"tenant": str(tenant)}
        asked["logs"] += [
            ("logs: one tenant", "integrations/calllog", of_one),
            ("logs: one tenant, failed", "integrations/calllog", {**of_one, "status__exact": "failed"}),
        ]
    for group, each in asked.items():
        for name, model, query in each:
            yield Page(who, group, name, f"/admin/{model}/?{urlencode(query)}")
