"""The provider's vocabularies and what the hub makes of them (docs.africastalking.com, read 2026-11)."""

from __future__ import annotations

from dataclasses import dataclass

from integrations.contracts.messaging import MessageState, SuppressReason


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a `statusCode` of the send answer means. `detail` is for the tenant's people."""

    state: MessageState
    detail: str = ""
    retryable: bool = False
    suppress: SuppressReason | None = None


ACCEPTED = Outcome(MessageState.SENT)

# 409 holds from 20:00 to 08:00 Africa/Lagos for promotional senders; 405 until somebody tops up: both are worth trying later.
OUTCOMES = {
    100: ACCEPTED,
    101: ACCEPTED,
    102: ACCEPTED,
    401: Outcome(MessageState.FAILED, "held by the provider's risk check: ask its support"),
    402: Outcome(MessageState.FAILED, "the sender ID is not approved for this account"),
    403: Outcome(MessageState.FAILED, "not a valid phone number"),
    404: Outcome(MessageState.FAILED, "numbers of this type can't receive this SMS"),
    405: Outcome(MessageState.FAILED, "the provider account has no balance left", retryable=True),
    406: Outcome(MessageState.FAILED, "the recipient has opted out", suppress=SuppressReason.OPT_OUT),
    407: Outcome(MessageState.FAILED, "the provider has no route to this network"),
    409: Outcome(MessageState.FAILED, "do-not-disturb hours for promotional messages", retryable=True),
    500: Outcome(MessageState.FAILED, "internal error at the provider", retryable=True),
    501: Outcome(MessageState.FAILED, "gateway error at the provider", retryable=True),
    502: Outcome(MessageState.FAILED, "rejected by the gateway", retryable=True),
}


def outcome_of(status_code: int, status: str) -> Outcome:
    """Return what a status code means. An unlisted one is judged by its range; beyond those the outcome is unknown."""
    known = OUTCOMES.get(status_code)
    if known is not None:
        return known
    if 100 <= status_code < 200:
        return ACCEPTED
    if 400 <= status_code < 500:
        return Outcome(MessageState.FAILED, f"refused by the provider: {status or status_code}")
    return Outcome(MessageState.UNKNOWN, f"the provider answered {status or status_code}, which the hub does not know")


DELIVERY_STATES = {
    "Sent": MessageState.SENT,
    "Submitted": MessageState.SENT,
    "Buffered": MessageState.SENT,
    "Success": MessageState.DELIVERED,
    "Rejected": MessageState.FAILED,
    "Failed": MessageState.FAILED,
    "AbsentSubscriber": MessageState.FAILED,
    "Expired": MessageState.FAILED,
}

DELIVERY_DETAILS = {
    "AbsentSubscriber": "the phone is off or out of coverage (temporary)",
    "Expired": "discarded by the network",
}

SUPPRESSING_REASONS = {
    "UserInBlackList": SuppressReason.OPT_OUT,
    "UserDoesNotExist": SuppressReason.INVALID,
    "UserIsInactive": SuppressReason.INVALID,
}
