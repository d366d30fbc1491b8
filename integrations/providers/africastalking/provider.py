"""Africa's Talking: bulk SMS in Kenya and some twenty other African countries."""

from __future__ import annotations

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.provider import Provider, RateLimit
from integrations.contracts.schema import Choice, ConfigSchema, Integer, Secret, Text

PROVIDER = Provider(
    slug="africastalking",
    name="Africa's Talking",
    description="SMS with delivery reports, in Kenya and other African countries.",
    docs_url="https://developers.africastalking.com/docs/sms/overview",
    package="integrations.providers.africastalking",
    config=ConfigSchema(
        Text(
            name="username",
            label="Username",
            help="The app's username. The sandbox has one for everybody: sandbox.",
            pattern=r"[A-Za-z0-9._-]+",
            max_length=100,
        ),
        Secret(
            name="api_key",
            label="API key",
            help="Dashboard > Settings > API Key. Making a new one revokes the old.",
            max_length=200,
        ),
        Text(
            name="sender_id",
            label="Sender ID",
            help="An approved alphanumeric sender (at most 11 characters) or a shortcode. Empty: the account's default.",
            required=False,
            pattern=r"[A-Za-z0-9 ._&-]{1,15}",
        ),
        Choice(
            name="path",
            label="Send path",
            help="Classic works everywhere. Bulk is the newer live-only JSON endpoint.",
            choices=(("classic", "Classic"), ("bulk", "Bulk (live only)")),
            default="classic",
        ),
        Integer(
            name="batch_size",
            label="Recipients per request",
            help="The provider publishes no maximum; 100 is what integrators use.",
            minimum=1,
            maximum=1000,
            default=100,
        ),
    ),
    adapters={Capability.SMS: "adapter:AfricasTalkingSms"},
    base_urls={
        Environment.PRODUCTION: "https://api.africastalking.com",
        Environment.SANDBOX: "https://api.sandbox.africastalking.com",
    },
    webhook="webhook:AfricasTalkingWebhook",
    simulator="simulator:AfricasTalkingSimulator",
    is_global=True,
    masked_keys=frozenset({"apiKey", "apikey"}),
    # Limits are unpublished (2026-11); integrators report no trouble at this pace.
    rate_limit=RateLimit(rate=10, burst=20),
    timeout=(5.0, 30.0),
    requirements=(
        "An Africa's Talking account with an SMS app and its username.",
        "The app's API key.",
        "For live traffic: airtime in the wallet and, to send under your own name, an approved sender ID.",
        "Access to the dashboard, to paste the delivery report URL there.",
    ),
)
