"""Outcomes chosen by the phone number's last three digits (own convention) or by test card (Flutterwave's own)."""

from __future__ import annotations

from dataclasses import dataclass

from integrations.simulators import Magic

PIN = "1234"
PAID = "The service request is processed successfully."


@dataclass(frozen=True, slots=True)
class Card:
    """A documented test card. `problem`: the processor's text where it is declined."""

    number: str
    brand: str
    problem: str = ""


CARDS = {
    each.number: each
    for each in (
        Card("5531886652142950", "MASTERCARD"),
        Card("4187427415564246", "VISA"),
        Card("5438898014560229", "MASTERCARD"),
        Card("4556052704172643", "VISA"),
        Card("5258585922666506", "MASTERCARD", "Insufficient Funds"),
    )
}
GOOD_CARD, POOR_CARD = "5531886652142950", "5258585922666506"

CANCELLED = "Request cancelled by user"
TIMED_OUT = "DS timeout user cannot be reached"
DECLINED = "Transaction declined by the issuer"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a prompt to a number comes to. `result` None waits for the phone, "" pays, a text fails with it."""

    effect: str
    result: str | None = None
    silent: bool = False
    cut: bool = False


NORMAL = Plan("shows a prompt and waits for the phone")
PLANS = {
    "001": Plan("pays by itself after auto_delay", ""),
    "002": Plan("cancels", CANCELLED),
    "003": Plan("insufficient funds", "The balance is insufficient for the transaction."),
    "004": Plan("wrong PIN", "The initiator information is invalid."),
    "005": Plan("nobody answers", TIMED_OUT),
    "006": Plan("pays, but no webhook is sent", "", silent=True),
    "010": Plan("charge accepted, connection cut without an answer; then pays", "", cut=True),
    "023": Plan("charge accepted, connection cut, no webhook; paid", "", silent=True, cut=True),
}


def plan_for(msisdn: str) -> Plan:
    """Return the plan of a number (`2547...`)."""
    return PLANS.get(msisdn[-3:], NORMAL)


MAGIC = (
    *(Magic(f"M-Pesa number …{tail}", plan.effect) for tail, plan in PLANS.items()),
    Magic("any other M-Pesa number", NORMAL.effect),
    Magic(f"PIN {PIN}", "right on every phone; any other PIN fails the charge"),
    *(Magic(f"card {card.number}", f"declined: {card.problem}" if card.problem else "pays") for card in CARDS.values()),
)
