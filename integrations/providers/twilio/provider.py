"""The declaration of Twilio Programmable Messaging: what a config holds and what it is checked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.provider import Provider, RateLimit
from integrations.contracts.schema import ConfigSchema, Secret, Text


def check(values: Mapping[str, Any]) -> dict[str, str]:
    """Return {field: problem}: an API key is a pair, and there must be something to send from."""
    problems = {}
    if bool(values.get("api_key_sid")) != bool(values.get("api_key_secret")):
        missing = "api_key_secret" if values.get("api_key_sid") else "api_key_sid"
        problems[missing] = "an API key is a SID and a secret: give both or neither"
    if not any(values.get(name) for name in ("sender", "messaging_service_sid", "whatsapp_sender")):
        problems["sender"] = "give a sender, a Messaging Service or a WhatsApp sender"
    return problems


CONFIG = ConfigSchema(
    Text(
        name="account_sid",
        label="Account SID",
        help="AC..., from the console's front page. A subaccount has its own, with its own auth token.",
        pattern=r"AC[0-9a-fA-F]{32}",
    ),
    Secret(
        name="auth_token",
        label="Auth token",
        help="The account's primary auth token. Twilio signs its webhooks with it, also where an API key does the sending.",
        max_length=200,
    ),
    Text(
        name="api_key_sid",
        label="API key SID",
        help="SK..., if calls shall be made with an API key, which can be revoked by itself, instead of the auth token.",
        pattern=r"SK[0-9a-fA-F]{32}",
        required=False,
    ),
    Secret(
        name="api_key_secret", label="API key secret", help="Shown once, when the key is made.", required=False, max_length=200
    ),
    Text(
        name="sender",
        label="Sender",
        help="A number of yours (+15017122661), a shortcode, or an alphanumeric sender of at most 11 characters.",
        pattern=r"\+[1-9][0-9]{6,14}|[0-9]{3,8}|(?=.*[A-Za-z])[A-Za-z0-9 +&_-]{1,11}",
        required=False,
    ),
    Text(
        name="messaging_service_sid",
        label="Messaging Service",
        help="MG.... Twilio then chooses the sender; goes before the sender above.",
        pattern=r"MG[0-9a-fA-F]{32}",
        required=False,
    ),
    Text(
        name="whatsapp_sender",
        label="WhatsApp sender",
        help="The number that is registered for WhatsApp at Twilio, as +14155238886. Empty: the Messaging Service.",
        pattern=r"\+[1-9][0-9]{6,14}",
        required=False,
    ),
    check=check,
)

PROVIDER = Provider(
    slug="twilio",
    name="Twilio",
    description="SMS and WhatsApp in most countries, with signed delivery reports and replies.",
    docs_url="https://www.twilio.com/docs/messaging/api/message-resource",
    package="integrations.providers.twilio",
    config=CONFIG,
    adapters={Capability.SMS: "adapter:TwilioSms", Capability.WHATSAPP: "whatsapp:TwilioWhatsApp"},
    # Test credentials are another pair for the same host; nothing in their form tells them from live ones.
    base_urls={
        Environment.PRODUCTION: "https://api.twilio.com",
        Environment.SANDBOX: "https://api.twilio.com",
    },
    webhook="webhook:TwilioWebhook",
    simulator="simulator:TwilioSimulator",
    routing_fields=("account_sid",),
    masked_keys=frozenset({"Authorization", "X-Twilio-Signature", "auth_token"}),
    # Twilio limits concurrency (error 20429), not calls a second; rates per sender are in `adapter.per_second_of`.
    rate_limit=RateLimit(rate=50, burst=100),
    timeout=(5.0, 30.0),
    requirements=(
        "A Twilio account (or subaccount): its account SID and its primary auth token.",
        "A number, shortcode, alphanumeric sender or Messaging Service that may send to your countries.",
        "For WhatsApp: a WhatsApp sender at Twilio, and approved content templates (HX...) for messages that you begin.",
        "To receive replies: access to the console, to paste the hub's URL for incoming messages.",
    ),
)
