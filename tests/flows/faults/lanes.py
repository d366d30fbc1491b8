"""Each gateway as these tests drive it: what is asked for, which faults hit which request, what payer and merchant do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

CARD, CARD_3DS = "pm_card_visa", "pm_card_threeDSecure2Required"


@dataclass(frozen=True)
class Lane:
    """One way to pay. Amounts are minor units; `part` is so small that taking or returning it twice would be possible, and
    seen; None where the gateway moves the whole amount only, or once only.

    `operations` maps ours to the simulator's name for faults. `quick`: settings that make webhooks come at once. `once`:
    operations that a repetition would carry out a second time, so that the hub must send them once at most. `wrong`: the names
    under which the gateway's answers state amounts.
    """

    slug: str
    purpose: str
    body: Mapping[str, Any]
    operations: Mapping[str, str]
    quick: Mapping[str, float]
    part: int | None
    once: frozenset[str] = frozenset()
    wrong: frozenset[str] = frozenset()
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def amount(self) -> int:
        return int(self.body["amount"])


PAGE = {
    "currency": "KES",
    "amount": 150_000,
    "method": {"type": "redirect"},
    "customer": {"name": "Jane Wanjiku", "email": "jane@example.com"},
    "return_url": "https://school.example/thanks",
}
PHONE = "0712345678"

LANES: dict[str, Lane] = {
    "stripe": Lane(
        slug="stripe",
        purpose="events",
        body={"currency": "USD", "amount": 5000, "method": {"type": "card", "token": CARD}},
        operations={"authorize": "authorize", "capture": "capture", "refund": "refund"},
        quick={"callback_delay": 0.0, "retry_delay": 0.1},
        part=1000,
        wrong=frozenset({"amount", "amount_received", "amount_captured"}),
        values={"multicapture": True},
    ),
    "paypal": Lane(
        slug="paypal",
        purpose="events",
        body={**PAGE, "currency": "USD", "amount": 5000},
        operations={"authorize": "authorize", "complete": "complete", "capture": "capture", "refund": "refund"},
        quick={"event_delay": 0.0, "retry_delay": 0.1},
        part=1000,
        wrong=frozenset({"value"}),
    ),
    "flutterwave": Lane(
        slug="flutterwave",
        purpose="events",
        body=PAGE,
        operations={"authorize": "authorize", "refund": "refund"},
        quick={"webhook_delay": 0.0, "retry_interval": 0.1},
        part=40_000,
        once=frozenset({"refund"}),
        wrong=frozenset({"amount", "amount_refunded"}),
    ),
    "flutterwave-prompt": Lane(
        slug="flutterwave",
        purpose="events",
        body={**PAGE, "method": {"type": "mobile_money", "phone": PHONE}},
        operations={"authorize": "authorize"},
        quick={"webhook_delay": 0.0, "retry_interval": 0.1},
        part=None,
        once=frozenset({"authorize"}),
        wrong=frozenset({"amount"}),
    ),
    "pesapal": Lane(
        slug="pesapal",
        purpose="ipn",
        body=PAGE,
        operations={"authorize": "authorize", "refund": "refund"},
        quick={"ipn_delay": 0.0, "ipn_retry_delay": 0.1},
        part=None,
        once=frozenset({"refund"}),
    ),
    "mpesa": Lane(
        slug="mpesa",
        purpose="",
        body={"currency": "KES", "amount": 150_000, "method": {"type": "mobile_money", "phone": PHONE}},
        operations={"authorize": "stk_push", "refund": "reversal"},
        quick={"callback_delay": 0.0, "result_delay": 0.0},
        part=None,
        once=frozenset({"authorize", "refund"}),
    ),
}
"""M-Pesa and Pesapal move the whole amount: their own rules allow one reversal, one refund request per payment."""


def less(keys: frozenset[str]) -> Callable[[Any], Any]:
    """Return a function that makes every amount under these names one smallest unit less, at any depth of JSON data."""

    def change(data: Any) -> Any:
        if isinstance(data, list):
            return [change(each) for each in data]
        if isinstance(data, dict):
            return {name: _lessened(value) if name in keys else change(value) for name, value in data.items()}
        return data

    def _lessened(value: Any) -> Any:
        if isinstance(value, str):
            return f"{float(value) - 0.01:.2f}"
        if isinstance(value, int | float) and value > 1:
            return value - 1
        return change(value)

    return change
