"""The two business accounts that exist at the simulated Meta, each with a phone number, an app and templates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from integrations.simulators import DemoAccount, derived

NUMBERS = (
    ("school", "400000000000042", "300000000000042", "254700000042", "Demo School"),
    ("studio", "400000000000043", "300000000000043", "254700000043", "Demo Studio"),
)


@dataclass(frozen=True, slots=True)
class Account:
    """One business account with its phone number. `display` is the number in digits."""

    label: str
    number_id: str
    waba_id: str
    display: str
    name: str
    token: str
    app_secret: str
    verify_token: str


def accounts(state_dir: Path) -> list[Account]:
    """Return both accounts; secrets follow from the state folder's seed."""
    return [
        Account(
            *each,
            token=f"EAAG{derived(state_dir, f'whatsapp {each[0]} token', 60)}",
            app_secret=derived(state_dir, f"whatsapp {each[0]} app secret", 32),
            verify_token=derived(state_dir, f"whatsapp {each[0]} verify token", 32),
        )
        for each in NUMBERS
    ]


def demo_accounts(state_dir: Path) -> list[DemoAccount]:
    """Return the hub's config values for both."""
    return [
        DemoAccount(
            each.label,
            {"phone_number_id": each.number_id, "waba_id": each.waba_id},
            {"access_token": each.token, "app_secret": each.app_secret, "verify_token": each.verify_token},
        )
        for each in accounts(state_dir)
    ]


def _template(number: int, name: str, language: str, status: str, category: str, *components: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name, "components": list(components), "language": language, "status": status, "category": category,
        "id": f"92000000000{number:04d}",
    }  # fmt: skip


def _body(text: str) -> dict[str, Any]:
    return {"type": "BODY", "text": text}


TEMPLATES: tuple[dict[str, Any], ...] = (
    _template(1, "hello_world", "en_US", "APPROVED", "UTILITY", _body("Welcome and congratulations!")),
    _template(
        2, "order_shipped", "en_US", "APPROVED", "UTILITY",
        _body("Hello {{1}}, your order {{2}} is on its way."),
        {"type": "BUTTONS", "buttons": [{"type": "URL", "text": "Track", "url": "https://shop.example/orders/{{1}}"}]},
    ),
    _template(3, "fees_due", "en", "APPROVED", "UTILITY", _body("Dear {{1}}, {{2}} in fees are due on {{3}}.")),
    _template(4, "fees_due", "sw", "APPROVED", "UTILITY", _body("Mpendwa {{1}}, karo ya {{2}} inatakiwa tarehe {{3}}.")),
    _template(
        5, "report_card", "en", "APPROVED", "UTILITY", {"type": "HEADER", "format": "DOCUMENT"}, _body("The report of {{1}}.")
    ),
    _template(
        6, "term_news", "en", "APPROVED", "MARKETING",
        {"type": "HEADER", "format": "TEXT", "text": "News for {{1}}"}, _body("A new term begins on {{1}}."),
    ),
    _template(
        7, "login_code", "en", "APPROVED", "AUTHENTICATION", _body("{{1}} is your verification code."),
        {"type": "BUTTONS", "buttons": [{"type": "URL", "text": "Copy code", "url": "https://www.whatsapp.com/otp/{{1}}"}]},
    ),
    _template(8, "paused_offer", "en", "PAUSED", "MARKETING", _body("An offer for you.")),
    _template(9, "rejected_offer", "en", "REJECTED", "MARKETING", _body("Buy now {{1}}!")),
    _template(10, "new_timetable", "en", "PENDING", "UTILITY", _body("The timetable of {{1}} has changed.")),
)  # fmt: skip
