"""A payment gateway for tests of set-up alone: it registers webhooks by API, tells live keys from test keys, and has a
permission that not every account has. It makes no requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from integrations.contracts.adapter import ConfigView, Registration, TestResult
from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.errors import AuthenticationFailed
from integrations.contracts.inbound import InboundEvent, InboundRequest, Origin, Trust, Verified, WebhookAdapter
from integrations.contracts.payment import PaymentQuery, PaymentRequest, PaymentResult
from integrations.contracts.payment_adapter import PaymentAdapter
from integrations.contracts.payment_features import CurrencyRule, MethodType, PaymentFeatures
from integrations.contracts.provider import Provider
from integrations.contracts.schema import ConfigSchema, Flag, Secret, Text

SLUG = "sample-pay"
TEST_KEY, LIVE_KEY = "sk_test_0123456789abcdef", "sk_live_0123456789abcdef"
SIGNING = "whsec_0123456789abcdef"


class SampleGateway(PaymentAdapter):
    """`answer` is what registering brings; `during` is called while it runs, as another process might act."""

    features = PaymentFeatures(
        operations=frozenset({"authorize", "capture", "multiple_capture", "refund", "sync"}),
        methods=frozenset({MethodType.CARD, MethodType.REDIRECT}),
        currencies={"USD": CurrencyRule(50, 99_999_999, decimals=2), "JPY": CurrencyRule(5_000, 9_999_999, decimals=0)},
    )
    answer: ClassVar[Registration] = Registration("Registered.")
    during: ClassVar[Callable[[], Any] | None] = None
    asked: ClassVar[list[dict[str, str]]] = []

    @classmethod
    def features_for(cls, config: ConfigView) -> PaymentFeatures:
        return cls.features if config.get("multicapture") else cls.features.without("multiple_capture")

    def authorize(self, request: PaymentRequest) -> PaymentResult:
        raise NotImplementedError

    def payment_status(self, query: PaymentQuery) -> PaymentResult:
        raise NotImplementedError

    def test_connection(self) -> TestResult:
        if "refused" in self.config.secret_key:
            raise AuthenticationFailed("The key was refused.")
        return TestResult(ok=True, status="ok", detail="Account acct_1.")

    def register_webhooks(self, urls: Mapping[str, str]) -> Registration:
        kind = type(self)
        kind.asked.append(dict(urls))
        if kind.during is not None:
            kind.during()
        return kind.answer


class SampleWebhook(WebhookAdapter):
    provider = SLUG
    purposes = frozenset({"events"})
    config_purposes = {"events": "Everything that happens to a payment"}

    def verify(self, request: InboundRequest, config: ConfigView | None, *, by_token: bool) -> Verified:
        return Verified(Trust.HINT, request.digest(), "event")

    def parse(self, request: InboundRequest, origin: Origin) -> list[InboundEvent]:
        return []


def check_environment(values: Mapping[str, Any], environment: Environment) -> dict[str, str]:
    wanted = "sk_live_" if environment is Environment.PRODUCTION else "sk_test_"
    key = values.get("secret_key")
    return {"secret_key": f"is no key for {environment.value}"} if key and not key.startswith(wanted) else {}


PROVIDER = Provider(
    slug=SLUG,
    name="Sample Pay",
    docs_url="https://pay.example/docs",
    package="tests.configs",
    config=ConfigSchema(
        Secret(name="secret_key"),
        Secret(name="webhook_secret", required=False, pattern=r"whsec_\w+"),
        Text(name="endpoint_id", required=False, assigned=True),
        Text(name="statement", required=False),
        Flag(name="multicapture", required=False, default=False),
    ),
    adapters={Capability.PAYMENT: "sample_gateway:SampleGateway"},
    base_urls={Environment.PRODUCTION: "https://pay.example", Environment.SANDBOX: "https://sandbox.pay.example"},
    webhook="sample_gateway:SampleWebhook",
    routing_fields=("endpoint_id",),
    check_environment=check_environment,
    requirements=("An account at Sample Pay.",),
)
