"""The declaration of Twilio SendGrid (Web API v3)."""

from __future__ import annotations

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.provider import Provider, RateLimit
from integrations.contracts.schema import Choice, ConfigSchema, Secret, Text

P256_KEY = r"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE[A-Za-z0-9+/]{86}=="
"""A P-256 public key as SendGrid shows it: base64 of the DER SubjectPublicKeyInfo, whose first 27 bytes never differ."""

CONFIG = ConfigSchema(
    Secret(
        name="api_key",
        label="API key",
        help="SG.…, from Settings > API Keys; shown once. Mail Send is enough to send; see the README for the rest.",
        max_length=200,
    ),
    Choice(
        name="region",
        label="Region",
        help="EU only for subusers that were made with EU data residency; their keys work there alone.",
        choices=(("global", "Global (api.sendgrid.com)"), ("eu", "EU (api.eu.sendgrid.com)")),
        default="global",
    ),
    Text(
        name="sender_address",
        label="Sender address",
        help="Used where a message names no sender. A verified sender, or of an authenticated domain.",
        pattern=r"[^@\s<>\",;]{1,64}@([A-Za-z0-9-]{1,63}\.)+[A-Za-z][A-Za-z0-9-]{1,62}",
        max_length=254,
        required=False,
    ),
    Text(
        name="subuser",
        label="On behalf of",
        help="Name of a subuser, where the key is the parent account's. Else empty.",
        pattern=r"[A-Za-z0-9._@+-]{1,64}",
        required=False,
    ),
    Text(
        name="webhook_public_key",
        label="Webhook verification key",
        help="Of the signed Event Webhook (Settings > Mail Settings). Filled in when the hub registers the webhook itself.",
        pattern=P256_KEY,
        required=False,
        assigned=True,
    ),
    Text(
        name="webhook_id",
        label="Event Webhook",
        help="Its id at SendGrid. Filled in when the hub registers the webhook itself.",
        pattern=r"[0-9A-Za-z-]{1,64}",
        required=False,
        assigned=True,
    ),
)

PROVIDER = Provider(
    slug="sendgrid",
    name="SendGrid",
    description="E-mail with delivery, bounce and complaint reports, and templates kept at SendGrid.",
    docs_url="https://www.twilio.com/docs/sendgrid/api-reference",
    package="integrations.providers.sendgrid",
    config=CONFIG,
    adapters={Capability.EMAIL: "adapter:SendGridEmail"},
    # There is no test host: the sandbox environment is the live one, told to check the message and to deliver nothing.
    base_urls={
        Environment.PRODUCTION: "https://api.sendgrid.com",
        Environment.SANDBOX: "https://api.sendgrid.com",
    },
    webhook="webhook:SendGridWebhook",
    simulator="simulator:SendGridSimulator",
    # One webhook call mixes the reports of all messages of an account: those of several tenants can't be told apart in time.
    is_global=False,
    # Limits are unpublished (November 2026); answers carry what is left.
    rate_limit=RateLimit(rate=20, burst=40),
    timeout=(5.0, 30.0),
    requirements=(
        "A SendGrid account with a verified sender: an authenticated domain, or a single sender.",
        "An API key with Mail Send; for webhook, suppression lists and credits also the scopes that the README names.",
    ),
)
