"""Vault v3 of the simulated PayPal: setup tokens that a payer approves, payment tokens that charge him later."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NoReturn

from integrations.providers.paypal.simulator.accounts import Merchant
from integrations.providers.paypal.simulator.envelope import ERRORS, answer, empty, link, new_id
from integrations.simulators import Part, Refusal, SimReply, SimRequest, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.paypal.simulator.fake import PaypalSimulator

KEPT = 3 * 3600.0
SETUP_LIFE = 3 * 86_400.0
SETUP_TOKEN, PAYMENT_TOKEN = "setup_token", "payment_token"


class VaultDesk(Part):
    """`/v3/vault`."""

    def __init__(self, sim: PaypalSimulator) -> None:
        self._sim = sim

    @route("POST", "/v3/vault/setup-tokens", operation="setup")
    def create_setup(self, request: SimRequest) -> SimReply:
        merchant, body = self._allowed(request), self._sim.body(request)
        return self._sim.once(
            request,
            merchant,
            KEPT,
            lambda: self._create_setup(merchant, body),
            lambda number, replay: answer(self._shown_setup(self._get(SETUP_TOKEN, number)), 200 if replay else 201),
        )

    @route("GET", "/v3/vault/setup-tokens/<id>", operation="setup_status")
    def read_setup(self, request: SimRequest) -> SimReply:
        return answer(self._shown_setup(self._owned(request, SETUP_TOKEN)))

    @route("POST", "/v3/vault/payment-tokens", operation="complete_setup")
    def create_token(self, request: SimRequest) -> SimReply:
        merchant, body = self._allowed(request), self._sim.body(request)
        return self._sim.once(
            request,
            merchant,
            KEPT,
            lambda: self._create_token(merchant, body),
            lambda number, replay: answer(self._shown_token(self._get(PAYMENT_TOKEN, number)), 200 if replay else 201),
        )

    @route("GET", "/v3/vault/payment-tokens", operation="payment_tokens")
    def list_tokens(self, request: SimRequest) -> SimReply:
        merchant = self._allowed(request)
        customer = request.query.get("customer_id", "")
        if not customer:
            _refuse(400, "MISSING_REQUIRED_PARAMETER")
        found = [each.data for each in self._sim.store.find(self._sim.slug, PAYMENT_TOKEN, f"{merchant.label} {customer}")]
        shown = [self._shown_token(each) for each in found if not each["deleted"]]
        links = [link(f"{self._sim.base}/v3/vault/payment-tokens?customer_id={customer}", "self")]
        return answer({"customer": {"id": customer}, "payment_tokens": shown, "links": links})

    @route("GET", "/v3/vault/payment-tokens/<id>", operation="payment_tokens")
    def read_token(self, request: SimRequest) -> SimReply:
        return answer(self._shown_token(self._owned(request, PAYMENT_TOKEN)))

    @route("DELETE", "/v3/vault/payment-tokens/<id>", operation="forget")
    def delete_token(self, request: SimRequest) -> SimReply:
        """204 whether it was there or not (no other answer is described)."""
        merchant = self._allowed(request)
        found = self._sim.store.get(self._sim.slug, PAYMENT_TOKEN, request.params["id"])
        if found and found["label"] == merchant.label:
            self._save(PAYMENT_TOKEN, {**found, "deleted": True})
        return empty()

    # --- used by the others

    def payer_of(self, merchant: Merchant, token: str) -> str | None:
        """Return whose wallet a payment token charges, None where it is unknown or deleted."""
        found = self._sim.store.get(self._sim.slug, PAYMENT_TOKEN, token)
        return str(found["payer"]) if found and found["label"] == merchant.label and not found["deleted"] else None

    def setup_token(self, number: str) -> Json | None:
        """Return a setup token that still waits for its payer."""
        found = self._sim.store.get(self._sim.slug, SETUP_TOKEN, number)
        waits = found is not None and found["status"] == "PAYER_ACTION_REQUIRED" and not self._lapsed(found)
        return found if waits else None

    def approve(self, token: Json, payer: str) -> None:
        self._save(SETUP_TOKEN, {**token, "status": "APPROVED", "payer": payer})

    def page(self, token: Json) -> str:
        return f"{self._sim.base}/agreements/approve?approval_session_id={token['id']}"

    # --- pieces

    def _allowed(self, request: SimRequest) -> Merchant:
        merchant = self._sim.authorised(request)
        if not self._sim.switch(merchant, "vault"):
            _refuse(403, "PERMISSION_DENIED")
        return merchant

    def _create_setup(self, merchant: Merchant, body: Json) -> str:
        wallet = (body.get("payment_source") or {}).get("paypal")
        context = (wallet or {}).get("experience_context") or {}
        if not isinstance(wallet, dict) or wallet.get("usage_type") != "MERCHANT":
            _refuse(400, "MISSING_REQUIRED_PARAMETER")
        if not context.get("return_url") or not context.get("cancel_url"):
            _refuse(400, "MISSING_REQUIRED_PARAMETER")
        customer = str((body.get("customer") or {}).get("id") or secrets.token_hex(5))
        token = {
            "id": new_id(),
            "label": merchant.label,
            "status": "PAYER_ACTION_REQUIRED",
            "customer": customer,
            "payer": "",
            "return_url": context["return_url"],
            "cancel_url": context["cancel_url"],
            "created": self._sim.clock.now(),
        }
        self._save(SETUP_TOKEN, token)
        return str(token["id"])

    def _create_token(self, merchant: Merchant, body: Json) -> str:
        source = (body.get("payment_source") or {}).get("token") or {}
        if source.get("type") != "SETUP_TOKEN":
            _refuse(400, "INVALID_PARAMETER_VALUE")
        setup = self._sim.store.get(self._sim.slug, SETUP_TOKEN, str(source.get("id")))
        if setup is None or setup["label"] != merchant.label or self._lapsed(setup):
            _refuse(404, "TOKEN_NOT_FOUND")
        if setup["status"] != "APPROVED":
            _refuse(422, "INVALID_STATE")
        self._save(SETUP_TOKEN, {**setup, "status": "VAULTED"})
        token = {
            "id": secrets.token_hex(9),
            "label": merchant.label,
            "customer": setup["customer"],
            "payer": setup["payer"],
            "deleted": False,
        }
        self._save(PAYMENT_TOKEN, token)
        shown = self._shown_token(token)
        self._sim.notifications.notify(merchant.label, "VAULT.PAYMENT-TOKEN.CREATED", "payment_token", shown, "complete_setup")
        return str(token["id"])

    def _lapsed(self, setup: Json) -> bool:
        return bool(setup["status"] != "VAULTED" and setup["created"] + SETUP_LIFE <= self._sim.clock.now())

    def _owned(self, request: SimRequest, kind: str) -> Json:
        merchant = self._allowed(request)
        found = self._sim.store.get(self._sim.slug, kind, request.params["id"])
        gone = found is not None and (found.get("deleted") or (kind == SETUP_TOKEN and self._lapsed(found)))
        if found is None or found["label"] != merchant.label or gone:
            _refuse(404, "TOKEN_NOT_FOUND")
        return found

    def _get(self, kind: str, number: str) -> Json:
        return self._sim.store.get(self._sim.slug, kind, number) or {}

    def _save(self, kind: str, data: Json) -> None:
        self._sim.store.put(self._sim.slug, kind, data["id"], data, f"{data['label']} {data['customer']}")

    def _shown_setup(self, token: Json) -> Json:
        wallet = {"usage_type": "MERCHANT", **({"email_address": token["payer"]} if token["payer"] else {})}
        links = [link(f"{self._sim.base}/v3/vault/setup-tokens/{token['id']}", "self")]
        if token["status"] == "PAYER_ACTION_REQUIRED":
            links.append(link(self.page(token), "approve"))
        return {
            "id": token["id"],
            "status": token["status"],
            "customer": {"id": token["customer"]},
            "payment_source": {"paypal": wallet},
            "links": links,
        }

    def _shown_token(self, token: Json) -> Json:
        return {
            "id": token["id"],
            "customer": {"id": token["customer"]},
            "payment_source": {"paypal": {"usage_type": "MERCHANT", "email_address": token["payer"]}},
            "links": [link(f"{self._sim.base}/v3/vault/payment-tokens/{token['id']}", "self")],
        }


def _refuse(status: int, issue: str) -> NoReturn:
    name, message = ERRORS[status]
    details = [{"issue": issue, "description": message}]
    raise Refusal(
        SimReply.of_json({"name": name, "message": message, "debug_id": new_id(13).lower(), "details": details}, status)
    )
