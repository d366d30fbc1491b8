"""What the hub itself finds out: money, payers, messages."""

from __future__ import annotations

from webhooks.outbound.event_types.examples import (
    BOUNCED,
    CANCELLED,
    CAPTURE,
    CAPTURED,
    DISPUTE,
    HELD,
    PAID,
    REFUND,
    SENT,
    STORED,
    UNPAID,
    WRITTEN,
)
from webhooks.outbound.event_types.kinds import EventType
from webhooks.outbound.event_types.shapes import METHOD, TEXT, Schema, message, object_of, payment, received, setup

_ENDED = {"enum": ["failed", "cancelled", "expired"]}
_HELD = {"enum": ["authorized", "partially_captured"]}
_ID_OF = "id of the one of `{}` that this is about"


def _id(prefix: str, members: str) -> Schema:
    return {"type": "string", "pattern": f"^{prefix}_", "description": _ID_OF.format(members)}


FACTS: tuple[EventType, ...] = (
    EventType(
        "payment.authorized",
        "Money is held for you: capture it, or cancel, before `expires`.",
        payment({"const": "authorized"}),
        HELD,
    ),
    EventType(
        "payment.authorization_expiring",
        "A hold lapses soon, at `expires`: capture it or cancel.",
        payment(_HELD),
        HELD,
    ),
    EventType(
        "payment.captured",
        "Held money was taken, here or in the gateway's dashboard: `amount_captured` in all, now the one of `captures` that"
        " `capture_id` names. `payment.completed` follows once nothing is held any more.",
        payment(TEXT, capture_id=_id("op", "captures")),
        {**CAPTURED, "capture_id": CAPTURE["id"]},
    ),
    EventType(
        "payment.completed",
        "The money is there: `amount_captured`, which is `amount` unless only a part of a hold was taken. Told once.",
        payment({"const": "succeeded"}),
        PAID,
    ),
    EventType(
        "payment.failed",
        "No money moved: refused, cancelled or not answered in time. `failure` says why, where there is more to say than"
        " `status` does. Should the money come in after all, `payment.completed` follows.",
        payment(_ENDED),
        {**UNPAID, "status": "failed", "failure": CANCELLED},
    ),
    EventType(
        "payment.conflicted",
        "What the gateway reports contradicts what was asked for (another amount): a person must look.",
        payment({"const": "conflicted"}),
        {**UNPAID, "status": "conflicted", "reported": {"amount": 1249900, "currency": "KES"}},
    ),
    EventType(
        "payment.needs_review",
        "Nobody can tell whether the money came in, not even the gateway: a person must look.",
        payment({"const": "needs_review"}),
        {**UNPAID, "status": "needs_review"},
    ),
    EventType(
        "payment.allocated",
        "Money that a customer sent by himself was tied to your object: `reference`.",
        payment({"const": "succeeded"}),
        {**PAID, "origin": "customer"},
    ),
    EventType(
        "payment.refunded",
        "Money went back to the payer: all of it or, by `amount_refunded`, a part. `refund` is its id in `refunds`.",
        payment(TEXT, refund=_id("re", "refunds")),
        {**PAID, "amount_refunded": 1250000, "refunds": [REFUND], "refund": REFUND["id"]},
    ),
    EventType(
        "payment.refund_failed",
        "A refund did not reach the payer, perhaps days after it seemed to: the money is yours again.",
        payment(TEXT, refund=_id("re", "refunds")),
        {**PAID, "refunds": [{**REFUND, "status": "failed", "failure": BOUNCED}], "refund": REFUND["id"]},
    ),
    EventType(
        "payment.dispute_opened",
        "The payer's bank questions the payment: answer at the gateway by `respond_by`.",
        payment(TEXT, dispute=_id("dp", "disputes")),
        {**PAID, "amount_disputed": 1250000, "disputes": [DISPUTE], "dispute": DISPUTE["id"]},
    ),
    EventType(
        "payment.dispute_closed",
        "The dispute is won, lost or closed; `amount_disputed` says what the bank kept.",
        payment(TEXT, dispute=_id("dp", "disputes")),
        {**PAID, "disputes": [{**DISPUTE, "status": "won", "withdrawn": False}], "dispute": DISPUTE["id"]},
    ),
    EventType(
        "payer.stored",
        "A payer's card or account is stored at the gateway: charge it by `method.id`.",
        setup({"const": "succeeded"}, object_of(METHOD, sorted(METHOD))),
        STORED,
    ),
    EventType(
        "payer.setup_failed",
        "A payer's card or account was not stored; `failure` says why, where there is more to say than `status` does.",
        setup(_ENDED, {"type": "null"}),
        {**STORED, "status": "cancelled", "method": None, "failure": CANCELLED},
    ),
    EventType("message.delivered", "The message reached its recipient.", message("delivered"), SENT),
    EventType(
        "message.failed",
        "The message did not reach its recipient and will not be tried again.",
        message("failed"),
        {**SENT, "status": "failed", "error": {"code": "UserInBlacklist", "message": "opted out"}, "delivered_at": None},
    ),
    EventType(
        "message.read",
        "The recipient has seen the message. Comes after `message.delivered`, or instead of it.",
        message("read"),
        {**SENT, "status": "read"},
    ),
    EventType(
        "message.bounced",
        "The receiving server sent the message back, perhaps after `message.delivered`: do not write to this address again.",
        message("bounced"),
        {**SENT, "status": "bounced", "error": {"code": "5.1.1", "message": "no such mailbox"}},
    ),
    EventType(
        "message.complained",
        "The recipient called the message spam: do not write to this address again.",
        message("complained"),
        {**SENT, "status": "complained", "error": {"code": "spam_report", "message": "marked as spam"}},
    ),
    EventType(
        "message.received",
        "Somebody wrote to you, by text message or on WhatsApp. `opted` says where it put him on the suppression list or took"
        " him off.",
        received(),
        WRITTEN,
    ),
)
