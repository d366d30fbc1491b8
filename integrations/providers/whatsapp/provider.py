"""WhatsApp Business Cloud API (Meta's Graph API): one phone number of one business account for each config."""

from __future__ import annotations

import json
from collections.abc import Mapping

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.provider import Provider, RateLimit
from integrations.contracts.schema import ConfigSchema, Secret, Text

API_VERSION = "v25.0"
"""The current version in November 2026; Meta keeps one for about two years (unconfirmed)."""

USAGE = "x-business-use-case-usage"


def pause(status: int, headers: Mapping[str, str], body: str) -> float | None:
    """Meta says in a header of its own, in minutes and for each kind of call, when an account that was throttled may call
    again (developers.facebook.com/docs/graph-api/overview/rate-limiting; no answer with it was captured yet)."""
    try:
        kinds = [kind for found in json.loads(headers.get(USAGE, "")).values() for kind in found]
        minutes = max(float(kind.get("estimated_time_to_regain_access") or 0) for kind in kinds)
    except (ValueError, TypeError, AttributeError):
        return None
    return minutes * 60 or None


PROVIDER = Provider(
    slug="whatsapp",
    name="WhatsApp Business Cloud",
    description="WhatsApp messages and approved templates by Meta's Cloud API, with receipts and incoming messages.",
    docs_url="https://developers.facebook.com/docs/whatsapp/cloud-api",
    package="integrations.providers.whatsapp",
    config=ConfigSchema(
        Secret(
            name="access_token",
            label="Access token",
            help="Of a system user with whatsapp_business_messaging and whatsapp_business_management. Those that the app's "
            "dashboard shows end within a day.",
            pattern=r"[\x21-\x7e]+",
            max_length=1000,
        ),
        Text(
            name="phone_number_id",
            label="Phone number ID",
            help="WhatsApp > API Setup. Not the phone number itself.",
            pattern=r"[0-9]{5,30}",
        ),
        Text(
            name="waba_id",
            label="WhatsApp business account ID",
            help="WhatsApp > API Setup. Templates belong to it.",
            pattern=r"[0-9]{5,30}",
        ),
        Secret(
            name="app_secret",
            label="App secret",
            help="App settings > Basic. Meta signs its webhooks with it.",
            pattern=r"[\x21-\x7e]+",
            max_length=200,
        ),
        Secret(
            name="verify_token",
            label="Verify token",
            help="Chosen by you, at least 16 characters: Meta shows it when it asks whether the webhook URL is yours.",
            pattern=r"[A-Za-z0-9_-]{16,100}",
        ),
        Text(
            name="api_version",
            label="API version",
            help="Part of every address. Raise it before Meta retires the old one.",
            pattern=r"v[0-9]{1,3}\.[0-9]{1,2}",
            default=API_VERSION,
        ),
    ),
    adapters={Capability.WHATSAPP: "adapter:WhatsAppCloud"},
    base_urls={
        Environment.PRODUCTION: "https://graph.facebook.com",
        # There is no test host: a sandbox config is one with the test number that Meta gives to every app.
        Environment.SANDBOX: "https://graph.facebook.com",
    },
    webhook="webhook:WhatsAppWebhook",
    simulator="simulator:WhatsAppSimulator",
    routing_fields=("phone_number_id", "waba_id"),
    masked_keys=frozenset({"Authorization", "X-Hub-Signature-256", "verify_token", "hub.verify_token"}),
    # 80 a second for each number, both directions together; 20 where the number is shared with the Business app.
    rate_limit=RateLimit(rate=40, burst=60),
    pause=pause,
    timeout=(5.0, 30.0),
    requirements=(
        "A Meta business portfolio with a WhatsApp business account and a registered phone number.",
        "A Meta app with the WhatsApp product, and its app secret.",
        "A system user's access token with the permissions whatsapp_business_messaging and whatsapp_business_management.",
        "Approved templates for everything that is sent outside of a customer's 24 hours, and the customers' consent.",
    ),
)
