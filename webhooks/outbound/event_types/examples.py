"""An example of each kind of object that events are about, in the state in which they are mostly told."""

from __future__ import annotations

from typing import Any

_PAYMENT_ID = "pay_01k2f7rjw4a6b8c9d0e1f2g3h4"
_CREATED, _UPDATED = "2024-01-15T10:29:41.214Z", "2024-01-15T10:29:58.071Z"

CANCELLED = {
    "type": "payer_error",
    "code": "cancelled_by_payer",
    "message": "The payer cancelled.",
    "decline_code": "",
    "provider_code": "1032",
    "retryable": True,
    "decision": "ask_payer",
}
BOUNCED = {
    "type": "api_error",
    "code": "refund_failed_later",
    "message": "The payer's bank sent the refund back.",
    "decline_code": "",
    "provider_code": "",
    "retryable": False,
    "decision": "never",
}
CAPTURE = {
    "id": "op_01k2f7s0c4a6b8c9d0e1f2g3h4",
    "status": "succeeded",
    "amount": 1250000,
    "origin": "hub",
    "provider_ref": "cap_7",
    "failure": None,
    "created": _UPDATED,
    "updated": _UPDATED,
}
REFUND = {
    "id": "re_01k2f7s5d4a6b8c9d0e1f2g3h4",
    "status": "succeeded",
    "amount": 1250000,
    "origin": "hub",
    "reason": "lesson cancelled",
    "provider_ref": "ref_3",
    "provider_receipt": "NLK2AB90QZ",
    "failure": None,
    "created": "2024-01-16T08:00:00.000Z",
    "updated": "2024-01-16T08:00:04.320Z",
}
DISPUTE = {
    "id": "dp_01k2f7t9f4a6b8c9d0e1f2g3h4",
    "status": "needs_response",
    "amount": 1250000,
    "currency": "KES",
    "reason": "product_not_received",
    "withdrawn": True,
    "respond_by": "2024-01-31T23:59:59.000Z",
    "provider_ref": "dispute_9",
    "created": "2024-01-20T12:00:00.000Z",
    "updated": "2024-01-20T12:00:00.000Z",
}
PAID: dict[str, Any] = {
    "id": _PAYMENT_ID,
    "status": "succeeded",
    "origin": "api",
    "amount": 1250000,
    "amount_capturable": 0,
    "amount_captured": 1250000,
    "amount_voided": 0,
    "amount_disputed": 0,
    "amount_refunded": 0,
    "currency": "KES",
    "provider": "example",
    "provider_ref": "ws_CO_150120241029",
    "provider_receipt": "NLJ7RT61SV",
    "receipt_number": "2024-000118",
    "method": {"type": "mobile_money", "phone": "+254•••••001", "detail": "", "stored": ""},
    "capture": "automatic",
    "next_action": None,
    "failure": None,
    "reference": {"type": "invoice", "id": "INV-2041"},
    "account_number": "INV-2041",
    "allocated": True,
    "reported": None,
    "customer": {"name": "Jane Wanjiku"},
    "description": "Term 1 fees",
    "metadata": {},
    "fee": None,
    "captures": [],
    "refunds": [],
    "disputes": [],
    "expires": None,
    "created": _CREATED,
    "updated": _UPDATED,
    "completed": _UPDATED,
}
UNPAID: dict[str, Any] = {
    **PAID,
    "amount_captured": 0,
    "provider_receipt": "",
    "receipt_number": "",
    "completed": None,
}
HELD: dict[str, Any] = {
    **UNPAID,
    "status": "authorized",
    "amount_capturable": 1250000,
    "capture": "manual",
    "method": {"type": "card", "phone": "", "detail": "Visa •••• 4242", "stored": ""},
    "expires": "2024-01-22T10:29:58.000Z",
}
CAPTURED: dict[str, Any] = {
    **HELD,
    "amount_capturable": 0,
    "amount_captured": 1250000,
    "captures": [CAPTURE],
}
STORED: dict[str, Any] = {
    "id": "seti_01k2f7v1g4a6b8c9d0e1f2g3h4",
    "status": "succeeded",
    "provider": "example",
    "provider_ref": "seti_1",
    "type": "card",
    "method": {
        "id": "pm_01k2f7v2h4a6b8c9d0e1f2g3h4",
        "provider": "example",
        "customer": "student-7",
        "type": "card",
        "brand": "Visa",
        "last4": "4242",
        "expires": "12/2030",
        "payer": "",
        "created": _UPDATED,
    },
    "next_action": None,
    "failure": None,
    "customer": {"id": "student-7"},
    "metadata": {},
    "expires": "2024-01-16T10:29:41.214Z",
    "created": _CREATED,
    "updated": _UPDATED,
}
SENT: dict[str, Any] = {
    "id": "msg_01k2f7rjw4a6b8c9d0e1f2g3h4",
    "channel": "sms",
    "to": "+254700000001",
    "status": "delivered",
    "provider": "example",
    "provider_ref": "ATXid_1",
    "sender": "SPRINGFIELD",
    "segments": 1,
    "encoding": "GSM-7",
    "category": "receipt",
    "reference": {"type": "payment", "id": _PAYMENT_ID},
    "continues": None,
    "fallback": None,
    "cost": {"value": "0.8", "currency": "KES"},
    "error": None,
    "created": "2024-01-15T10:29:50Z",
    "sent_at": "2024-01-15T10:29:51Z",
    "delivered_at": "2024-01-15T10:30:00Z",
}

WRITTEN: dict[str, Any] = {
    "id": "inm_01k2f7rjw4a6b8c9d0e1f2g3h4",
    "channel": "whatsapp",
    "provider": "example",
    "config": 7,
    "provider_ref": "wamid.HBgMMjU0NzExMDAwMDAx",
    "from": "+254700000001",
    "to": "+254700000042",
    "name": "Jane Wanjiku",
    "text": "Here is the slip.",
    "media": [{"index": 0, "type": "image/jpeg"}],
    "opted": None,
    "trusted": True,
    "reply_to": "",
    "received_at": "2024-01-15T10:29:58Z",
}
