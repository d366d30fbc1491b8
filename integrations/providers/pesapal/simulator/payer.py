"""The payment page, and the control that does what a click there does."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from integrations.providers.pesapal.simulator.orders import CARD, COMPLETED, DIGITS, METHODS, PAGE, REVERSED
from integrations.simulators import Part, SimReply, SimRequest, control, route
from integrations.simulators.pages.html import page
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.pesapal.simulator.fake import PesapalSimulator

BUTTONS = (
    ("mpesa", "Pay by M-Pesa"),
    ("card", "Pay by card"),
    ("fail", "Let the payment fail"),
    ("cancel", "Cancel and go back"),
)


class PayerDesk(Part):
    """Everything the payer sees. After a click the browser goes back to the shop, with no status in the address."""

    def __init__(self, sim: PesapalSimulator) -> None:
        self._sim = sim

    @route("GET", PAGE, operation="page")
    def show(self, request: SimRequest) -> SimReply:
        """The page of an order: four buttons while it can be paid, else a sentence."""
        order = self._sim.orders.get(request.query.get("OrderTrackingId", ""))
        if order is None:
            return SimReply.of_html(_frame("Pesapal", "<p>This order does not exist.</p>"), 404)
        return SimReply.of_html(self._html(order))

    @route("POST", PAGE, operation="page")
    def click(self, request: SimRequest) -> SimReply:
        """A click on the page; then the browser is sent back."""
        order = self._sim.orders.get(request.query.get("OrderTrackingId", ""))
        choice = request.form().get("choice", "")
        if order is None or choice not in dict(BUTTONS):
            return SimReply.of_html(_frame("Pesapal", "<p>This order does not exist.</p>"), 404)
        try:
            return SimReply.redirect(self._do(order, choice, "page"))
        except ValueError as error:
            return SimReply.of_html(_frame("Pesapal", f"<p>{escape(str(error))}</p>"), 409)

    @control("POST", "/payer")
    def act(self, request: SimRequest) -> Json:
        """Do what a click does: `approve` (with `method` card, the default, or mpesa), `fail`, `cancel`."""
        data = request.data()
        order = self._sim.orders.by_ref(str(data.get("ref", "")))
        action, method = str(data.get("action", "")), str(data.get("method") or CARD)
        if method not in METHODS:
            raise ValueError(f"method is one of {', '.join(sorted(METHODS))}")
        if action not in ("approve", "fail", "cancel"):
            raise ValueError("action is one of approve, fail, cancel")
        redirect = self._do(order, method if action == "approve" else action, "payer")
        return {**self._sim.orders.shown(order), "redirect": redirect}

    def _do(self, order: Json, choice: str, cause: str) -> str:
        """Carry out a choice and return where the browser goes; ValueError where the page would refuse it."""
        orders = self._sim.orders
        if choice == "cancel":
            # Leaving the page changes nothing: the order stays open, as when the payer closes the browser.
            return orders.return_url(order, order["cancel_url"] or order["callback_url"])
        if choice == "fail":
            orders.fail(order, cause)
        else:
            orders.approve(order, choice, cause)
        return orders.return_url(order, order["callback_url"])

    def _html(self, order: Json) -> str:
        merchant = self._sim.merchant(order["merchant"])
        amount = f"{order['currency']} {order['minor'] / 10 ** DIGITS[order['currency']]:,.{DIGITS[order['currency']]}f}"
        head = f"<p>{escape(merchant.name)}: {escape(order['description'])}</p><p><b>{escape(amount)}</b></p>"
        if order["cancelled"]:
            return _frame("Pesapal", f"{head}<p>This order was cancelled and can't be paid.</p>")
        if order["status"] in (COMPLETED, REVERSED):
            return _frame("Pesapal", f"{head}<p>This order is paid. Confirmation code {escape(order['confirmation'])}.</p>")
        problem = f'<p role="alert">The last attempt failed: {escape(order["problem"])}</p>' if order["problem"] else ""
        target = f"/{self._sim.slug}{PAGE}?OrderTrackingId={quote(order['tracking'])}"
        buttons = "".join(f'<button name="choice" value="{value}">{escape(text)}</button> ' for value, text in BUTTONS)
        return _frame("Pesapal", f'{head}{problem}<form method="post" action="{escape(target)}">{buttons}</form>')


def _frame(title: str, body: str) -> str:
    return page(title, f'<header><h1>{escape(title)}</h1></header><main><div class="card">{body}</div></main>', "control.css")
