"""The simulated objects as PayPal writes them, in full or in the short form that `Prefer: return=minimal` gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from integrations.providers.paypal.simulator.accounts import Merchant
from integrations.providers.paypal.simulator.books import CAPTURE, REFUND
from integrations.providers.paypal.simulator.envelope import amount, fee_of, link, time
from integrations.simulators import SimRequest
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.paypal.simulator.fake import PaypalSimulator

PAYER = {"name": {"given_name": "Amina", "surname": "Otieno"}, "payer_id": "PAYERSANDBAX2"}


def wants_all(request: SimRequest) -> bool:
    """Return whether the caller asked for the whole object; the default is the short form."""
    return "return=representation" in request.headers.get("Prefer", "").replace(" ", "")


def short(found: Json) -> Json:
    """Return the short form: id, status, links, and of an order its payment source."""
    return {name: found[name] for name in ("id", "status", "payment_source", "links") if name in found}


def order(sim: PaypalSimulator, data: Json) -> Json:
    """Return an order. A reauthorization is not listed in it (whether PayPal's does is not documented)."""
    merchant = sim.merchant(data["label"])
    unit: Json = {
        "reference_id": "default",
        "amount": amount(data["units"], data["currency"]),
        "payee": _payee(merchant),
        **{name: data[name] for name in ("custom_id", "invoice_id", "description", "soft_descriptor") if data.get(name)},
    }
    holds = [hold(sim, each) for each in sim.books.holds(data["id"]) if not each["parent"]]
    captures = sim.books.of(CAPTURE, data["id"])
    refunds = [refund(sim, each) for one in captures for each in sim.books.of(REFUND, one["id"])]
    payments = {
        **({"authorizations": holds} if holds else {}),
        **({"captures": [capture(sim, each) for each in captures]} if captures else {}),
        **({"refunds": refunds} if refunds else {}),
    }
    if payments:
        unit["payments"] = payments
    wallet: Json = {}
    found: Json = {
        "id": data["id"],
        "intent": data["intent"],
        "status": data["status"],
        "payment_source": {"paypal": wallet},
        "purchase_units": [unit],
        "create_time": time(data["created"]),
        "update_time": time(data["updated"]),
        "links": _order_links(sim, data),
    }
    if data.get("payer"):
        wallet |= {"email_address": data["payer"], "account_id": PAYER["payer_id"], "account_status": "VERIFIED"}
        found["payer"] = {"email_address": data["payer"], **PAYER}
    return found


def _order_links(sim: PaypalSimulator, data: Json) -> list[Json]:
    self_url = f"{sim.base}/v2/checkout/orders/{data['id']}"
    links = [link(self_url, "self")]
    if data["status"] in ("CREATED", "PAYER_ACTION_REQUIRED"):
        links.append(link(payer_page(sim, data), "payer-action" if data["modern"] else "approve"))
    if data["status"] in ("CREATED", "APPROVED"):
        step = data["intent"].lower()
        links += [link(self_url, "update", "PATCH"), link(f"{self_url}/{step}", step, "POST")]
    return links


def payer_page(sim: PaypalSimulator, data: Json) -> str:
    return f"{sim.base}/checkoutnow?token={data['id']}"


def hold(sim: PaypalSimulator, data: Json) -> Json:
    own = f"{sim.base}/v2/payments/authorizations/{data['id']}"
    links = [link(own, "self")]
    if data["status"] in ("CREATED", "PARTIALLY_CAPTURED"):
        links += [link(f"{own}/{step}", step, "POST") for step in ("capture", "void", "reauthorize")]
    links.append(link(f"{sim.base}/v2/checkout/orders/{data['order']}", "up"))
    pending = {"status_details": {"reason": "PENDING_REVIEW"}} if data["status"] == "PENDING" else {}
    return {
        "id": data["id"],
        "status": data["status"],
        **pending,
        **_noted(data),
        "amount": amount(data["units"], data["currency"]),
        "seller_protection": {"status": "ELIGIBLE", "dispute_categories": ["ITEM_NOT_RECEIVED"]},
        "expiration_time": time(data["expires"]),
        "supplementary_data": {"related_ids": {"order_id": data["order"]}},
        "payee": _payee(sim.merchant(data["label"])),
        "create_time": time(data["created"]),
        "update_time": time(data["updated"]),
        "links": links,
    }


def capture(sim: PaypalSimulator, data: Json) -> Json:
    own = f"{sim.base}/v2/payments/captures/{data['id']}"
    up = f"/v2/payments/authorizations/{data['hold']}" if data["hold"] else f"/v2/checkout/orders/{data['order']}"
    related = {"order_id": data["order"], **({"authorization_id": data["hold"]} if data["hold"] else {})}
    extra: Json = {}
    if data["status"] == "PENDING":
        extra["status_details"] = {"reason": "ECHECK"}
    elif data["status"] not in ("DECLINED", "FAILED"):
        fee = fee_of(data["units"], data["currency"])
        extra["seller_receivable_breakdown"] = {
            "gross_amount": amount(data["units"], data["currency"]),
            "paypal_fee": amount(fee, data["currency"]),
            "net_amount": amount(data["units"] - fee, data["currency"]),
        }
    return {
        "id": data["id"],
        "status": data["status"],
        **_noted(data),
        "amount": amount(data["units"], data["currency"]),
        "final_capture": data["final"],
        "disbursement_mode": "INSTANT",
        "seller_protection": {"status": "ELIGIBLE", "dispute_categories": ["ITEM_NOT_RECEIVED"]},
        **extra,
        "supplementary_data": {"related_ids": related},
        "payee": _payee(sim.merchant(data["label"])),
        "create_time": time(data["created"]),
        "update_time": time(data["updated"]),
        "links": [link(own, "self"), link(f"{own}/refund", "refund", "POST"), link(f"{sim.base}{up}", "up")],
    }


def refund(sim: PaypalSimulator, data: Json) -> Json:
    gross = amount(data["units"], data["currency"])
    extra: Json = {"status_details": {"reason": "ECHECK"}} if data["status"] == "PENDING" else {}
    if data.get("note"):
        extra["note_to_payer"] = data["note"]
    return {
        "id": data["id"],
        "status": data["status"],
        **_noted(data),
        **extra,
        "amount": gross,
        "seller_payable_breakdown": {
            "gross_amount": gross,
            "paypal_fee": amount(0, data["currency"]),
            "net_amount": gross,
            "total_refunded_amount": amount(data["total"], data["currency"]),
        },
        "create_time": time(data["created"]),
        "update_time": time(data["updated"]),
        "links": [
            link(f"{sim.base}/v2/payments/refunds/{data['id']}", "self"),
            link(f"{sim.base}/v2/payments/captures/{data['capture']}", "up"),
        ],
    }


def _noted(data: Json) -> dict[str, Any]:
    return {name: data[name] for name in ("custom_id", "invoice_id") if data.get(name)}


def _payee(merchant: Merchant) -> Json:
    return {"email_address": merchant.email, "merchant_id": merchant.merchant_id}
