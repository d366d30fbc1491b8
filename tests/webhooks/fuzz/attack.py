"""Sending generated requests to one inbound route, batch by batch, and looking after each what became of the hub."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
from django.db import transaction
from django.db.models import Q
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import resolve
from django_scopes import scope
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from integrations import registry
from integrations.contracts.inbound import BadSignature, InboundRequest, MalformedWebhook, Origin, Trust
from integrations.models import QueueItem, Tenant
from integrations.runtime.jobs import RetryLater, get
from payments.models import Payment
from tests.webhooks.fuzz.bodies import Shot, shots
from tests.webhooks.fuzz.sources import PROOFS
from tests.webhooks.fuzz.world import GENERIC, World
from webhooks.inbound import rejections, views
from webhooks.inbound.jobs import ProcessReceiptJob
from webhooks.inbound.models import Receipt

BATCH = 100
WARM = 10
"""Batches until everything is loaded that is loaded once: caches, compiled patterns, prepared statements."""
GROWTH = 48 * 1024 * 1024
WHOLE = 10
"""One of so many requests goes the whole way, middleware, look-up of the path and count of refusals included. The others are
spared these: they don't look at the body, and the database would take most of the time for them."""
TRUE_SIGNATURE = 4
"""One of so many requests to a generic source bears its true signature: its own sender may be hostile too."""
EXPECTED = frozenset({200, 202, 204, 400, 401, 403, 404, 405, 411, 413, 415, 422, 429})
ASKED_ABOUT = frozenset({"payments_payment", "payments_operation", "payments_ledgerentry", "integrations_externalreference"})
"""What a hint may add to: the provider is asked about a payment that it tells of, and that takes a row without money."""


@dataclass(frozen=True)
class Route:
    """A fixed `path`; or the `purpose` on the own path of a provider's account; or the `scheme` of a generic source.

    `providers` are those who may answer there; `purposes` what the path stands for.
    """

    providers: tuple[str, ...]
    method: str
    purposes: tuple[str, ...] = ()
    path: str = ""
    scheme: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path or self.scheme or f'{self.providers[0]}/{self.purposes[0]}'}"

    def path_in(self, world: World) -> str:
        if self.scheme:
            return f"/hooks/{world.sources[self.scheme].endpoint.token}"
        return self.path or f"/hooks/{world.configs[self.providers[0]].hook_token}/{self.purposes[0]}"


def fixed_paths() -> list[Route]:
    """Return the paths that are the same for all tenants, with each of their methods."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for slug, adapter in registry.webhook_adapters().items():
        for each in adapter.fixed_paths:
            for method in each.methods:
                found.setdefault((method, each.path, each.purpose), []).append(slug)
    return [Route(tuple(slugs), method, (purpose,), path) for (method, path, purpose), slugs in found.items()]


def account_paths() -> list[Route]:
    """Return each purpose on the own path of an account, for all providers."""
    adapters = registry.webhook_adapters().items()
    return [Route((slug,), "POST", (purpose,)) for slug, adapter in adapters for purpose in sorted(adapter.purposes)]


def generic_paths() -> list[Route]:
    """Return a generic source of each scheme, one of them with handshakes by GET too."""
    return [*(Route((), "POST", scheme=scheme) for scheme in PROOFS), Route((), "GET", scheme="slack")]


def each_of(routes: Iterable[Route]) -> pytest.MarkDecorator:
    known = list(routes)
    return pytest.mark.parametrize("route", known, ids=[re.sub(r"[ /]+", "-", str(route)) for route in known])


class Sparing:
    """While it is `on`, what does not look at the body is remembered or left out; see `WHOLE`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on = False
        owners: dict[str, Any] = {}
        by_token, count, wait = views.by_token, rejections.count, rejections.seconds_to_wait

        def owner_of(token: str) -> Any:
            if not self.on or token not in owners:
                owners[token] = by_token(token)
            return owners[token]

        monkeypatch.setattr(views, "by_token", owner_of)
        monkeypatch.setattr(rejections, "count", lambda *args, **kwargs: None if self.on else count(*args, **kwargs))
        monkeypatch.setattr(rejections, "seconds_to_wait", lambda ip: None if self.on else wait(ip))


class Attack:
    """One route under fire; `statuses` counts the answers."""

    def __init__(self, route: Route, world: World, sparing: Sparing) -> None:
        self.route, self.world = route, world
        self.sent = 0
        self.statuses: dict[int, int] = {}
        self._sparing = sparing
        self._path = route.path_in(world)
        self._view = resolve(self._path)
        self._factory, self._client = RequestFactory(), Client(raise_request_exception=True)
        self._known = [body for slug in route.providers or [GENERIC] for body in world.known[slug]]
        self._proof = world.sources[route.scheme].proof if route.scheme else None
        self._process = psutil.Process()
        self._weights: list[int] = []
        self._before, self._certain = world.fingerprint(), world.fingerprint(ASKED_ABOUT)

    def batch(self, seed: int) -> None:
        """Send what follows from the seed, look, work off what was taken in, look again, and undo it all."""
        with transaction.atomic():
            last = Receipt.unscoped.order_by("-pk").values_list("pk", flat=True).first() or 0
            for shot in shots(seed, self._known, BATCH):
                self._fire(shot)
                self._parse(shot)
            assert self.world.fingerprint() == self._before, "a request changed more than the books"
            self._work_off(last)
            transaction.set_rollback(True)
        self._weights.append(self._process.memory_info().rss)

    def growth(self) -> int:
        """Return the bytes by which the process grew after it was warm."""
        return max(self._weights[WARM:], default=0) - max(self._weights[:WARM])

    def _fire(self, shot: Shot) -> None:
        self.sent += 1
        whole = self.sent % WHOLE == 0
        self._sparing.on = not whole
        genuine = self._proof is not None and self.sent % TRUE_SIGNATURE == 0
        headers = {**shot.headers, **(self._proof(shot.body) if self._proof and genuine else {})}
        made: Any = (self._client if whole else self._factory).generic(
            self.route.method,
            self._path,
            shot.body,
            content_type=shot.content_type,
            QUERY_STRING=shot.query,
            REMOTE_ADDR=shot.remote,
            **headers,
        )
        answer: HttpResponse = made if whole else self._view.func(made, *self._view.args, **self._view.kwargs)
        assert answer.status_code < 500, (answer.status_code, answer.content, shot)
        assert answer.status_code in EXPECTED, (answer.status_code, answer.content, shot)
        self.statuses[answer.status_code] = self.statuses.get(answer.status_code, 0) + 1

    def _parse(self, shot: Shot) -> None:
        """The parser by itself: behind a good signature it gets whatever the provider, or who stole its key, sends."""
        for slug in self.route.providers:
            adapter = registry.webhook_adapters()[slug]
            origin = Origin(
                tenant_id=self.world.tenant.pk, config_id=self.world.configs[slug].pk, trust=Trust.SIGNED, receipt_id=1
            )
            for purpose in self.route.purposes:
                inbound = InboundRequest(self.route.method, purpose, {}, {}, shot.body, shot.remote)
                for step in (adapter.parse, adapter.asks):
                    try:
                        step(inbound, origin)
                    except (MalformedWebhook, BadSignature):
                        continue

    def _work_off(self, last: int) -> None:
        """Process what was taken in. What was proven may have its effects; what anybody could send may book nothing."""
        taken = list(
            Receipt.unscoped.filter(pk__gt=last, tenant=self.world.tenant, status="received").values_list("pk", "trust")
        )
        job = get("webhook.process")
        assert isinstance(job, ProcessReceiptJob)
        for pk, _trust in taken:
            try:
                with scope(tenant=self.world.tenant), transaction.atomic():
                    job.run(QueueItem(tenant=self.world.tenant, kind=job.kind, payload={"receipt": pk}))
            except RetryLater:
                continue
        # Where nothing was taken in, nothing has happened since the books were looked at.
        if taken and all(trust == Trust.HINT for _pk, trust in taken):
            assert self.world.fingerprint(ASKED_ABOUT) == self._certain, "a hint that anybody could send was believed"
            assert not _paid(self.world.tenant), "money was booked on a hint"


def _paid(tenant: Tenant) -> bool:
    return Payment.unscoped.filter(Q(status="succeeded") | Q(amount_captured__gt=0), tenant=tenant).exists()


def attack(route: Route, world: World, sparing: Sparing, requests: int) -> Attack:
    """Send so many requests; fail with the seed of the batch that found something."""
    made = Attack(route, world, sparing)

    @settings(
        max_examples=requests // BATCH,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(seed=st.integers(0, 2**64 - 1))
    def run(seed: int) -> None:
        made.batch(seed)

    run()
    assert made.sent >= requests, f"only {made.sent} were sent"
    return made
