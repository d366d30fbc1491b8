"""Outcomes chosen by the last three digits of the whole amount (own convention; every other order waits for the payer)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from integrations.simulators import Magic


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens with an amount. `steps` are done by themselves, `auto_delay` apart."""

    effect: str
    steps: tuple[str, ...] = ()
    method: str = "mpesa"
    refusal: tuple[str, str] = ("", "")
    lost: bool = False
    copies: int = 1
    wrong_amount: bool = False


NORMAL = Plan("waits on the payment page")
PLANS = {
    "901": Plan("paid by M-Pesa by itself after auto_delay (1 s)", ("approve",)),
    "902": Plan("paid by card by itself", ("approve",), method="card"),
    "903": Plan("the attempt fails by itself (insufficient funds)", ("fail",)),
    "904": Plan("fails, then is paid on the same order", ("fail", "approve")),
    "905": Plan("paid; every IPN of it is lost", ("approve",), lost=True),
    "906": Plan("paid; every IPN of it is sent twice", ("approve",), copies=2),
    "907": Plan("paid; the status names one unit less", ("approve",), wrong_amount=True),
    "908": Plan("refused: amount_exceeds_default_limit", refusal=("amount_exceeds_default_limit", "Amount exceeds limit")),
    "909": Plan("refused: InvalidIpnId", refusal=("InvalidIpnId", "Invalid IPN URL ID")),
}


def plan_for(amount: Decimal) -> Plan:
    """Return the plan of an amount in major units."""
    return PLANS.get(f"{int(amount):03d}"[-3:], NORMAL)


MAGIC = (
    *(Magic(f"amount …{tail}", plan.effect) for tail, plan in PLANS.items()),
    Magic("any other amount", NORMAL.effect),
)
