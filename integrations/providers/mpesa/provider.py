"""The declaration of M-Pesa (Safaricom Daraja, Kenya). What a config holds and what it is checked for stands here."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.provider import Provider, RateLimit
from integrations.contracts.schema import Choice, ConfigSchema, Integer, Secret, Text
from integrations.providers.mpesa.formats import load_public_key

STK_MAX = 250_000
"""Most whole shillings of one STK push (developer portal, captured August 2026); a config may say otherwise."""

STK_CEILING = 10_000_000
"""The most that a config may set as its largest push, in whole shillings."""

_SHORTCODE = r"\d{5,7}"


def _pause(status: int, headers: Mapping[str, str], body: str) -> float | None:
    """A subscriber who is busy with another request (500.001.1001) says nothing about the shortcode."""
    return 0.0 if "500.001.1001" in body else None


def _initiator_password(value: Any) -> Any:
    """The portal takes no brackets in an initiator's password (portal text, captured August 2026)."""
    if "(" in value or ")" in value:
        raise ValueError("must not contain ( or ): M-Pesa refuses them")
    return value


def _certificate(value: Any) -> Any:
    load_public_key(value)
    return value


def split_networks(value: str) -> list[str]:
    """Return the entries of a list of addresses or networks, separated by commas, blanks or line ends."""
    return [entry for entry in re.split(r"[,;\s]+", value) if entry]


def _networks(value: Any) -> Any:
    for entry in split_networks(value):
        try:
            ipaddress.ip_network(entry, strict=False)
        except ValueError:
            raise ValueError(f"{entry[:60]!r} is neither an IP address nor a network") from None
    return value


def _check(values: Mapping[str, Any]) -> dict[str, str]:
    errors: dict[str, str] = {}
    if values.get("product") == "till" and not values.get("store_number"):
        errors["store_number"] = "is required for a till (the head office's shortcode, not the till number)"
    initiator = ("initiator_name", "initiator_password", "certificate")
    if any(values.get(name) for name in initiator[:2]):
        errors.update({name: "is required to use an initiator" for name in initiator if not values.get(name)})
    return errors


CONFIG = ConfigSchema(
    Choice(
        name="product",
        label="Product",
        choices=(("paybill", "Pay bill"), ("till", "Till (buy goods)")),
        default="paybill",
    ),
    Text(
        name="shortcode",
        label="Shortcode",
        help="The pay bill number or the till number that customers pay to.",
        pattern=_SHORTCODE,
    ),
    Text(
        name="store_number",
        label="Store number",
        help="Tills only: the store or head office number, which is not the till number.",
        pattern=_SHORTCODE,
        required=False,
    ),
    Secret(name="consumer_key", label="Consumer key", help="From the app on the developer portal."),
    Secret(name="consumer_secret", label="Consumer secret", help="From the app on the developer portal."),
    Secret(
        name="passkey",
        label="Passkey",
        help="For M-Pesa Express (STK push). Sent by e-mail when the shortcode goes live; the sandbox shows its own.",
    ),
    Text(
        name="initiator_name",
        label="Initiator name",
        help="API user of the M-Pesa portal. Needed for refunds and receipt checks.",
        required=False,
        max_length=100,
    ),
    Secret(
        name="initiator_password",
        label="Initiator password",
        help="Expires after 90 days. May contain # & % $ but no brackets.",
        required=False,
        validate=_initiator_password,
        max_length=200,
    ),
    Text(
        name="certificate",
        label="Certificate",
        help="Safaricom's certificate (PEM) of the same environment: sandbox and production differ.",
        multiline=True,
        required=False,
        validate=_certificate,
        max_length=20_000,
    ),
    Choice(
        name="callback_ip_check",
        label="Check callback addresses",
        help="What happens when a callback comes from an address that is not listed. Published lists differ, so log first.",
        choices=(("off", "Don't check"), ("log", "Accept and log"), ("enforce", "Refuse")),
        default="log",
    ),
    Text(
        name="callback_ips",
        label="Callback addresses",
        help="Addresses or networks, separated by commas. Empty: the list in this provider's guide.",
        multiline=True,
        required=False,
        validate=_networks,
    ),
    Choice(
        name="c2b_response_type",
        label="When validation is unreachable",
        help="What M-Pesa does with a customer's payment when it can't reach us for validation.",
        choices=(("Completed", "Take the money"), ("Cancelled", "Refuse the payment")),
        default="Completed",
    ),
    Choice(
        name="c2b_accounts",
        label="Accounts that may be paid to",
        help="Answer to M-Pesa's validation request, where Safaricom has switched validation on for the shortcode.",
        choices=(("any", "Any account number"), ("known", "Only references the hub knows")),
        default="any",
    ),
    Integer(
        name="stk_max",
        label="Largest STK push (KES)",
        help="In whole shillings. Safaricom changes this limit now and then.",
        default=STK_MAX,
        minimum=1,
        maximum=STK_CEILING,
    ),
    check=_check,
)

PROVIDER = Provider(
    slug="mpesa",
    name="M-Pesa (Safaricom Daraja)",
    description="Mobile money in Kenya: STK push, pay bill and till payments, refunds by reversal.",
    docs_url="https://developer.safaricom.co.ke/apis",
    package="integrations.providers.mpesa",
    config=CONFIG,
    adapters={Capability.PAYMENT: "adapter:MpesaPayments"},
    webhook="webhook:MpesaWebhook",
    simulator="simulator:MpesaSimulator",
    base_urls={
        Environment.PRODUCTION: "https://api.safaricom.co.ke",
        Environment.SANDBOX: "https://sandbox.safaricom.co.ke",
    },
    # Confirmations and validations of a till may name the till or its store: either must find the tenant.
    routing_fields=("shortcode", "store_number"),
    masked_keys=frozenset({"Password", "SecurityCredential", "access_token", "Authorization", "passkey"}),
    # Safaricom publishes no number; its gateway answers a burst with 500.003.02 ("spike arrest"), so stay modest.
    rate_limit=RateLimit(rate=10, burst=20),
    pause=_pause,
    timeout=(5.0, 30.0),
    requirements=(
        "An account on Safaricom's developer portal with an app that has the M-Pesa products you want to use.",
        "A pay bill or till number that has gone live for the API, with its passkey (for a till also the store number).",
        "For refunds and receipt checks: an API user (initiator) of the M-Pesa portal and Safaricom's certificate.",
        "A public HTTPS address of this hub that contains none of the words mpesa, m-pesa, safaricom, exe, cmd, sql, query.",
    ),
)
