"""A real receiver on loopback, tenants, endpoints, and an engine that runs until nothing is due."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event as Flag
from threading import Lock, Thread
from typing import Any

import pytest
from django.db.models import Exists, OuterRef, Q
from django_scopes import scope

from integrations.contracts import clock
from integrations.models import Tenant
from webhooks.outbound.delivery.engine import Engine, Limits
from webhooks.outbound.delivery.sender import Timeouts
from webhooks.outbound.endpoints import services
from webhooks.outbound.models import Breaker, Delivery, DeliveryAttempt, DeliveryState, Endpoint, EndpointHealth, Event
from webhooks.outbound.publishing.publish import publish as publish_event

FAST = Limits(poll=0.05, stop_check=0.02, stop_grace=0.2, timeouts=Timeouts(connect=10.0, total=30.0))


@dataclass
class Received:
    """One request as it arrived; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """What the receiver does. `hold` is waited for before anything is answered; `stall` leaves the body unfinished."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    echo: bool = False
    stall: bool = False
    endless: bool = False
    hold: Flag | None = None


class Receiver:
    """A tenant's own system. Answers by `answers[path]`, one after the other, the last one for ever; else 200."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.answers: dict[str, list[Answer]] = {}
        self.in_flight: dict[str, int] = {}
        self.most_in_flight: dict[str, int] = {}
        self.sent_bytes = 0
        self.closing = Flag()
        self._lock = Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver.take(self)

            def log_message(self, *args: Any) -> None:
                return None

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *args: Any) -> None:
                return None  # the other side hung up: some tests do that on purpose

        self._server = Server(("127.0.0.1", 0), Handler)
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def at(self, path: str) -> list[Received]:
        return [request for request in self.requests if request.path == path]

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self._lock:
            self.requests.append(Received(handler.path, headers, body))
            planned = self.answers.get(handler.path, [Answer()])
            answer = planned.pop(0) if len(planned) > 1 else planned[0]
            self.in_flight[handler.path] = self.in_flight.get(handler.path, 0) + 1
            most = max(self.most_in_flight.get(handler.path, 0), self.in_flight[handler.path])
            self.most_in_flight[handler.path] = most
        if answer.hold is not None:
            answer.hold.wait(60)
        lasting = answer.stall or answer.endless
        if not lasting:
            # Before the answer: whoever has read it may be back with the next request before this thread goes on.
            self._ended(handler.path)
        try:
            self._answer(handler, answer, headers)
        finally:
            if lasting:
                self._ended(handler.path)

    def _ended(self, path: str) -> None:
        with self._lock:
            self.in_flight[path] -= 1

    def _answer(self, handler: BaseHTTPRequestHandler, answer: Answer, headers: dict[str, str]) -> None:
        content = repr(headers).encode() if answer.echo else answer.body
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        length = 10**9 if answer.endless else len(content) + (100 if answer.stall else 0)
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        handler.wfile.write(content)
        if answer.stall:
            handler.wfile.flush()
            self.closing.wait(60)
        while answer.endless and not self.closing.is_set():
            self.sent_bytes += handler.wfile.write(b"x" * 4096)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def school(transactional_db: None) -> Tenant:
    return Tenant.objects.create(slug="school", name="School")


@pytest.fixture
def studio(transactional_db: None) -> Tenant:
    return Tenant.objects.create(slug="studio", name="Studio")


MakeEndpoint = Callable[..., tuple[Endpoint, str]]


@pytest.fixture
def make_endpoint(receiver: Receiver) -> MakeEndpoint:
    """Make an endpoint of a tenant at a path of the receiver (or a URL of its own); return it with its secret."""

    def make(tenant: Tenant, path: str = "/hook", **fields: Any) -> tuple[Endpoint, str]:
        values = {"url": receiver.url + path, "events": ["*"], **fields}
        with scope(tenant=tenant):
            return services.create_endpoint(tenant=tenant, **values)

    return make


def publish(tenant: Tenant, key: str = "k1", type: str = "payment.completed", **content: Any) -> str:
    """Publish an event and return its id."""
    event = publish_event(
        tenant_id=tenant.pk,
        type=type,
        object=content or {"id": "pay_1", "amount": 5},
        object_type="payment",
        object_id="pay_1",
        key=key,
    )
    return event.pk


def nothing_left() -> bool:
    """Tell whether no delivery is in flight, or due and not kept back: by a pause, an open breaker, or an earlier one."""
    now = clock.now()
    pending = Delivery.unscoped.filter(state=DeliveryState.PENDING, endpoint__is_active=True)
    kept_back = EndpointHealth.unscoped.filter(Q(paused_until__gt=now) | Q(breaker=Breaker.OPEN, breaker_until__gt=now))
    earlier = Delivery.unscoped.filter(
        endpoint=OuterRef("endpoint"),
        order_key=OuterRef("order_key"),
        position__lt=OuterRef("position"),
        state__in=[DeliveryState.PENDING, DeliveryState.GATHERING, DeliveryState.HELD],
    ).exclude(order_key="")
    free = Q(due_at__lte=now) & ~Q(Exists(earlier)) & ~Q(endpoint__in=kept_back.values("endpoint"))
    if Event.unscoped.filter(spread_at__isnull=True).exists():
        return False
    # One statement: between two, the next one could go from due to in flight unseen.
    return not pending.filter(Q(lease_until__gt=now) | free).exists()


def deliver(limits: Limits = FAST, *, stop: Callable[[], bool] = nothing_left, seconds: float = 60.0) -> None:
    """Run one engine until `stop`; fail if that takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    asyncio.run(Engine(limits).run(stop, deadline))
    assert time.monotonic() < deadline, "the engine ran into its deadline"


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Poll until `condition`; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def make_due() -> None:
    """Let every pending delivery be due now, as if its time had come."""
    Delivery.unscoped.filter(state=DeliveryState.PENDING).update(due_at=clock.now())


def only_delivery() -> Delivery:
    """Return the one delivery there is."""
    found: Delivery = Delivery.unscoped.get()
    return found


def all_attempts() -> list[DeliveryAttempt]:
    """Return every attempt, by delivery and number."""
    return list(DeliveryAttempt.unscoped.order_by("delivery_id", "number"))
