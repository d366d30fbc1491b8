"""IPN addresses (sheet section 4) and the notices sent to them, with the check of the answer and resends (section 7)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from integrations.providers.pesapal.simulator.accounts import Merchant
from integrations.providers.pesapal.simulator.envelope import new_guid, reply, utc_time
from integrations.providers.pesapal.simulator.rules import Fields
from integrations.simulators import CallbackReply, Part, SimReply, SimRequest, on_reply, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.pesapal.simulator.fake import PesapalSimulator

IPN = "ipn"
KINDS = ("GET", "POST")


class IpnDesk(Part):
    """Registered addresses by ipn_id. Each merchant has one from the beginning, whose address the control API sets."""

    def __init__(self, sim: PesapalSimulator) -> None:
        self._sim = sim

    @route("POST", "/api/URLSetup/RegisterIPN", operation="register_ipn")
    def register(self, request: SimRequest) -> SimReply:
        """Register an address; the same one registered twice is registered twice."""
        sim = self._sim
        merchant = sim.authorised(request)
        fields = Fields.of(request)
        url = fields.url("url")
        kind = fields.text("ipn_notification_type", 4, pattern="GET|POST")
        entry: Json = {"ipn_id": new_guid(), "url": url, "kind": kind, "at": sim.clock.now(), "merchant": merchant.label}
        sim.store.put(sim.slug, IPN, entry["ipn_id"], entry, ref=merchant.label)
        return reply(self._shown(entry))

    @route("GET", "/api/URLSetup/GetIpnList", operation="list_ipns")
    def listing(self, request: SimRequest) -> SimReply:
        """List this merchant's addresses."""
        merchant = self._sim.authorised(request)
        return reply([self._shown(entry) for entry in self.entries(merchant)])

    def entries(self, merchant: Merchant) -> list[Json]:
        """Return all addresses of a merchant, the first registered first."""
        found = [each.data for each in self._sim.store.find(self._sim.slug, IPN, merchant.label, limit=1000)]
        return [self._own(merchant), *found[::-1]]

    def find(self, merchant: Merchant, ipn_id: str) -> Json | None:
        return next((each for each in self.entries(merchant) if each["ipn_id"].lower() == ipn_id.lower()), None)

    def notify(self, order: Json, cause: str, *, early: SimRequest | None = None) -> None:
        """Tell the merchant that an order changed; `cause` is the operation that did it, for faults."""
        plan = self._sim.orders.plan(order)
        self._plan(order, cause, self._sim.setting("ipn_delay"), tries=1, early=early, lost=plan.lost, copies=plan.copies)

    def _plan(
        self,
        order: Json,
        cause: str,
        delay: float,
        *,
        tries: int,
        early: SimRequest | None = None,
        lost: bool = False,
        copies: int = 1,
    ) -> None:
        sim = self._sim
        merchant = sim.merchant(order["merchant"])
        entry = self.find(merchant, order["ipn_id"])
        if entry is None or not entry["url"]:
            return
        values = {
            "OrderNotificationType": "IPNCHANGE",
            "OrderTrackingId": order["tracking"],
            "OrderMerchantReference": order["reference"],
        }
        by_get = entry["kind"] == "GET"
        url = f"{entry['url']}{'&' if '?' in entry['url'] else '?'}{urlencode(values)}" if by_get else entry["url"]
        body, headers = ("", {}) if by_get else (json.dumps(values), {"Content-Type": "application/json"})
        if lost or sim.take_fault((IPN, cause), "lose_callback"):
            # Not by the kit: it would report "no answer", and the resend would undo the loss.
            sim.scheduler.add_callback(sim.slug, IPN, url, body, headers, state="lost")
            return
        delivery = new_guid()
        context = {"tracking": order["tracking"], "cause": cause, "tries": tries, "values": values, "delivery": delivery}
        sim.callback(
            (IPN, cause), url, body, headers, delay=0.0 if early else delay, reply_to="ipn_answered", context=context,
            early=early, copies=copies,
        )  # fmt: skip
        if by_get:
            self._by_get(delivery)

    def _by_get(self, delivery: str) -> None:
        """Make the callback just planned a GET: the kit plans POSTs only. Same transaction, so it can't have left yet."""
        self._sim.store.execute(
            "UPDATE jobs SET payload = json_set(payload, '$.method', 'GET') "
            "WHERE slug = ? AND kind = 'callback' AND json_extract(payload, '$.context.delivery') = ?",
            self._sim.slug, delivery,
        )  # fmt: skip

    @on_reply("ipn_answered")
    def answered(self, context: Json, answer: CallbackReply | None) -> None:
        """Send again where the answer is not the documented one, `ipn_tries` times in all."""
        if acknowledged(answer, context["values"]) or context["tries"] >= int(self._sim.setting("ipn_tries")):
            return
        order = self._sim.orders.get(context["tracking"])
        if order is not None:
            self._plan(order, context["cause"], self._sim.setting("ipn_retry_delay"), tries=context["tries"] + 1)

    def _own(self, merchant: Merchant) -> Json:
        setup = self._sim.store.get(self._sim.slug, "setup", merchant.label) or {}
        return {
            "ipn_id": merchant.ipn_id,
            "url": setup.get("webhook_url", ""),
            "kind": setup.get("webhook_method", "POST"),
            "at": 0.0,
            "merchant": merchant.label,
        }

    def set_own(self, merchant: Merchant, data: Json) -> None:
        """Set the first address (`webhook_url`, '' for none; `webhook_method`); ValueError for anything else."""
        setup = dict(self._sim.store.get(self._sim.slug, "setup", merchant.label) or {})
        for name, value in data.items():
            known = name == "webhook_url" and isinstance(value, str)
            if not known and not (name == "webhook_method" and value in KINDS):
                raise ValueError(f"{name!r}: webhook_url (text) or webhook_method (GET or POST)")
            setup[name] = value
        self._sim.store.put(self._sim.slug, "setup", merchant.label, setup)

    def _shown(self, entry: Json) -> Json:
        """Return the recorded form; `ipn_status_decription` is misspelt on the wire."""
        return {
            "id": 4000 + int(entry["ipn_id"][:4], 16) % 1000,
            "url": entry["url"],
            "created_date": utc_time(entry["at"]),
            "ipn_id": entry["ipn_id"],
            "notification_type": KINDS.index(entry["kind"]),
            "ipn_notification_type_description": entry["kind"],
            "ipn_status": 1,
            "ipn_status_decription": "Active",
            "error": None,
            "status": "200",
        }


def acknowledged(answer: CallbackReply | None, values: Json) -> bool:
    """Tell whether an answer is the documented one: HTTP 200, the three values with lower-case first letters, status 200."""
    if answer is None or answer.status != 200:
        return False
    try:
        told = answer.json()
    except ValueError:
        return False
    return told == {**{name[0].lower() + name[1:]: value for name, value in values.items()}, "status": 200}
