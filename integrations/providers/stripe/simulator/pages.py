"""What the payer's browser loads: the bank's page of 3-D Secure, and a script in the place of Stripe.js."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from integrations.providers.stripe.simulator.cards import CARDS
from integrations.simulators import Part, SimReply, SimRequest, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.stripe.simulator.fake import StripeSimulator

SCRIPT = Path(__file__).with_name("stripe.js")
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>3-D Secure (simulated)</title></head><body>
<h1>Confirm with your bank</h1><p>{what}</p>
<form method="post"><button name="action" value="approve">Complete authentication</button>
<button name="action" value="fail">Fail authentication</button></form></body></html>"""


class Pages(Part):
    """No key is needed for these: the address is what the payer was given."""

    def __init__(self, sim: StripeSimulator) -> None:
        self._sim = sim

    @route("GET", "/js/v3/", operation="script")
    def script(self, request: SimRequest) -> SimReply:
        """The script of our own: offers the test cards, confirms with publishable key and client secret."""
        cards = [{"token": card.alias, "text": f"{card.brand} {card.last4}: {card.effect}"} for card in CARDS.values()]
        text = SCRIPT.read_text("utf-8").replace("__CARDS__", json.dumps(cards)).replace("__API__", json.dumps(self._sim.url))
        return SimReply(200, text.encode(), {"Content-Type": "text/javascript; charset=utf-8", "Cache-Control": "no-store"})

    @route("GET", "/authenticate/<id>", operation="page")
    def page(self, request: SimRequest) -> SimReply:
        thing = self._thing(request.params["id"])
        if thing is None:
            return SimReply.of_html("<!doctype html><title>Gone</title><p>There is no such payment.</p>", 404)
        if thing["status"] != "requires_action":
            return SimReply.of_html(f"<!doctype html><title>Done</title><p>Nothing to confirm: {escape(thing['status'])}.</p>")
        what = f"{thing['amount']} {thing['currency'].upper()} (smallest units)" if "amount" in thing else "Store this card"
        return SimReply.of_html(PAGE.format(what=escape(what)))

    @route("POST", "/authenticate/<id>", operation="page")
    def answer(self, request: SimRequest) -> SimReply:
        """The payer clicks; the browser goes back to where the payment was confirmed from."""
        thing = self._thing(request.params["id"])
        action = request.form().get("action", "")
        if thing is None or action not in ("approve", "fail") or thing["status"] != "requires_action":
            return SimReply.of_html("<!doctype html><title>Gone</title><p>Nothing waits here.</p>", 400)
        back = self.decide(thing, passed=action == "approve")
        return SimReply.redirect(back) if back else SimReply.of_html("<!doctype html><title>Done</title><p>Done.</p>")

    def decide(self, thing: Json, *, passed: bool) -> str:
        """Settle an authentication; return where the browser goes, with what Stripe adds to that address ('' for nowhere).

        The client secret is among it, as with Stripe: whoever receives it must not log it.
        """
        back = ((thing["next_action"] or {}).get("redirect_to_url") or {}).get("return_url") or ""
        kind = thing["object"]
        (self._sim.intents if kind == "payment_intent" else self._sim.setups).authenticated(thing, passed=passed)
        if not back:
            return ""
        added = {kind: thing["id"], f"{kind}_client_secret": thing["client_secret"]}
        added["redirect_status"] = "succeeded" if passed else "failed"
        return f"{back}{'&' if urlsplit(back).query else '?'}{urlencode(added)}"

    def _thing(self, ref: str) -> Json | None:
        kind = "setup_intent" if ref.startswith("seti_") else "payment_intent"
        return self._sim.store.get(self._sim.slug, kind, ref)
