"""Outcomes chosen by the last three digits of the phone number (own convention; every other number shows a prompt)."""

from __future__ import annotations

from dataclasses import dataclass

from integrations.simulators import Magic

SANDBOX_NUMBER = "254708374149"
PIN = "1234"


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens with a number. `code` None waits for the phone; `refusal` (code, message) answers at once.

    `busy_polls`: so many STK queries get a stray 500.001.1001 although the outcome is known.
    `reversal`/`b2c`: how those end for this number: a result code, or `timeout`/`lost`/`twice`/`drop`.
    """

    effect: str
    code: str | None = None
    refusal: tuple[str, str] | None = None
    lost: bool = False
    copies: int = 1
    wrong_amount: bool = False
    early: bool = False
    late: bool = False
    cut: bool = False
    busy_polls: int = 0
    reversal: str = ""
    b2c: str = ""


LOCKED = "Unable to lock subscriber, a transaction is already in process for the current subscriber"
NORMAL = Plan("shows a prompt and waits for the phone")
PLANS = {
    "001": Plan("pays by itself after auto_delay (1 s)", "0"),
    "002": Plan("cancels: result 1032", "1032"),
    "003": Plan("insufficient funds: result 1", "1", b2c="1"),
    "004": Plan("wrong PIN: result 2001", "2001"),
    "005": Plan("nobody answers: result 1037, already after auto_delay", "1037"),
    "006": Plan("pays, but callback and C2B confirmation are lost; the STK query says paid", "0", lost=True, b2c="lost"),
    "007": Plan("pays, the callback is sent twice", "0", copies=2, b2c="twice"),
    "008": Plan("pays, the callback names one shilling less (two if it was one)", "0", wrong_amount=True),
    "009": Plan("pays at once, the callback is answered before the response goes out", "0", early=True),
    "010": Plan("push accepted, connection cut without an answer; then pays, callback comes", "0", cut=True, b2c="drop"),
    "011": Plan("refused: 500.003.02 system busy", refusal=("500.003.02", "System is busy. Please try again in few minutes.")),
    "012": Plan("refused: 500.003.03 quota violation", refusal=("500.003.03", "Error Occurred: Quota Violation")),
    "013": Plan("refused: 500.001.1001 unable to lock subscriber", refusal=("500.001.1001", LOCKED)),
    "014": Plan("result 1001, subscriber locked", "1001"),
    "015": Plan("result 26, system busy", "26", b2c="26"),
    "016": Plan("result 17, internal failure", "17"),
    "017": Plan("result 1019, expired", "1019"),
    "018": Plan("result 1025, push could not be sent", "1025"),
    "019": Plan("result 9999, push could not be sent", "9999"),
    "020": Plan("pays, the callback comes late_delay (10 s) later", "0", late=True),
    "021": Plan("pays, callback lost, first two STK queries answer 500.001.1001", "0", lost=True, busy_polls=2),
    "022": Plan("result 7777, a code that nobody documented", "7777"),
    "023": Plan("push accepted, connection cut, and callback and confirmation lost; paid", "0", lost=True, cut=True),
    "024": Plan("cancels (1032), but the callback is lost", "1032", lost=True),
    "031": Plan("pays; reversing it ends with result 1", "0", reversal="1"),
    "032": Plan("pays; its reversal works, but only the timeout URL is called", "0", reversal="timeout"),
    "033": Plan("pays; its reversal works, but the result is lost", "0", reversal="lost"),
    "034": Plan("pays; its reversal works, the result is sent twice", "0", reversal="twice"),
    "035": Plan("pays; its reversal is accepted, connection cut, then works", "0", reversal="drop"),
    "040": Plan("B2C ends with result 2040, not registered", b2c="2040"),
    "041": Plan("B2C ends with result 8, wallet ceiling", b2c="8"),
    "042": Plan("B2C is paid, but only the timeout URL is called", b2c="timeout"),
}
UNREACHABLE = Plan("Safaricom's sandbox number: no prompt, result 1037 after stk_timeout", "1037")


def plan_for(msisdn: str) -> Plan:
    """Return the plan of a number (`2547...`)."""
    return UNREACHABLE if msisdn == SANDBOX_NUMBER else PLANS.get(msisdn[-3:], NORMAL)


MAGIC = (
    *(Magic(f"number …{tail}", plan.effect) for tail, plan in PLANS.items()),
    Magic(SANDBOX_NUMBER, UNREACHABLE.effect),
    Magic("any other number", NORMAL.effect),
    Magic(f"PIN {PIN}", "right on every phone; any other PIN is result 2001"),
    Magic("B2C to …003, …006, …007, …010, …015", "result 1, lost, result twice, connection cut, result 26"),
)
