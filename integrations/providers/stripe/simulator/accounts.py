"""The accounts that exist at the simulated Stripe: two of their own, and one connected to the first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from integrations.simulators import DemoAccount, derived

LABELS = (("school", "KES"), ("studio", "USD"))
CONNECTED = "annex"


@dataclass(frozen=True, slots=True)
class Account:
    """One account with the keys of its test mode. `platform`: the account that may act for it (`Stripe-Account`)."""

    label: str
    id: str
    currency: str
    secret_key: str
    publishable_key: str
    webhook_secret: str
    platform: str = ""


def accounts(state_dir: Path) -> list[Account]:
    """Return all accounts; ids and secrets follow from the state folder's seed."""
    own = [_account(state_dir, label, currency) for label, currency in LABELS]
    return [*own, _account(state_dir, CONNECTED, "KES", platform=own[0].id)]


def demo_accounts(state_dir: Path) -> list[DemoAccount]:
    """Return the hub's config values for the accounts that have keys of their own."""
    return [
        DemoAccount(
            each.label,
            {"publishable_key": each.publishable_key},
            {"secret_key": each.secret_key, "webhook_secret": each.webhook_secret},
        )
        for each in accounts(state_dir)
        if not each.platform
    ]


def _account(state_dir: Path, label: str, currency: str, platform: str = "") -> Account:
    def made(what: str, length: int) -> str:
        return derived(state_dir, f"stripe {label} {what}", length)

    return Account(
        label=label,
        id=f"acct_1{made('account', 15)}",
        currency=currency,
        secret_key=f"sk_test_{made('secret key', 48)}",
        publishable_key=f"pk_test_{made('publishable key', 48)}",
        webhook_secret=f"whsec_{made('webhook secret', 32)}",
        platform=platform,
    )
