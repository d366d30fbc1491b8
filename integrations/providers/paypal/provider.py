"""The declaration of PayPal (Orders v2, Payments v2, Vault v3). What a config holds and what it is checked for stands here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.provider import Provider, RateLimit
from integrations.contracts.schema import ConfigSchema, Flag, Secret, Text

SIMULATED_EVENTS_ID = "WEBHOOK_ID"
"""The literal id under which PayPal's web simulator signs its events: whoever accepts it accepts anybody's test events."""


def _webhook_id(value: Any) -> Any:
    if value == SIMULATED_EVENTS_ID:
        raise ValueError("must be the webhook's own id: this one is shared by everybody who uses PayPal's web simulator")
    return value


def _ca(value: Any) -> Any:
    from integrations.providers.paypal.certificates import load_certificates

    load_certificates(value.encode())
    return value


def check_environment(values: Mapping[str, Any], environment: Environment) -> dict[str, str]:
    """Refuse the simulator's certificate authority elsewhere. Live and sandbox credentials look alike: PayPal's own host tells
    them apart, in the connection test."""
    if environment is not Environment.SIMULATOR and values.get("simulator_ca"):
        return {"simulator_ca": "is for the simulator only"}
    return {}


CONFIG = ConfigSchema(
    Text(
        name="client_id",
        label="Client ID",
        help="Of a REST app on developer.paypal.com; sandbox and live have different ones.",
        pattern=r"[A-Za-z0-9_-]{16,120}",
    ),
    Secret(name="client_secret", label="Secret", help="Of the same app.", max_length=200),
    Text(
        name="webhook_id",
        label="Webhook ID",
        help="Filled in when the hub registers its webhook. Without it no event is believed.",
        pattern=r"[A-Za-z0-9_-]{1,50}",
        required=False,
        validate=_webhook_id,
        assigned=True,
    ),
    Flag(
        name="vault",
        label="Stored payers (Vault)",
        help="Only where PayPal has approved the account for saving PayPal wallets (Vault v3).",
        default=False,
        required=False,
    ),
    Text(
        name="brand_name",
        label="Brand name",
        help="What the payer sees on PayPal's page; empty: the name of the PayPal account.",
        required=False,
        max_length=127,
    ),
    Text(
        name="soft_descriptor",
        label="Statement descriptor",
        help="What the payer sees on the card statement, at most 22 characters.",
        pattern=r"[A-Za-z0-9 .*-]{1,22}",
        required=False,
        max_length=22,
    ),
    Text(
        name="merchant_country",
        label="Country of the account",
        help="Two letters. BR, CN, IN and MY have a currency of their own that other accounts can't use.",
        pattern=r"[A-Z]{2}",
        required=False,
    ),
    Text(
        name="simulator_ca",
        label="Simulator's certificate authority",
        help="For the simulator only: who signed its webhook certificate.",
        multiline=True,
        required=False,
        validate=_ca,
        max_length=8000,
    ),
)

PROVIDER = Provider(
    slug="paypal",
    name="PayPal",
    description="PayPal wallet and card payments on PayPal's page: hold and capture, refunds, disputes, stored payers.",
    docs_url="https://developer.paypal.com/docs/api/orders/v2/",
    package="integrations.providers.paypal",
    config=CONFIG,
    adapters={Capability.PAYMENT: "adapter:PaypalPayments"},
    webhook="webhook:PaypalWebhook",
    simulator="simulator:PaypalSimulator",
    base_urls={
        Environment.PRODUCTION: "https://api-m.paypal.com",
        Environment.SANDBOX: "https://api-m.sandbox.paypal.com",
    },
    masked_keys=frozenset({"access_token", "Authorization", "client_secret", "nonce", "email_address", "payer_id"}),
    # PayPal publishes no numbers and limits what looks unusual (rate limiting page, read 2026-11), so stay modest.
    rate_limit=RateLimit(rate=10, burst=20),
    timeout=(5.0, 30.0),
    check_environment=check_environment,
    requirements=(
        "A PayPal business account, and a REST app on developer.paypal.com with its client id and secret (live or sandbox).",
        "For holding money and capturing later, and for saved wallets (Vault): PayPal's approval for the account.",
        "For live and sandbox webhooks: a public HTTPS address of this hub on port 443.",
    ),
)
