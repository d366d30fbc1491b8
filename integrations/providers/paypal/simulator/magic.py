"""Outcomes chosen by the amount (own convention: PayPal has no such amounts, only the header `PayPal-Mock-Response`)."""

from __future__ import annotations

from dataclasses import dataclass

from integrations.simulators import Magic


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to an order of an amount that ends so. `issue` refuses the call that runs it, `once` only the first time.

    `capture`: statuses that its capture goes through; `refund`: the same of its refunds; `hold`: of its authorization.
    """

    effect: str
    issue: str = ""
    once: bool = False
    capture: tuple[str, ...] = ("COMPLETED",)
    refund: tuple[str, ...] = ("COMPLETED",)
    hold: tuple[str, ...] = ("CREATED",)
    refund_issue: str = ""


NORMAL = Plan("the payer approves on PayPal's page, everything works")
PLANS = {
    901: Plan("the payer's card is declined at first: back to PayPal's page, then it works", "PAYER_ACTION_REQUIRED", True),
    902: Plan("refused: TRANSACTION_REFUSED", "TRANSACTION_REFUSED"),
    903: Plan("capture PENDING (eCheck), COMPLETED after settle_delay", capture=("PENDING", "COMPLETED")),
    904: Plan("capture PENDING (eCheck), DECLINED after settle_delay", capture=("PENDING", "DECLINED")),
    905: Plan("refunds are PENDING, FAILED after settle_delay", refund=("PENDING", "FAILED")),
    906: Plan("refunds are PENDING, COMPLETED after settle_delay", refund=("PENDING", "COMPLETED")),
    907: Plan("refunds are refused: REFUND_FAILED_INSUFFICIENT_FUNDS", refund_issue="REFUND_FAILED_INSUFFICIENT_FUNDS"),
    908: Plan("refused: PAYER_ACCOUNT_RESTRICTED", "PAYER_ACCOUNT_RESTRICTED"),
    909: Plan("the order completes, its capture is DECLINED", capture=("DECLINED",)),
    910: Plan("the authorization is PENDING (review), CREATED after settle_delay", hold=("PENDING", "CREATED")),
    911: Plan("the authorization is PENDING (review), DENIED after settle_delay", hold=("PENDING", "DENIED")),
}


def plan_for(units: int) -> Plan:
    """Return the plan for an order of so many of PayPal's smallest units."""
    return PLANS.get(units % 1000, NORMAL)


MAGIC = (
    *(Magic(f"amount …{tail % 1000 // 100}.{tail % 100:02} (JPY …{tail})", plan.effect) for tail, plan in PLANS.items()),
    Magic("any other amount", NORMAL.effect),
    Magic("header PayPal-Mock-Response", "the named issue is answered without acting, as in PayPal's sandbox"),
)
