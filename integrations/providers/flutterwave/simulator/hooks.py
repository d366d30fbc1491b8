"""Webhooks of the simulated Flutterwave: which header, what bodies, and three more tries where retries are switched on."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING

from integrations.providers.flutterwave.simulator.accounts import Merchant
from integrations.providers.flutterwave.simulator.envelope import CARD, M_PESA, number, stamp
from integrations.providers.flutterwave.simulator.ledger import shown
from integrations.simulators import CallbackReply, Part, SimRequest, action, on_reply
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.flutterwave.simulator.fake import FlutterwaveSimulator

RETRIES = 3
TIMEOUT = 60.0
EVENT_TYPES = {M_PESA: "MPESA_TRANSACTION", CARD: "CARD_TRANSACTION"}
SETUP = "setup"
SWITCHES: Json = {"webhook_url": "", "webhook_retries": True, "webhook_meta": True, "signature": "verif-hash"}
SIGNATURES = ("verif-hash", "hmac", "both", "plain", "none")
"""Headers sent: `verif-hash`; `flutterwave-signature` as an HMAC; both; that header with the bare secret; no header."""


class Hooks(Part):
    """One URL per account, set in the dashboard (`PUT /control/flutterwave/accounts/<label>`)."""

    def __init__(self, sim: FlutterwaveSimulator) -> None:
        self._sim = sim

    def switches(self, merchant: Merchant) -> Json:
        return {**SWITCHES, **(self._sim.store.get(self._sim.slug, SETUP, merchant.label) or {})}

    def change(self, merchant: Merchant, data: Json) -> None:
        """Change switches; ValueError for one that does not exist or has another type."""
        for name, value in data.items():
            if name not in SWITCHES or type(value) is not type(SWITCHES[name]):
                raise ValueError(f"{name!r}: one of {sorted(SWITCHES)}")
        if data.get("signature", "none") not in SIGNATURES:
            raise ValueError(f"signature: one of {', '.join(SIGNATURES)}")
        self._sim.store.put(self._sim.slug, SETUP, merchant.label, {**self.switches(merchant), **data})

    def charge(self, transaction: Json, *, early: SimRequest | None = None) -> None:
        """Send `charge.completed`, which also reports failures."""
        operations = ("charge_webhook", "authorize")
        merchant = self._sim.merchant(transaction["account"])
        misstated = self._sim.take_fault(operations, "wrong_amount") is not None
        body: Json = {
            "event": "charge.completed",
            "data": shown(transaction, merchant, misstated=misstated, verified=False),
            "event.type": EVENT_TYPES.get(transaction["payment_type"], "CARD_TRANSACTION"),
        }
        if self.switches(merchant)["webhook_meta"]:
            body["meta_data"] = transaction.get("meta") or {}
        self._send(merchant, operations, body, early=early, silent=transaction["silent"])

    def refund(self, refund: Json) -> None:
        """Send `refund.completed`; member names as reported (unconfirmed)."""
        data = {
            "id": refund["id"],
            "AccountId": self._sim.merchant(refund["account"]).number,
            "TransactionId": refund["transaction"],
            "FlwRef": refund["flw_ref"],
            "AmountRefunded": number(refund["amount"], refund["currency"]),
            "status": refund["status"],
            "comments": refund["comments"],
            "destination": "payment_source",
            "createdAt": stamp(refund["created_at"]),
        }
        body: Json = {"event": "refund.completed", "data": data}
        self._send(self._sim.merchant(refund["account"]), ("refund_webhook", "refund"), body)

    def _send(
        self,
        merchant: Merchant,
        operations: tuple[str, ...],
        body: Json,
        *,
        early: SimRequest | None = None,
        silent: bool = False,
    ) -> None:
        switches = self.switches(merchant)
        if not switches["webhook_url"]:
            return
        # A lost webhook was taken by somebody on the way who said 200: nothing would send it again.
        lost = silent or self._sim.take_fault(operations, "lose_callback") is not None
        context = {
            "account": merchant.label, "operations": list(operations), "url": switches["webhook_url"], "body": json.dumps(body),
            "tries": 0,
        }  # fmt: skip
        self._deliver(context, delay=0.0 if early else float(self._sim.setting("webhook_delay")), early=early, lost=lost)

    def _deliver(self, context: Json, *, delay: float, early: SimRequest | None = None, lost: bool = False) -> None:
        merchant = self._sim.merchant(context["account"])
        headers = {"Content-Type": "application/json", **self._proof(merchant, context["body"])}
        self._sim.callback(
            context["operations"], context["url"], context["body"], headers, delay=delay, timeout=TIMEOUT,
            reply_to="" if lost else "webhook_answered", context=context, early=early, lost=lost,
        )  # fmt: skip

    @on_reply("webhook_answered")
    def answered(self, context: Json, reply: CallbackReply | None) -> None:
        """Only 200 will do. Three more tries, 30 minutes apart in reality (`retry_interval` here)."""
        if reply is not None and reply.status == 200:
            return
        retries = self.switches(self._sim.merchant(context["account"]))["webhook_retries"]
        if retries and context["tries"] < RETRIES:
            again = {**context, "tries": context["tries"] + 1}
            self._sim.later("webhook_again", again, float(self._sim.setting("retry_interval")))

    @action("webhook_again")
    def again(self, context: Json) -> None:
        self._deliver(context, delay=0.0)

    def _proof(self, merchant: Merchant, body: str) -> dict[str, str]:
        kind = self.switches(merchant)["signature"]
        digest = hmac.new(merchant.secret_hash.encode(), body.encode(), hashlib.sha256).digest()
        found = {}
        if kind in ("verif-hash", "both"):
            found["verif-hash"] = merchant.secret_hash
        if kind in ("hmac", "both"):
            found["flutterwave-signature"] = base64.b64encode(digest).decode()
        if kind == "plain":
            found["flutterwave-signature"] = merchant.secret_hash
        return found
