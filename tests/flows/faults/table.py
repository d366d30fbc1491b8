"""The fault matrix: what the hub says right after each fault and how it ends, and why some faults can't exist somewhere.

`after` is what the API shows when the call has returned and no worker has run yet, `end` when nothing is left to do. Both are
statuses of the payment, for captures and refunds of that capture or refund. Gateways that know our key (Stripe, PayPal) are
asked again with it; the others are never asked twice for money, and where they can't tell what became of it a person is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tests.flows.faults.lanes import LANES


class Fault(StrEnum):
    NO_CONNECTION = "no_connection"
    """Timeout before send: nobody is there."""
    REFUSED = "refuse"
    """The connection breaks while we send; the gateway did nothing, which we can't know."""
    DROPPED = "drop_after_accept"
    """Timeout after the effect."""
    ERROR_500 = "error_500_after"
    """500 after the effect."""
    BUSY = "error_429"
    DUPLICATE = "duplicate_callback"
    EARLY = "early"
    """The webhook comes, and is worked off, before the answer to our own call."""
    LOST = "lose_callback"
    WRONG_AMOUNT = "wrong_amount"


OPERATIONS = ("authorize", "complete", "capture", "refund")
ANSWER_LOST = (Fault.NO_CONNECTION, Fault.REFUSED, Fault.DROPPED, Fault.ERROR_500, Fault.BUSY)
WEBHOOKS = (Fault.DUPLICATE, Fault.EARLY, Fault.LOST)
NOTHING_DONE = (Fault.NO_CONNECTION, Fault.REFUSED, Fault.BUSY)
"""With these the faulty call itself had no effect."""


@dataclass(frozen=True)
class Cell:
    lane: str
    operation: str
    fault: Fault
    after: str
    end: str

    @property
    def id(self) -> str:
        return f"{self.lane}-{self.operation}-{self.fault.name.lower()}"

    @property
    def slow(self) -> bool:
        """Left to the full run: what takes the same way through the hub as a fault beside it that stays."""
        keyed = self.lane in ("stripe", "paypal")
        twin = self.fault in (Fault.ERROR_500, Fault.REFUSED) and (keyed or self.operation == "authorize")
        unneeded = self.fault in (Fault.LOST, Fault.NO_CONNECTION) and keyed and self.operation in ("capture", "refund")
        return (twin or unneeded) and self.lane not in ("mpesa", "flutterwave-prompt")


F = Fault
ASKED, WAITS, HOLDS_OUT = "processing", "requires_action", "pending"
DONE, PERSON = "succeeded", "needs_review"

_PAGE = {
    **dict.fromkeys(ANSWER_LOST, (ASKED, DONE)),
    F.DUPLICATE: (WAITS, DONE),
    F.LOST: (WAITS, DONE),
    F.WRONG_AMOUNT: (WAITS, "conflicted"),
}
_PROMPT = {
    F.NO_CONNECTION: (ASKED, DONE),
    F.DROPPED: ("unknown", DONE),
    F.ERROR_500: ("unknown", DONE),
    F.BUSY: (ASKED, DONE),
    F.DUPLICATE: (ASKED, DONE),
    F.EARLY: (DONE, DONE),
    F.LOST: (ASKED, DONE),
    F.WRONG_AMOUNT: (ASKED, "conflicted"),
}
_WITH_KEY = {
    **dict.fromkeys(ANSWER_LOST, (HOLDS_OUT, DONE)),
    **dict.fromkeys(WEBHOOKS, (DONE, DONE)),
    F.WRONG_AMOUNT: (PERSON, PERSON),
}
_ONCE = {
    F.NO_CONNECTION: (HOLDS_OUT, DONE),
    F.REFUSED: ("unknown", PERSON),
    F.DROPPED: ("unknown", DONE),
    F.ERROR_500: ("unknown", DONE),
    F.BUSY: (HOLDS_OUT, DONE),
}

EXPECTED: dict[tuple[str, str], dict[Fault, tuple[str, str]]] = {
    ("stripe", "authorize"): {**_PAGE, F.EARLY: (DONE, DONE)},
    # A capture is worth what the gateway says it took: booked so, and a person is told.
    ("stripe", "capture"): {**_WITH_KEY, F.WRONG_AMOUNT: (DONE, DONE)},
    ("stripe", "refund"): _WITH_KEY,
    ("paypal", "authorize"): _PAGE,
    ("paypal", "complete"): {
        **dict.fromkeys(ANSWER_LOST, (ASKED, DONE)),
        F.DUPLICATE: (DONE, DONE),
        F.EARLY: (DONE, DONE),
        F.LOST: (DONE, DONE),
        F.WRONG_AMOUNT: ("conflicted", "conflicted"),
    },
    ("paypal", "capture"): {**_WITH_KEY, F.WRONG_AMOUNT: (DONE, DONE)},
    ("paypal", "refund"): _WITH_KEY,
    ("flutterwave", "authorize"): _PAGE,
    ("flutterwave", "refund"): {
        **_ONCE,
        **dict.fromkeys(WEBHOOKS, (DONE, DONE)),
        F.WRONG_AMOUNT: (PERSON, PERSON),
    },
    # Its search by our reference finds nothing for long enough: it certainly never came.
    ("flutterwave-prompt", "authorize"): {**_PROMPT, F.REFUSED: ("unknown", "failed")},
    # The page's address is in our answer; that the payer pays before it is here only the simulator can do.
    ("pesapal", "authorize"): {**_PAGE, F.EARLY: (WAITS, DONE)},
    ("pesapal", "refund"): {**_ONCE, F.DUPLICATE: (HOLDS_OUT, DONE), F.LOST: (HOLDS_OUT, DONE)},
    # A push can be asked about by the id in the answer alone, and that never came.
    ("mpesa", "authorize"): {**_PROMPT, F.REFUSED: ("unknown", PERSON)},
    ("mpesa", "refund"): {
        **_ONCE,
        F.DUPLICATE: (HOLDS_OUT, DONE),
        F.EARLY: (DONE, DONE),
        F.LOST: (HOLDS_OUT, DONE),
        F.WRONG_AMOUNT: (HOLDS_OUT, PERSON),
    },
}

_TAKES_AT_ONCE = "the gateway takes money at once: it has no holds and nothing to capture"
_ONE_STEP = "the gateway has no second step after the payer's approval"
_SAME_REFUND = "refunds are the same request for all of this gateway's payments: see the lane of its page"
REASONS: dict[tuple[str, str, Fault | None], str] = {
    ("stripe", "complete", None): _ONE_STEP,
    ("flutterwave", "complete", None): _ONE_STEP,
    ("flutterwave", "capture", None): _TAKES_AT_ONCE,
    ("flutterwave-prompt", "complete", None): _ONE_STEP,
    ("flutterwave-prompt", "capture", None): _TAKES_AT_ONCE,
    ("flutterwave-prompt", "refund", None): _SAME_REFUND,
    ("pesapal", "complete", None): _ONE_STEP,
    ("pesapal", "capture", None): _TAKES_AT_ONCE,
    ("mpesa", "complete", None): _ONE_STEP,
    ("mpesa", "capture", None): _TAKES_AT_ONCE,
    (
        "paypal",
        "authorize",
        F.EARLY,
    ): "an order sends no webhook, and only our answer tells the payer where to approve",
    ("flutterwave", "authorize", F.EARLY): "creating a link sends no webhook, and only our answer tells the payer where it is",
    (
        "pesapal",
        "refund",
        F.EARLY,
    ): "the request sends no webhook: that comes days later, when people have carried it out",
    ("pesapal", "refund", F.WRONG_AMOUNT): "neither the request's answer nor the status names the amount that was given back",
}

CELLS = [
    Cell(lane, operation, fault, *EXPECTED[lane, operation][fault])
    for lane, operation in EXPECTED
    for fault in Fault
    if fault in EXPECTED[lane, operation]
]


def gaps() -> list[str]:
    """Return what stands neither among the cells nor among the reasons, or among both."""
    problems = []
    for lane in LANES:
        for operation in OPERATIONS:
            for fault in Fault:
                tested = fault in EXPECTED.get((lane, operation), {})
                excused = (lane, operation, None) in REASONS or (lane, operation, fault) in REASONS
                if tested == excused:
                    problems.append(f"{lane} {operation} {fault}: {'tested and excused' if tested else 'neither'}")
    return problems
