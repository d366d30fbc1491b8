"""The payer's side of the simulated PayPal: the pages on which he approves, and the same by control."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from integrations.providers.paypal.simulator.books import ORDER
from integrations.providers.paypal.simulator.envelope import amount
from integrations.providers.paypal.simulator.shapes import PAYER, order
from integrations.simulators import Part, SimReply, SimRequest, control, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.paypal.simulator.fake import PaypalSimulator

EMAIL = "amina.otieno@buyer.example.com"
REFUSED = "PAYER_CANNOT_PAY"
ASK_AGAIN = "PAYER_ACTION_REQUIRED"
BUTTONS = {
    "approve": "Pay now",
    "decline": "Pay with a card that is declined",
    "fail": "Pay with an account that can't pay",
    "cancel": "Cancel and return",
}
SETUP_BUTTONS = {"approve": "Agree and save", "cancel": "Cancel and return"}


class PayerPages(Part):
    """`/checkoutnow` and `/agreements/approve`, as on www.paypal.com."""

    def __init__(self, sim: PaypalSimulator) -> None:
        self._sim = sim

    @route("GET", "/checkoutnow", operation="payer_page")
    def checkout(self, request: SimRequest) -> SimReply:
        return self._page(request.query.get("token", ""))

    @route("GET", "/agreements/approve", operation="payer_page")
    def agreement(self, request: SimRequest) -> SimReply:
        return self._page(request.query.get("approval_session_id", ""))

    @route("POST", "/checkoutnow", operation="payer_page")
    @route("POST", "/agreements/approve", operation="payer_page")
    def click(self, request: SimRequest) -> SimReply:
        """A button of the page: do it, then send the browser back."""
        form = request.form()
        try:
            back = self.act(form.get("token", ""), form.get("action", ""))["redirect"]
        except (KeyError, ValueError) as error:
            return SimReply.of_html(_html("Sorry", f"<p>{escape(str(error))}</p>"), 400)
        return SimReply.redirect(back) if back else SimReply.of_html(_html("Done", "<p>You may close this page.</p>"))

    @control("POST", "/payer")
    def by_control(self, request: SimRequest) -> Json:
        """`ref` (order, payment id or setup token) and `action`: approve, decline (asked again), fail (refused), cancel."""
        data = request.data()
        return self.act(str(data.get("ref", "")), str(data.get("action", "")))

    def act(self, ref: str, action: str) -> Json:
        """Do what a click does; return {ref, status, redirect}. KeyError where nothing waits for a payer under `ref`."""
        setup = self._sim.vault.setup_token(ref)
        if setup is not None:
            return self._act_on_setup(setup, action)
        data = self._sim.books.find_order(ref)
        if action not in BUTTONS:
            raise ValueError(f"action is one of {', '.join(BUTTONS)}")
        if data["status"] not in ("CREATED", "PAYER_ACTION_REQUIRED") or self._sim.books.lapsed(data):
            raise ValueError("this order does not wait for a payer any more")
        if action == "cancel":
            return {"ref": data["id"], "status": data["status"], "redirect": _with(data["cancel_url"], token=data["id"])}
        fail = {"fail": REFUSED, "decline": ASK_AGAIN}.get(action, "")
        data = {**data, "status": "APPROVED", "approved_at": self._sim.clock.now(), "payer": EMAIL, "fail": fail}
        self._sim.books.put(ORDER, data, data["custom_id"] or data["id"])
        kept = self._sim.books.get(ORDER, data["id"]) or data
        shown = order(self._sim, kept)
        self._sim.notifications.notify(data["label"], "CHECKOUT.ORDER.APPROVED", "checkout-order", shown, "approve")
        back = _with(data["return_url"], token=data["id"], PayerID=str(PAYER["payer_id"]))
        return {"ref": data["id"], "status": "APPROVED", "redirect": back}

    def _act_on_setup(self, setup: Json, action: str) -> Json:
        if action not in SETUP_BUTTONS:
            raise ValueError(f"action is one of {', '.join(SETUP_BUTTONS)}")
        if action == "cancel":
            back = _with(setup["cancel_url"], approval_token_id=setup["id"])
            return {"ref": setup["id"], "status": setup["status"], "redirect": back}
        self._sim.vault.approve(setup, EMAIL)
        back = _with(setup["return_url"], approval_token_id=setup["id"])
        return {"ref": setup["id"], "status": "APPROVED", "redirect": back}

    def _page(self, token: str) -> SimReply:
        setup = self._sim.vault.setup_token(token)
        if setup is not None:
            name = self._sim.merchant(setup["label"]).name
            text = f"<p>Let <strong>{escape(name)}</strong> charge your PayPal account later.</p>"
            return SimReply.of_html(_html("Save your PayPal account", text + _form(token, SETUP_BUTTONS)))
        data = self._sim.books.get(ORDER, token)
        if data is None or data["status"] not in ("CREATED", "PAYER_ACTION_REQUIRED") or self._sim.books.lapsed(data):
            return SimReply.of_html(_html("Sorry", "<p>This payment can't be found. Return to the shop.</p>"), 404)
        money = amount(data["units"], data["currency"])
        text = (
            f"<p><strong>{escape(self._sim.merchant(data['label']).name)}</strong></p>"
            f"<p>{escape(data['description'] or 'Payment')}: <strong>{money['value']} {money['currency_code']}</strong></p>"
        )
        return SimReply.of_html(_html("Pay with PayPal", text + _form(token, BUTTONS)))


def _form(token: str, buttons: dict[str, str]) -> str:
    rows = "".join(f'<p><button name="action" value="{name}">{escape(text)}</button></p>' for name, text in buttons.items())
    return f'<form method="post"><input type="hidden" name="token" value="{escape(token, quote=True)}">{rows}</form>'


def _html(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,">'
        "<style>body{font:16px sans-serif;max-width:26rem;margin:3rem auto;padding:0 1rem}"
        "button{font:inherit;padding:.6rem 1rem}"
        f"</style></head><body><h1>{escape(title)}</h1><p>Simulated PayPal: no real money.</p>{body}</body></html>"
    )


def _with(url: str, **values: str) -> str:
    if not url:
        return ""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=urlencode([*parse_qsl(parts.query, keep_blank_values=True), *values.items()])))
