"""Where our providers differ from their vendors' descriptions on purpose. Each entry fails once it is no longer needed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.vendor_specs.loader import SpecViolation, description_of


@dataclass(frozen=True, slots=True)
class Accepted:
    """A difference: violations of `slug` that match `pattern` are let pass. `example` makes one, as proof of the need."""

    slug: str
    pattern: str
    reason: str
    example: Callable[[], None]

    def covers(self, slug: str, violation: SpecViolation) -> bool:
        return slug == self.slug and re.search(self.pattern, str(violation)) is not None


def _described(slug: str, method: str, path: str) -> None:
    """Look a path up in a vendor's description; raises `SpecViolation` where it is not there."""
    found = description_of(slug)
    if found is None:
        raise SpecViolation(f"{slug}: {method} {path} is not described")
    found.match(method, path)


def _answered(slug: str, method: str, path: str, status: int, body: bytes) -> None:
    """Hold an answer against a vendor's description; raises `SpecViolation` where it does not fit."""
    found = description_of(slug)
    if found is None:
        raise SpecViolation(f"{slug}: {status} to {method} {path}: this status is not described")
    found.check_answer(method, path, status, "application/json", body)


def _requested(slug: str, method: str, path: str, body: object) -> None:
    """Hold a request against a vendor's description; raises `SpecViolation` where it does not fit."""
    found = description_of(slug)
    if found is None:
        raise SpecViolation(f"{slug}: {method} {path}: can't be checked")
    found.check_request(method, path, "", "application/json", json.dumps(body).encode())


def _queried(slug: str, method: str, path: str, query: str) -> None:
    """Hold a query string against a vendor's description; raises `SpecViolation` where it does not fit."""
    found = description_of(slug)
    if found is None:
        raise SpecViolation(f"{slug}: {method} {path}: query: can't be checked")
    found.check_request(method, path, query, "", b"")


def _told(slug: str, component: str, value: object) -> None:
    """Hold a webhook against a vendor's description; raises `SpecViolation` where it does not fit."""
    found = description_of(slug)
    if found is None:
        raise SpecViolation(f"{slug}: {component}: can't be checked")
    found.check_component(component, value)


ACCEPTED: tuple[Accepted, ...] = (
    Accepted(
        "twilio",
        r"^twilio: (400|403|404) to (GET|POST) /2010-04-01/Accounts/\S+: this status is not described",
        "the description has success answers alone; refusals come as {code, message, more_info, status}",
        lambda: _answered("twilio", "POST", "/2010-04-01/Accounts/AC" + "0" * 32 + "/Messages.json", 400, b'{"code":21211}'),
    ),
    Accepted(
        "mailgun",
        r"^mailgun: GET /v3/\{domain_name\}/(bounces|complaints|unsubscribes): query parameter"
        r"(s that are not described: address$| (term|address) is missing$)",
        "the description calls filters required and leaves out `address`, which as we know the service its paging links carry",
        lambda: _requested("mailgun", "GET", "/v3/mg.example.com/unsubscribes", None),
    ),
    Accepted(
        "mailgun",
        r"^mailgun: (402|403|404|413) to POST /v3/\{domain_name\}/messages: this status is not described",
        "the fact sheet's answers for plan, disabled or unknown domain, and size; the description lists 400, 401, 429, 500",
        lambda: _answered("mailgun", "POST", "/v3/mg.example.com/messages", 404, b'{"message":"Domain not found"}'),
    ),
    Accepted(
        "whatsapp",
        r"^whatsapp: 40[034] to (POST (/\{Version\}/\{Phone-Number-ID\}|/v\d+\.\d+/\d+)/(messages|media)"
        r"|GET /\{Version\}/\{WABA-ID\}/message_templates): this status is not described",
        "error answers are described for the phone number and the subscription only; Meta refuses everything alike",
        lambda: _answered("whatsapp", "POST", "/v25.0/400000000000042/messages", 400, b'{"error":{"code":131009}}'),
    ),
    Accepted(
        "whatsapp",
        r"^whatsapp: (POST /v\d+\.\d+/\d+|GET /whatsapp_business/attachments/) is not described$",
        "a webhook URL for one phone number, and where files are fetched: documented in prose only",
        lambda: _described("whatsapp", "GET", "/whatsapp_business/attachments/"),
    ),
    Accepted(
        "whatsapp",
        r"^whatsapp: POST (/\{Version\}/\{Phone-Number-ID\}|/v\d+\.\d+/\d+)/messages: "
        r"(can't be checked|body: \{(?=.*'status': 'read')(?=.*'message_id': ).*is not valid under any)",
        "the read receipt goes to the same path and is missing in the description",
        lambda: _requested(
            "whatsapp",
            "POST",
            "/v25.0/400000000000042/messages",
            {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.HBgM"},
        ),
    ),
    Accepted(
        "whatsapp",
        r"^whatsapp: GET \S+/message_templates: query( parameters that are not described: (after, )?limit$|: can't be checked)",
        "paging is described in Meta's guide to the Graph API, for all lists alike",
        lambda: _queried("whatsapp", "GET", "/v25.0/300000000000042/message_templates", "limit=100"),
    ),
    Accepted(
        "whatsapp",
        r"^whatsapp: WebhookPayload: (can't be checked"
        r"|entry\.0\.changes\.0\.(field: 'message_template_status_update' is not one of"
        r"|value: \{'event': '[A-Z]+', 'message_template_id': .*is not valid under any))",
        "a template's new status is reported to the same URL; messages and groups alone are described",
        lambda: _told(
            "whatsapp",
            "WebhookPayload",
            {
                "object": "whatsapp_business_account",
                "entry": [
                    {
                        "id": "300000000000042",
                        "changes": [
                            {
                                "field": "message_template_status_update",
                                "value": {"event": "PAUSED", "message_template_id": 1},
                            }
                        ],
                    }
                ],
            },
        ),
    ),
    Accepted(
        "sendgrid",
        r"^sendgrid: 200 to POST /v3/mail/send: this status is not described",
        "the sandbox mode answers 200 instead of 202 (provider sheet, unconfirmed); the description has the 202 alone",
        lambda: _answered("sendgrid", "POST", "/v3/mail/send", 200, b""),
    ),
    Accepted(
        "stripe",
        r"^stripe: (GET /js/v3/|(GET|POST) /authenticate/\w+|OPTIONS /v1/\w+/\w+/confirm) is not described$",
        "what the payer's browser asks for, pages, script and leave to call: beside the API, so not in its description",
        lambda: _described("stripe", "GET", "/js/v3/"),
    ),
    Accepted(
        "flutterwave",
        r"^flutterwave: (POST /v3/payments|GET /v3/refunds(/\d+)?|(GET|POST) /v3/hosted/pay/\w+) is not described$",
        "the description comes from the Node SDK's validators: no hosted checkout, no reading of refunds",
        lambda: _described("flutterwave", "POST", "/v3/payments"),
    ),
    Accepted(
        "flutterwave",
        r"^flutterwave: 400 to (GET|POST) /v3/\S+: this status is not described",
        "the SDK describes no error answers; v3 refuses with 400 and its envelope",
        lambda: _answered("flutterwave", "GET", "/v3/transactions/1/verify", 400, b'{"status":"error"}'),
    ),
    Accepted(
        "paypal",
        r"^paypal: (GET|POST) /(v1/oauth2/token|v1/notifications/certs/[\w-]+|v1/notifications/webhooks-events/[\w-]+/resend"
        r"|checkoutnow|agreements/approve) is not described$",
        "token, webhook certificate, resending an event, pages for the payer: documented in prose only",
        lambda: _described("paypal", "POST", "/v1/oauth2/token"),
    ),
    Accepted(
        "paypal",
        r"^paypal: POST /v3/vault/payment-tokens: (payment_source\.token\.type: 'SETUP_TOKEN' is not one of|can't be checked)",
        "PayPal's guide for saving payers says SETUP_TOKEN; the description of February 2024 lists BILLING_AGREEMENT alone",
        lambda: _requested(
            "paypal",
            "POST",
            "/v3/vault/payment-tokens",
            {"payment_source": {"token": {"id": "5C991763VB2781612", "type": "SETUP_TOKEN"}}},
        ),
    ),
    Accepted(
        "paypal",
        r"^paypal: 500 to (GET|POST) /v2/payments/\S+: (a body of type application/json; described are none|this status)",
        "Payments v2 describes its 500 without a body; Orders v2 and the guides show the usual error",
        lambda: _answered("paypal", "GET", "/v2/payments/captures/29Y24445UY2083144", 500, b'{"name":"INTERNAL_SERVER_ERROR"}'),
    ),
)

# The component of a description that a provider's webhooks must fit; others have none in their file.
WEBHOOK_COMPONENTS: dict[str, str] = {"stripe": "event", "paypal": "event", "whatsapp": "WebhookPayload"}
