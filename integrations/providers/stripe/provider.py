"""The declaration of Stripe (PaymentIntents API). What a config holds and what it is checked for stands here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.provider import Provider, RateLimit
from integrations.contracts.schema import Choice, ConfigSchema, Flag, Secret, Text

API_VERSION = "2023-10-16"
"""The version whose shapes the adapter reads and whose parameters it sends; later ones add members."""

KEY_KINDS = {"secret_key": ("sk", "rk"), "publishable_key": ("pk",)}


def check_environment(values: Mapping[str, Any], environment: Environment) -> dict[str, str]:
    """Return {field: problem}: a key shows by its prefix whether it moves real money. Empty where all fits."""
    mode = "live" if environment is Environment.PRODUCTION else "test"
    problems = {}
    for name, kinds in KEY_KINDS.items():
        value = str(values.get(name) or "")
        if value and not value.startswith(tuple(f"{kind}_{mode}_" for kind in kinds)):
            wanted = " or ".join(f"{kind}_{mode}_..." for kind in kinds)
            problems[name] = f"must be a {mode} key ({wanted}) in this environment"
    return problems


def pause(status: int, headers: Mapping[str, str], body: str) -> float | None:
    """A 429 for an object that another call holds (`lock_timeout`, docs.stripe.com/rate-limits, November 2026) says nothing
    about the account."""
    return 0.0 if status == 429 and "lock_timeout" in body else None


CONFIG = ConfigSchema(
    Secret(
        name="secret_key",
        label="Secret key",
        help="sk_... or a restricted rk_... key, from Developers > API keys.",
        max_length=300,
    ),
    Text(
        name="publishable_key",
        label="Publishable key",
        help="pk_..., used by the payer's browser. Needed for payments on the hub's own payment page.",
        pattern=r"pk_[0-9A-Za-z_]{5,290}",
        required=False,
    ),
    Secret(
        name="webhook_secret",
        label="Webhook signing secret",
        help="whsec_... of the endpoint. Filled in when the hub registers the endpoint itself.",
        required=False,
        max_length=300,
    ),
    Text(
        name="webhook_endpoint_id",
        label="Webhook endpoint",
        help="we_... of the endpoint. Filled in when the hub registers the endpoint itself.",
        pattern=r"we_[0-9A-Za-z]{3,100}",
        required=False,
        assigned=True,
    ),
    Text(
        name="api_version",
        label="API version",
        help="Sent with each request and set on the webhook endpoint. Leave it unless Stripe retires it.",
        pattern=r"\d{4}-\d{2}-\d{2}(\.[a-z]+)?",
        default=API_VERSION,
    ),
    Text(
        name="connected_account",
        label="Connected account",
        help="acct_... for a platform that charges on behalf of this account (Connect, direct charges). Else empty.",
        pattern=r"acct_[0-9A-Za-z]{3,100}",
        required=False,
    ),
    Choice(
        name="ugx_decimals",
        label="Decimals of UGX",
        help="Stripe's documentation contradicts itself on Ugandan shillings: they are refused until this is set.",
        choices=(("", "Refuse UGX"), ("0", "None (1000 is UGX 1,000)"), ("2", "Two (100000 is UGX 1,000)")),
        required=False,
    ),
    Flag(
        name="multicapture",
        label="Several captures per payment",
        help="Only where Stripe has enabled card multicapture for the account.",
        default=False,
    ),
    Text(
        name="statement_suffix",
        label="Statement suffix",
        help="Added to the account's prefix on the payer's card statement.",
        # Stripe: at most 22 characters together with the prefix, none of < > \ ' " *, at least one letter.
        pattern=r"(?=.*[A-Za-z])[^<>\\'\"*]{1,22}",
        required=False,
    ),
)

PROVIDER = Provider(
    slug="stripe",
    name="Stripe",
    description="Cards by PaymentIntents: hold and capture, refunds, stored cards, disputes, 3-D Secure.",
    docs_url="https://docs.stripe.com/api",
    package="integrations.providers.stripe",
    config=CONFIG,
    adapters={Capability.PAYMENT: "adapter:StripePayments"},
    webhook="webhook:StripeWebhook",
    simulator="simulator:StripeSimulator",
    base_urls={
        Environment.PRODUCTION: "https://api.stripe.com",
        Environment.SANDBOX: "https://api.stripe.com",
    },
    routing_fields=("connected_account",),
    masked_keys=frozenset(
        {
            "Authorization",
            "client_secret",
            "payment_intent_client_secret",
            "setup_intent_client_secret",
            "secret",
            "Stripe-Signature",
        }
    ),
    # Published: 100 requests a second in live mode, 25 in test mode (docs.stripe.com/rate-limits, November 2026).
    rate_limit=RateLimit(rate=20, burst=40),
    timeout=(5.0, 30.0),
    check_environment=check_environment,
    pause=pause,
    requirements=(
        "A Stripe account that may charge cards in the currencies you sell in.",
        "Its secret key (or a restricted key that may write PaymentIntents, SetupIntents, Customers, Refunds and webhook "
        "endpoints, and read charges, disputes, balance and the account), of live or test mode as the environment says.",
        "Its publishable key, if payers are to pay on the hub's own page.",
    ),
)
