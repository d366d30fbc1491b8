"""A gateway that answers what a test has written down, and remembers what it was asked."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, ClassVar

from integrations.contracts.adapter import TestResult
from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.payment import PaymentQuery, PaymentRequest, PaymentResult, SetupRequest, SetupResult, StoredMethod
from integrations.contracts.payment_adapter import PaymentAdapter
from integrations.contracts.payment_features import CurrencyRule, MethodType, PaymentFeatures
from integrations.contracts.provider import Provider, RateLimit
from integrations.contracts.schema import ConfigSchema, Secret

SLUG = "sample-pay"


class FakeGateway(PaymentAdapter):
    """Each call takes the next answer written for it (an exception is raised); without one the test fails."""

    features = PaymentFeatures(
        operations=frozenset({"authorize", "setup", "off_session", "sync"}),
        methods=frozenset({MethodType.CARD, MethodType.REDIRECT}),
        currencies={"KES": CurrencyRule(minimum=100, maximum=10**9, decimals=2)},
        polls=(30, 60, 3600),
    )
    answers: ClassVar[dict[str, list[Any]]] = defaultdict(list)
    asked: ClassVar[list[tuple[str, Any]]] = []

    def _next(self, operation: str, argument: Any) -> Any:
        self.asked.append((operation, argument))
        answer = self.answers[operation].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def test_connection(self) -> TestResult:
        return TestResult(ok=True, status="ok", detail="there")

    def authorize(self, request: PaymentRequest) -> PaymentResult:
        return self._next("authorize", request)  # type: ignore[no-any-return]

    def payment_status(self, query: PaymentQuery) -> PaymentResult:
        return self._next("payment_status", query)  # type: ignore[no-any-return]

    def setup(self, request: SetupRequest) -> SetupResult:
        return self._next("setup", request)  # type: ignore[no-any-return]

    def complete_setup(self, request: SetupRequest) -> SetupResult:
        return self._next("complete_setup", request)  # type: ignore[no-any-return]

    def setup_status(self, request: SetupRequest) -> SetupResult:
        return self._next("setup_status", request)  # type: ignore[no-any-return]

    def forget(self, stored: StoredMethod) -> None:
        self._next("forget", stored)


def fake_provider() -> Provider:
    return Provider(
        slug=SLUG,
        name="Sample Pay",
        docs_url="https://pay.example/docs",
        package="tests.payments",
        config=ConfigSchema(Secret(name="api_key")),
        adapters={Capability.PAYMENT: "fake_gateway:FakeGateway"},
        base_urls={Environment.PRODUCTION: "http://127.0.0.1:9"},
        rate_limit=RateLimit(rate=1000, burst=10_000),
    )
