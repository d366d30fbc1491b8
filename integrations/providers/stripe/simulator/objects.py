"""New objects in the shapes of API version 2023-10-16 (the vendor's fixtures and description). Members that begin with `_`
are the simulator's own and never shown."""

from __future__ import annotations

from typing import Any

from integrations.providers.stripe.simulator.answers import new_id
from integrations.providers.stripe.simulator.cards import TestCard
from integrations.simulators.wire import Json

NO_ADDRESS = {"city": None, "country": None, "line1": None, "line2": None, "postal_code": None, "state": None}
HOLD_DAYS = 7


def _base(prefix: str, kind: str, account: str, now: float, **more: Any) -> Json:
    return {"id": new_id(prefix), "object": kind, "created": int(now), "livemode": False, "_account": account, **more}


def billing(name: str | None = None, email: str | None = None) -> Json:
    return {"address": dict(NO_ADDRESS), "email": email, "name": name, "phone": None}


def payment_intent(account: str, now: float, **given: Any) -> Json:
    made = _base(
        "pi", "payment_intent", account, now,
        amount_capturable=0, amount_details={"tip": {}}, amount_received=0, application=None, application_fee_amount=None,
        automatic_payment_methods=None, canceled_at=None, cancellation_reason=None, confirmation_method="automatic",
        customer=None, description=None, invoice=None, last_payment_error=None, latest_charge=None, metadata={},
        next_action=None, on_behalf_of=None, payment_method=None,
        payment_method_options={"card": {"installments": None, "mandate_options": None, "network": None,
                                         "request_three_d_secure": "automatic"}},
        payment_method_types=["card"], processing=None, receipt_email=None, review=None, setup_future_usage=None,
        shipping=None, statement_descriptor=None, statement_descriptor_suffix=None, status="requires_payment_method",
        transfer_data=None, transfer_group=None,
    )  # fmt: skip
    return made | given | {"client_secret": f"{made['id']}_secret_{new_id('x')[2:]}"}


def setup_intent(account: str, now: float, **given: Any) -> Json:
    made = _base(
        "seti", "setup_intent", account, now,
        application=None, automatic_payment_methods=None, cancellation_reason=None, customer=None, description=None,
        flow_directions=None, last_setup_error=None, latest_attempt=None, mandate=None, metadata={}, next_action=None,
        on_behalf_of=None, payment_method=None, payment_method_options={}, payment_method_types=["card"],
        single_use_mandate=None, status="requires_payment_method", usage="off_session",
    )  # fmt: skip
    return made | given | {"client_secret": f"{made['id']}_secret_{new_id('x')[2:]}"}


def payment_method(account: str, now: float, card: TestCard) -> Json:
    face = {
        "brand": card.brand, "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": None},
        "country": "US", "exp_month": 8, "exp_year": 2031, "fingerprint": new_id("x")[2:18], "funding": "credit",
        "generated_from": None, "last4": card.last4, "networks": {"available": [card.brand], "preferred": None},
        "three_d_secure_usage": {"supported": True}, "wallet": None,
    }  # fmt: skip
    return _base(
        "pm", "payment_method", account, now, billing_details=billing(), card=face, customer=None, metadata={}, type="card",
        _alias=card.alias, _used=False, _stored=False,
    )  # fmt: skip


def charge(intent: Json, method: Json, now: float, *, captured: bool, failure: tuple[str, str, str] | None) -> Json:
    """Return the charge of one attempt; `failure` is (code, decline_code, message)."""
    face = method["card"]
    shown = {
        "amount_authorized": intent["amount"], "brand": face["brand"], "checks": face["checks"], "country": face["country"],
        "exp_month": face["exp_month"], "exp_year": face["exp_year"], "fingerprint": face["fingerprint"],
        "funding": face["funding"], "installments": None, "last4": face["last4"], "mandate": None, "network": face["brand"],
        "network_token": {"used": False}, "three_d_secure": None, "wallet": None,
    }  # fmt: skip
    if not captured and not failure:
        shown["capture_before"] = int(now) + HOLD_DAYS * 86_400
    made = _base(
        "ch", "charge", intent["_account"], now,
        amount=intent["amount"], amount_captured=intent["amount"] if captured and not failure else 0, amount_refunded=0,
        application=None, application_fee=None, application_fee_amount=None, balance_transaction=None,
        billing_details=method["billing_details"], calculated_statement_descriptor="SIMULATED",
        captured=captured and not failure,
        currency=intent["currency"], customer=intent["customer"], description=intent["description"], disputed=False,
        failure_balance_transaction=None, failure_code=failure[0] if failure else None,
        failure_message=failure[2] if failure else None, fraud_details={}, invoice=None, metadata=dict(intent["metadata"]),
        on_behalf_of=None, outcome=_outcome(failure), paid=not failure, payment_intent=intent["id"],
        payment_method=method["id"], payment_method_details={"card": shown, "type": "card"}, receipt_email=None,
        receipt_number=None, receipt_url=None, refunded=False, review=None, shipping=None, source_transfer=None,
        statement_descriptor=None, statement_descriptor_suffix=intent["statement_descriptor_suffix"],
        status="failed" if failure else "succeeded", transfer_data=None, transfer_group=None, _alias=method["_alias"],
    )  # fmt: skip
    if not failure:
        made["receipt_url"] = f"https://pay.stripe.com/receipts/payment/{made['id']}"
    return made


def _outcome(failure: tuple[str, str, str] | None) -> Json:
    if failure:
        return {
            "network_status": "declined_by_network", "reason": failure[1] or failure[0], "risk_level": "normal",
            "risk_score": 30,
            "seller_message": "The bank did not return any further details with this decline.", "type": "issuer_declined",
        }  # fmt: skip
    return {
        "network_status": "approved_by_network", "reason": None, "risk_level": "normal", "risk_score": 20,
        "seller_message": "Payment complete.", "type": "authorized",
    }  # fmt: skip


def refund(made_of: Json, amount: int, now: float, **given: Any) -> Json:
    """Return a refund of a charge, `succeeded` unless said otherwise."""
    made = _base("re", "refund", made_of["_account"], now)
    del made["livemode"]  # the one object that has none
    return {
        **made, "amount": amount, "balance_transaction": None, "charge": made_of["id"], "currency": made_of["currency"],
        "metadata": {}, "payment_intent": made_of["payment_intent"], "reason": None, "receipt_number": None,
        "source_transfer_reversal": None, "status": "succeeded", "transfer_reversal": None, "_release": False, **given,
    }  # fmt: skip


EVIDENCE = (
    "access_activity_log", "billing_address", "cancellation_policy", "cancellation_policy_disclosure", "cancellation_rebuttal",
    "customer_communication", "customer_email_address", "customer_name", "customer_purchase_ip", "customer_signature",
    "duplicate_charge_documentation", "duplicate_charge_explanation", "duplicate_charge_id", "product_description", "receipt",
    "refund_policy", "refund_policy_disclosure", "refund_refusal_explanation", "service_date", "service_documentation",
    "shipping_address", "shipping_carrier", "shipping_date", "shipping_documentation", "shipping_tracking_number",
    "uncategorized_file", "uncategorized_text",
)  # fmt: skip


def dispute(made_of: Json, amount: int, now: float, status: str) -> Json:
    due = int(now) + 7 * 86_400
    return _base(
        "dp", "dispute", made_of["_account"], now,
        amount=amount, balance_transactions=[], charge=made_of["id"], currency=made_of["currency"],
        evidence=dict.fromkeys(EVIDENCE),
        evidence_details={"due_by": due, "has_evidence": False, "past_due": False, "submission_count": 0},
        is_charge_refundable=status.startswith("warning"), metadata={}, payment_intent=made_of["payment_intent"],
        reason="fraudulent", status=status,
    )  # fmt: skip


def balance_transaction(of: Json, kind: str, amount: int, fee: int, now: float, description: str) -> Json:
    category = {"adjustment": "dispute"}.get(kind, kind)
    details = [{"amount": fee, "application": None, "currency": of["currency"], "description": "Stripe processing fees",
                "type": "stripe_fee"}] if fee else []  # fmt: skip
    made = _base("txn", "balance_transaction", of["_account"], now)
    del made["livemode"]
    return {
        **made, "amount": amount, "available_on": int(now) + 2 * 86_400, "currency": of["currency"], "description": description,
        "exchange_rate": None, "fee": fee, "fee_details": details, "net": amount - fee, "reporting_category": category,
        "source": of["id"], "status": "pending", "type": kind,
    }  # fmt: skip


def customer(account: str, now: float, **given: Any) -> Json:
    made = _base(
        "cus", "customer", account, now,
        address=None, balance=0, currency=None, default_source=None, delinquent=False, description=None, discount=None,
        email=None, invoice_prefix=new_id("x")[2:10].upper(),
        invoice_settings={"custom_fields": None, "default_payment_method": None, "footer": None, "rendering_options": None},
        metadata={}, name=None, next_invoice_sequence=1, phone=None, preferred_locales=[], shipping=None, tax_exempt="none",
        test_clock=None,
    )  # fmt: skip
    return made | given
