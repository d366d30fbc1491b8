"""What the payer's browser loads: the bank's page of 3-D Secure, and a script in the place of Stripe.js."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from integrations.providers.stripe.money import from_units
from integrations.providers.stripe.simulator.cards import CARDS
from integrations.simulators import Part, SimReply, SimRequest, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.stripe.simulator.fake import StripeSimulator

SCRIPT = Path(__file__).with_name("stripe.js")
FRAME = """<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><link rel="icon" href="data:,"><style>
body{{margin:0;padding:2rem 1rem;background:#f3f5f7;color:#16202b;font:16px/1.5 system-ui,sans-serif}}
main{{max-width:27rem;margin:0 auto;padding:1.75rem 1.5rem;background:#fff;border:1px solid #dbe0e6;border-radius:14px}}
h1{{margin:.25rem 0;font-size:1.35rem}}p{{margin:.5rem 0;color:#56606c}}
.amount{{color:#16202b;font-size:1.75rem;font-weight:700}}
button{{display:block;width:100%;margin-top:.75rem;padding:.85rem;border:1px solid #dbe0e6;border-radius:10px;background:#fff;
font:inherit;font-weight:600;cursor:pointer}}button.main{{border-color:#1b4d89;background:#1b4d89;color:#fff}}
</style></head><body><main><p>Simulated 3-D Secure: no real bank.</p>{body}</main></body></html>"""
FORM = """<h1>Confirm with your bank</h1><p class="amount">{what}</p><form method="post">
<button class="main" name="action" value="approve">Complete authentication</button>
<button name="action" value="fail">Fail authentication</button></form>"""


class Pages(Part):
    """No key is needed for these: the address is what the payer was given."""

    def __init__(self, sim: StripeSimulator) -> None:
        self._sim = sim

    @route("GET", "/js/v3/", operation="script")
    def script(self, request: SimRequest) -> SimReply:
        """The script of our own: offers the test cards, confirms with publishable key and client secret."""
        cards = [
            {"token": card.alias, "text": f"{card.brand.title()} •••• {card.last4}: {card.effect}"} for card in CARDS.values()
        ]
        text = SCRIPT.read_text("utf-8").replace("__CARDS__", json.dumps(cards)).replace("__API__", json.dumps(self._sim.url))
        return SimReply(200, text.encode(), {"Content-Type": "text/javascript; charset=utf-8", "Cache-Control": "no-store"})

    @route("OPTIONS", "/v1/<things>/<id>/confirm", operation="script")
    def preflight(self, request: SimRequest) -> SimReply:
        """The browser asks before it sends the header of a connected account to another site."""
        allowed = {
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": "authorization, content-type, idempotency-key, stripe-account, stripe-version",
        }
        return SimReply(204, b"", allowed)

    @route("GET", "/authenticate/<id>", operation="page")
    def page(self, request: SimRequest) -> SimReply:
        thing = self._thing(request.params["id"])
        if thing is None:
            return _html("Gone", "There is no such payment.", 404)
        if thing["status"] != "requires_action":
            return _html("Done", f"Nothing to confirm: {thing['status']}.")
        what = "Store this card"
        if "amount" in thing:
            what = str(from_units(thing["amount"], thing["currency"], str(self._sim.setting("ugx_decimals"))))
        return SimReply.of_html(FRAME.format(title="Confirm with your bank", body=FORM.format(what=escape(what))))

    @route("POST", "/authenticate/<id>", operation="page")
    def answer(self, request: SimRequest) -> SimReply:
        """The payer clicks; the browser goes back to where the payment was confirmed from."""
        thing = self._thing(request.params["id"])
        action = request.form().get("action", "")
        if thing is None or action not in ("approve", "fail") or thing["status"] != "requires_action":
            return _html("Gone", "Nothing waits here.", 400)
        back = self.decide(thing, passed=action == "approve")
        return SimReply.redirect(back) if back else _html("Done", "You may close this page.")

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


def _html(title: str, text: str, status: int = 200) -> SimReply:
    return SimReply.of_html(FRAME.format(title=escape(title), body=f"<h1>{escape(title)}</h1><p>{escape(text)}</p>"), status)
