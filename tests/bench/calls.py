"""What a call to a provider costs beyond the exchange itself: one that somebody waits for, and thousands of texts in bulk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import requests
from django.db import connections
from django_scopes import scope
from rest_framework.test import APIClient

from integrations import registry
from integrations.contracts.adapter import TestResult
from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.ids import new_token
from integrations.contracts.messaging import MessageState, RecipientResult, SendResult, Target
from integrations.contracts.payment import PaymentQuery, PaymentRequest, PaymentResult, PaymentState
from integrations.contracts.payment_adapter import PaymentAdapter
from integrations.contracts.payment_features import CurrencyRule, MethodType, PaymentFeatures
from integrations.contracts.provider import Provider, RateLimit
from integrations.contracts.schema import ConfigSchema, Secret, Text
from integrations.contracts.sms import SmsAdapter, SmsMessage
from integrations.messaging.models import Recipient
from integrations.messaging.sms.services import send_sms
from integrations.models import Config, Tenant
from integrations.models import Provider as ProviderRow
from integrations.runtime import shifts
from integrations.runtime.execute import execute
from integrations.runtime.jobs import Call
from integrations.tenancy.keys import create_api_key
from tests.bench.receiver import ReceiverProcess
from tests.bench.results import Goal, Result, in_turns, percentile, wait_until
from tests.bench.sides import make_tenant

SLUG = "bench-gateway"
WORDS = "Dear parent, the term begins on Monday at eight o'clock. Please bring the form that we sent you last week."
GOAL_MS = 5.0


class BenchGateway(SmsAdapter):
    """An SMS gateway as plain as they come: one POST of JSON, one word for each number."""

    def test_connection(self) -> TestResult:
        return TestResult(ok=True, status="ok", detail="there")

    def send(self, message: SmsMessage) -> SendResult:
        numbers = [each.address for each in message.recipients]
        headers = {"Authorization": f"Bearer {self.config.api_key}"}
        self.http.request("POST", "/send", operation="send", json=_body(numbers, message.text), headers=headers)
        now = time.monotonic_ns()
        return SendResult(tuple(RecipientResult(each, MessageState.SENT, provider_ref=f"{now}-{each}") for each in numbers))


class BenchPayments(PaymentAdapter):
    """A gateway that takes the money at once: one POST of JSON."""

    features = PaymentFeatures(
        operations=frozenset({"authorize", "sync"}),
        methods=frozenset({MethodType.CARD}),
        currencies={"KES": CurrencyRule(minimum=100, maximum=10**9, decimals=2)},
    )

    def test_connection(self) -> TestResult:
        return TestResult(ok=True, status="ok", detail="there")

    def authorize(self, request: PaymentRequest) -> PaymentResult:
        headers = {"Authorization": f"Bearer {self.config.api_key}"}
        body = _charge(request.payment_id, request.money.minor_units)
        self.http.request("POST", "/charge", operation="authorize", json=body, headers=headers)
        return PaymentResult(PaymentState.SUCCEEDED, f"ch-{request.payment_id}", money=request.money)

    def payment_status(self, query: PaymentQuery) -> PaymentResult:
        return PaymentResult(PaymentState.SUCCEEDED, query.provider_ref, money=query.money)


def _charge(payment: str, amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "KES", "source": "tok_1", "reference": payment}


def _body(numbers: list[str], text: str) -> dict[str, Any]:
    return {"to": numbers, "message": text, "from": "SCHOOL"}


def calls(*, made: int = 300, texts: int = 400) -> list[Result]:
    """Every scenario here, with a receiver of its own."""
    with ReceiverProcess() as receiver, gateway(receiver.url):
        tenant, config = account()
        results = [overhead(receiver.url, tenant, config, made=made), payments(receiver.url, tenant, made=made)]
        results += [bulk(receiver.url, tenant, config, texts=texts, at_once=size) for size in (1, 100)]
    return results


def overhead(url: str, tenant: Tenant, config: Config, *, made: int) -> Result:
    """Calls made in turns, bare and by `execute`: the account opened, limit and breaker asked, the guarded exchange, the log
    written with masks. It is the call alone: no item of the queue, so no attempt on record and no lease. Medians, and their
    difference."""
    number = "+254712345678"
    call = Call(Capability.SMS, "send", (SmsMessage("msg_bench", (Target(number),), WORDS),), config_id=config.pk)
    figures = _taken(f"{url}/send", _body([number], WORDS), lambda: execute(call, tenant_id=tenant.pk), made)
    goals = (Goal("overhead_ms", GOAL_MS, at_least=False),)
    ratio = figures["hub_ms"] / figures["bare_ms"]
    return Result("call_overhead", "the runtime's call to a provider, alone / the same by bare requests", ratio, figures, goals)


def payments(url: str, tenant: Tenant, *, made: int) -> Result:
    """The whole way of what somebody waits for: `POST /api/v1/payments/authorize` with an `Idempotency-Key`, from request to
    answer, against the gateway's request alone. Middleware, key, the record of idempotency, payment, operation and ledger, the
    item with its lease and attempt, the call, the event and the receipt: all committed. The views are called in this process:
    what gunicorn's socket costs is not in it."""
    with scope(tenant=tenant):
        _row, key = create_api_key(tenant=tenant, name="bench")
    client = APIClient(raise_request_exception=True)
    body = {
        "amount": 150_000,
        "currency": "KES",
        "method": {"type": "card", "token": "tok_1"},
        "reference": {"type": "invoice", "id": "INV-1"},
        "provider": SLUG,
    }

    def hub() -> None:
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": new_token()}
        answer = client.post("/api/v1/payments/authorize", body, format="json", headers=headers)
        if (answer.status_code, answer.json().get("status")) != (201, "succeeded"):
            raise RuntimeError(f"the payment was answered {answer.status_code}: {answer.content[:300]!r}")

    figures = _taken(f"{url}/charge", _charge("INV-1", 150_000), hub, made)
    ratio = figures["hub_ms"] / figures["bare_ms"]
    return Result("payment_whole", "a payment by the API, all that is committed / the gateway's request, bare", ratio, figures)


def _taken(url: str, body: dict[str, Any], hub: Callable[[], object], made: int) -> dict[str, float]:
    """Make the bare request and `hub` so many times in turns; return medians, their difference, and 99th percentiles, in ms."""
    taken: dict[str, list[float]] = {"bare": [], "hub": []}
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Authorization": "Bearer secret-of-the-bench"}

        def bare() -> None:
            session.post(url, json=body, headers=headers, timeout=(5, 30)).raise_for_status()

        runs: dict[str, Callable[[], object]] = {"bare": bare, "hub": hub}
        for warm in (True, False):
            for _ in range(min(10, made) if warm else made):
                for name, make in runs.items():
                    began = time.perf_counter()
                    make()
                    if not warm:
                        taken[name].append((time.perf_counter() - began) * 1000)
    plain, ours = median(taken["bare"]), median(taken["hub"])
    return {
        "overhead_ms": ours - plain,
        "hub_ms": ours,
        "bare_ms": plain,
        "hub_p99_ms": percentile(taken["hub"], 99),
        "bare_p99_ms": percentile(taken["bare"], 99),
    }


def bulk(url: str, tenant: Tenant, config: Config, *, texts: int, at_once: int) -> Result:
    """Texts a second, from accepting them to the last one written down as sent, by one queue shift of this process, against the
    same requests one after the other and nothing written down."""

    def hub() -> float:
        return _drained(tenant, config, texts, at_once)

    def bare() -> float:
        began = time.perf_counter()
        with requests.Session() as session:
            session.trust_env = False
            for first in range(0, texts, at_once):
                numbers = _numbers(min(at_once, texts - first))
                session.post(f"{url}/send", json=_body(numbers, WORDS), timeout=(5, 30)).raise_for_status()
        return texts / (time.perf_counter() - began)

    runs: dict[str, Callable[[], float]] = {"hub": hub, "bare": bare}
    found = {name: median(figures) for name, figures in in_turns(runs).items()}
    figures = {f"{name}_texts_per_second": value for name, value in found.items()}
    says = f"texts a second, {at_once} in one call / the same requests, bare"
    return Result(f"bulk_sms_{at_once}", says, found["hub"] / found["bare"], figures)


def _drained(tenant: Tenant, config: Config, texts: int, at_once: int) -> float:
    BenchGateway.batch_size = at_once
    began = time.perf_counter()
    with scope(tenant=tenant):
        message = send_sms(tenant=tenant, to=_numbers(texts), message=WORDS, sender="SCHOOL", config_id=config.pk)
    waiting = Recipient.unscoped.filter(message=message).exclude(state=MessageState.SENT)
    done: list[float] = []

    def stop() -> bool:
        if not waiting.exists():
            done.append(time.perf_counter())
        return bool(done)

    shifts.drain(stop, time.monotonic() + 60)
    connections.close_all()
    wait_until(lambda: not waiting.exists(), "the texts to be sent", 1.0)
    return texts / (done[0] - began)


def _numbers(count: int) -> list[str]:
    return [f"+2547{number:08d}" for number in range(count)]


@contextmanager
def gateway(url: str) -> Iterator[None]:
    """Make the registry know the gateway, at `url`, for the block."""
    declared = Provider(
        slug=SLUG,
        name="Bench gateway",
        docs_url="https://gateway.example/docs",
        package="tests.bench",
        config=ConfigSchema(Text(name="account"), Secret(name="api_key")),
        adapters={Capability.SMS: "calls:BenchGateway", Capability.PAYMENT: "calls:BenchPayments"},
        base_urls={Environment.PRODUCTION: url},
        rate_limit=RateLimit(rate=100_000, burst=1_000_000),
        timeout=(5.0, 30.0),
    )
    known = registry.providers
    found = {**known(), SLUG: declared}
    registry.providers = lambda: found  # type: ignore[assignment]
    ProviderRow.objects.get_or_create(slug=SLUG, defaults={"name": declared.name, "categories": declared.categories})
    try:
        yield
    finally:
        registry.providers = known


def account() -> tuple[Tenant, Config]:
    """Return a new tenant and its account at the gateway."""
    tenant = make_tenant()
    config = Config(tenant=tenant, provider_id=SLUG, environment=Environment.PRODUCTION.value, values={"account": "bench"})
    config.set_secrets({"api_key": "secret-of-the-bench"})
    config.save()
    return tenant, config
