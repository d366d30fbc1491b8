"""The merchant accounts that exist in the simulated PayPal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from integrations.providers.paypal.simulator.authority import authority_pem
from integrations.simulators import DemoAccount, derived

MERCHANTS = (("school", "Demo School", "AB4SCHXXL2345", False), ("studio", "Demo Studio", "AB4STUD2F6789", True))


@dataclass(frozen=True, slots=True)
class Merchant:
    """One business account with one REST app. `webhook_id` is of a webhook that exists from the start."""

    label: str
    name: str
    merchant_id: str
    email: str
    client_id: str
    client_secret: str
    webhook_id: str
    vault: bool


def merchants(state_dir: Path) -> list[Merchant]:
    """Return all accounts; their credentials follow from the state folder's seed."""
    return [
        Merchant(
            label=label,
            name=name,
            merchant_id=merchant_id,
            email=f"{label}@business.example.com",
            client_id="A" + derived(state_dir, f"paypal {label} client", 60),
            client_secret="E" + derived(state_dir, f"paypal {label} secret", 60),
            webhook_id=derived(state_dir, f"paypal {label} webhook", 17).upper(),
            vault=vault,
        )
        for label, name, merchant_id, vault in MERCHANTS
    ]


def demo_accounts(state_dir: Path) -> list[DemoAccount]:
    """Return the hub's config values for each account; `simulator_ca` is who signed the simulator's webhook certificate."""
    authority = authority_pem(state_dir).decode()
    return [
        DemoAccount(
            each.label,
            {
                "client_id": each.client_id,
                "webhook_id": each.webhook_id,
                "vault": each.vault,
                "brand_name": each.name,
                "simulator_ca": authority,
            },
            {"client_secret": each.client_secret},
        )
        for each in merchants(state_dir)
    ]
