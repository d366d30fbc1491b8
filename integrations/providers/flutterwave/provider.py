"""The declaration of Flutterwave (v3). What a config holds and what it is checked for stands here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.provider import Provider, RateLimit
from integrations.contracts.schema import ConfigSchema, Flag, Secret, Text

KEY_PREFIXES = {"secret_key": "FLWSECK", "public_key": "FLWPUBK"}
"""How keys begin; `_TEST` follows in test mode. One host serves both modes, so the key alone decides whose money moves."""


def check_environment(values: Mapping[str, Any], environment: Environment) -> dict[str, str]:
    """Return {field: problem} for keys of the other mode: live keys outside production, test keys in it."""
    live = environment is Environment.PRODUCTION
    problems = {}
    for name, prefix in KEY_PREFIXES.items():
        value = str(values.get(name) or "")
        wanted = f"{prefix}-" if live else f"{prefix}_TEST-"
        if value and not value.startswith(wanted):
            problems[name] = f"must be a {'live' if live else 'test'} key (it begins with {wanted})"
    return problems


CONFIG = ConfigSchema(
    Secret(
        name="secret_key",
        label="Secret key",
        help="Dashboard > Settings > API keys. Begins with FLWSECK_TEST- in test mode, FLWSECK- live.",
        max_length=200,
    ),
    Text(
        name="public_key",
        label="Public key",
        help="Not used for payments; kept so that the whole pair is in one place. Begins with FLWPUBK_TEST- or FLWPUBK-.",
        required=False,
        max_length=200,
    ),
    Secret(
        name="secret_hash",
        label="Secret hash",
        help="The text you chose under Dashboard > Settings > Webhooks. While it is empty every webhook is refused.",
        required=False,
        max_length=200,
    ),
    Flag(
        name="plain_signature",
        label="Plain text in flutterwave-signature",
        help="Only if your account sends the secret hash itself in the header flutterwave-signature, and not a digest.",
        required=False,
        default=False,
    ),
)

PROVIDER = Provider(
    slug="flutterwave",
    name="Flutterwave",
    description="Hosted checkout (cards, mobile money, bank) in several African currencies, M-Pesa prompts in Kenya, refunds.",
    docs_url="https://developer.flutterwave.com/v3.0/docs",
    package="integrations.providers.flutterwave",
    config=CONFIG,
    adapters={Capability.PAYMENT: "adapter:FlutterwavePayments"},
    webhook="webhook:FlutterwaveWebhook",
    simulator="simulator:FlutterwaveSimulator",
    # The version is part of every path: v4 is another API on another host, with credentials of its own.
    base_urls={
        Environment.PRODUCTION: "https://api.flutterwave.com",
        Environment.SANDBOX: "https://api.flutterwave.com",
    },
    masked_keys=frozenset({"Authorization", "verif-hash", "flutterwave-signature", "token"}),
    # No figure is published for v3 (2026-11); 429 is.
    rate_limit=RateLimit(rate=10, burst=20),
    # A charge that Flutterwave gives up on is answered 503 after about 28 seconds (page "error timeouts").
    timeout=(5.0, 35.0),
    check_environment=check_environment,
    requirements=(
        "A Flutterwave business account; for live keys its verification must be complete.",
        "The secret key of the mode you want (test or live).",
        "Access to Dashboard > Settings > Webhooks, to paste the webhook URL there, choose a secret hash and enable retries.",
        "An e-mail address of every payer: Flutterwave takes no payment without one.",
    ),
)
