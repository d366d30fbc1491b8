"""The merchants that exist at the simulated Pesapal; their secrets follow from the state folder's seed."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from integrations.simulators import DemoAccount, derived

MERCHANTS = (("school", "Demo School", "KE"), ("studio", "Demo Studio", "UG"))


@dataclass(frozen=True, slots=True)
class Merchant:
    """One merchant account. `ipn_id` is registered from the beginning, for the address that the control API sets."""

    label: str
    name: str
    country: str
    consumer_key: str
    consumer_secret: str
    ipn_id: str

    @property
    def user(self) -> str:
        return f"{self.label}@example.com"


def merchants(state_dir: Path) -> list[Merchant]:
    """Return all merchants."""
    return [
        Merchant(
            label=label,
            name=name,
            country=country,
            consumer_key=_key(derived(state_dir, f"pesapal {label} consumer key", 48)),
            consumer_secret=_key(derived(state_dir, f"pesapal {label} consumer secret", 40)),
            ipn_id=str(UUID(derived(state_dir, f"pesapal {label} ipn", 32))),
        )
        for label, name, country in MERCHANTS
    ]


def demo_accounts(state_dir: Path) -> list[DemoAccount]:
    """Return the hub's config values for each merchant."""
    return [
        DemoAccount(
            each.label,
            {"country": each.country, "branch": each.name, "ipn_id": each.ipn_id, "refund_username": each.user},
            {"consumer_key": each.consumer_key, "consumer_secret": each.consumer_secret},
        )
        for each in merchants(state_dir)
    ]


def _key(digits: str) -> str:
    """Return a key as Pesapal's look: base64, the padding belongs to it."""
    return base64.b64encode(bytes.fromhex(digits)).decode()
