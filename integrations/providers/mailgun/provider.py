"""The declaration of Mailgun. What a config holds and what it is checked for stands here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.provider import Provider, RateLimit
from integrations.contracts.schema import Choice, ConfigSchema, Secret, Text

SANDBOX_DOMAIN = r"sandbox[0-9a-z]+\.mailgun\.org"
"""The domain every account has from the start; it delivers to a few authorised recipients only (unconfirmed: at most five)."""


def lowered(value: Any) -> str:
    """Return the domain as webhooks name it."""
    return str(value).lower()


def check_environment(values: Mapping[str, Any], environment: Environment) -> dict[str, str]:
    """Return {field: problem}: keys don't show what they are for, but the sandbox domain shows by its name."""
    if environment is Environment.PRODUCTION and re.fullmatch(SANDBOX_DOMAIN, str(values.get("domain") or "").lower()):
        return {"domain": "is Mailgun's sandbox domain: it delivers to a few authorised addresses only"}
    return {}


CONFIG = ConfigSchema(
    Text(
        name="domain",
        label="Sending domain",
        help="As it stands in Mailgun under Sending > Domains, for example mg.example.com.",
        # No slash may get into the path: Mailgun answers those with 200 and sends nothing.
        pattern=r"(?=.{4,253}$)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]*[A-Za-z0-9]",
        max_length=253,
        validate=lowered,
    ),
    Secret(
        name="api_key",
        label="API key",
        help="An account API key. A domain sending key sends too, but can't be tested, asked or register webhooks.",
        max_length=200,
    ),
    Choice(
        name="region",
        label="Region",
        help="Where the domain was made. It is fixed for each domain; in the wrong region it is not found.",
        choices=(("us", "United States"), ("eu", "European Union")),
        default="us",
    ),
    Text(
        name="sender_address",
        label="Sender address",
        help="Used where a message names no sender. Best of the sending domain itself.",
        pattern=r"[^@\s<>\",;]{1,64}@([A-Za-z0-9-]{1,63}\.)+[A-Za-z][A-Za-z0-9-]{1,62}",
        max_length=254,
        required=False,
    ),
    Secret(
        name="webhook_signing_key",
        label="HTTP webhook signing key",
        help="Settings > API security. Fetched when the hub registers the webhooks. Without it all are refused.",
        required=False,
        max_length=200,
    ),
)

PROVIDER = Provider(
    slug="mailgun",
    name="Mailgun",
    description="E-mail by HTTP, with delivery, bounce and complaint reports, stored templates and suppression lists.",
    docs_url="https://documentation.mailgun.com/docs/mailgun/api-reference",
    package="integrations.providers.mailgun",
    config=CONFIG,
    adapters={Capability.EMAIL: "adapter:MailgunEmail"},
    webhook="webhook:MailgunWebhook",
    simulator="simulator:MailgunSimulator",
    # The region is the config's choice: see `calls.host`.
    base_urls={
        Environment.PRODUCTION: "https://api.mailgun.net",
        Environment.SANDBOX: "https://api.mailgun.net",
    },
    routing_fields=("domain",),
    masked_keys=frozenset({"Authorization", "http_signing_key", "signature", "parent-signature"}),
    # Limits are per account and not published as one number (November 2026); a refusal says how long to wait.
    rate_limit=RateLimit(rate=20, burst=40),
    timeout=(5.0, 30.0),
    check_environment=check_environment,
    requirements=(
        "A Mailgun account with a sending domain whose DNS records are verified.",
        "An API key of the account, and the region of the domain (US or EU).",
        "For reports, if the hub may not fetch it itself: the HTTP webhook signing key.",
    ),
)
