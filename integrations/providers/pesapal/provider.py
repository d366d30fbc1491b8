"""The declaration of Pesapal (API 3.0; Kenya, Uganda, Tanzania, Rwanda): what a config holds."""

from __future__ import annotations

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.provider import Provider, RateLimit
from integrations.contracts.schema import Choice, ConfigSchema, Secret, Text

GUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"

CONFIG = ConfigSchema(
    Secret(
        name="consumer_key",
        label="Consumer key",
        help="Sent by e-mail when the merchant account is opened; the sandbox has keys of its own for each country.",
        max_length=200,
    ),
    Secret(
        name="consumer_secret",
        label="Consumer secret",
        help="Comes with the key; usually ends in an equals sign, which belongs to it.",
        max_length=200,
    ),
    Text(
        name="ipn_id",
        label="Notification id (ipn_id)",
        help="Filled in when the webhooks are registered. Payments can't be started without it.",
        pattern=GUID,
        required=False,
        assigned=True,
    ),
    Choice(
        name="country",
        label="Country",
        help="Put into the payer's address where a payment names no country.",
        choices=(("KE", "Kenya"), ("UG", "Uganda"), ("TZ", "Tanzania"), ("RW", "Rwanda")),
        required=False,
    ),
    Text(
        name="branch",
        label="Branch",
        help="Name of the store, shown in Pesapal's reports.",
        required=False,
        max_length=100,
    ),
    Text(
        name="refund_username",
        label="User for refunds",
        help="The Pesapal dashboard user in whose name refunds are requested. Without it the hub can't refund.",
        required=False,
        max_length=200,
    ),
)

PROVIDER = Provider(
    slug="pesapal",
    name="Pesapal",
    description="Hosted checkout in East Africa: M-Pesa, Airtel Money, MTN, cards. Refunds are approved by a person.",
    docs_url="https://developer.pesapal.com/how-to-integrate/e-commerce/api-30-json/api-reference",
    package="integrations.providers.pesapal",
    config=CONFIG,
    adapters={Capability.PAYMENT: "adapter:PesapalPayments"},
    webhook="webhook:PesapalWebhook",
    simulator="simulator:PesapalSimulator",
    base_urls={
        Environment.PRODUCTION: "https://pay.pesapal.com/v3",
        Environment.SANDBOX: "https://cybqa.pesapal.com/pesapalv3",
    },
    masked_keys=frozenset({"consumer_key", "consumer_secret", "token", "Authorization"}),
    # No limit is published (November 2026); integrators report only the token endpoint as touchy, and that is cached.
    rate_limit=RateLimit(rate=10, burst=20),
    timeout=(5.0, 30.0),
    requirements=(
        "A Pesapal merchant account with its consumer key and secret (the sandbox has others, per country).",
        "A public address of this hub: Pesapal calls it when a payment's status changes.",
        "For refunds: the name of a Pesapal dashboard user, and a person there who approves each refund.",
    ),
)
