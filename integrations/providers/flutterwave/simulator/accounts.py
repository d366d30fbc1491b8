"""The merchants that exist in the simulated Flutterwave, all in test mode."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from integrations.simulators import DemoAccount, derived

MERCHANTS = (("school", "Demo School", 20937), ("studio", "Demo Studio", 20938))


@dataclass(frozen=True, slots=True)
class Merchant:
    """One account. `number` is Flutterwave's `account_id`."""

    label: str
    name: str
    number: int
    secret_key: str
    public_key: str
    secret_hash: str


def merchants(state_dir: Path) -> list[Merchant]:
    """Return all merchants; their keys follow from the state folder's seed."""
    return [
        Merchant(
            label=label,
            name=name,
            number=number,
            secret_key=f"FLWSECK_TEST-{derived(state_dir, f'flutterwave {label} secret key')}-X",
            public_key=f"FLWPUBK_TEST-{derived(state_dir, f'flutterwave {label} public key')}-X",
            secret_hash=derived(state_dir, f"flutterwave {label} secret hash"),
        )
        for label, name, number in MERCHANTS
    ]


def demo_accounts(state_dir: Path) -> list[DemoAccount]:
    """Return the hub's config values for each merchant."""
    return [
        DemoAccount(
            each.label, {"public_key": each.public_key}, {"secret_key": each.secret_key, "secret_hash": each.secret_hash}
        )
        for each in merchants(state_dir)
    ]
