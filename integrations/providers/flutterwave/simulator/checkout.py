"""Hosted checkout (sheet sections 4 and 12): links, the page behind them, several tries under one tx_ref."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from integrations.providers.flutterwave.simulator import envelope, page
from integrations.providers.flutterwave.simulator.accounts import Merchant
from integrations.providers.flutterwave.simulator.envelope import CARD, M_PESA, refuse, success
from integrations.providers.flutterwave.simulator.ledger import FAILED, PENDING, SUCCESSFUL
from integrations.providers.flutterwave.simulator.magic import CARDS, DECLINED, GOOD_CARD, PAID
from integrations.simulators import Part, SimReply, SimRequest, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.flutterwave.simulator.fake import FlutterwaveSimulator

KNOWN = frozenset(
    {
        "tx_ref", "amount", "currency", "redirect_url", "customer", "payment_options", "session_duration", "max_retry_attempt",
        "customizations", "meta", "payload_hash",
    }
)  # fmt: skip
OPTIONS = frozenset(
    {
        CARD, M_PESA, "mobilemoneyghana", "mobilemoneyuganda", "mobilemoneyrwanda", "mobilemoneyzambia",
        "mobilemoneytanzania", "mobilemoneyfranco", "account", "banktransfer", "ussd",
    }
)  # fmt: skip
SESSION = "session"
LONGEST_MINUTES = 1440
PATH = "/v3/hosted/pay"


def payload_hash(amount: str, currency: str, email: str, tx_ref: str, secret_key: str) -> str:
    """Return the checksum of section 12: every part as it was sent, then the digest of the secret key."""
    key = hashlib.sha256(secret_key.encode()).hexdigest()
    return hashlib.sha256(f"{amount}{currency}{email}{tx_ref}{key}".encode()).hexdigest()


class Checkout(Part):
    """A session per link; what is paid there are transactions under its tx_ref."""

    def __init__(self, sim: FlutterwaveSimulator) -> None:
        self._sim = sim

    @route("POST", "/v3/payments", operation="authorize")
    def create(self, request: SimRequest) -> SimReply:
        """Make a link. The same tx_ref may be asked for again: another link to the same payment."""
        sim = self._sim
        merchant = sim.authorised(request)
        data = envelope.body(request, KNOWN)
        tx_ref = envelope.text(data, "tx_ref", most=100)
        currency = envelope.currency_of(data)
        minor = envelope.amount(data, currency, as_text=True)
        redirect = envelope.text(data, "redirect_url", most=2000)
        if urlsplit(redirect).scheme not in ("http", "https"):
            refuse("redirect_url must be a valid url")
        customer = data.get("customer")
        if not isinstance(customer, dict):
            refuse("customer is required")
        email = envelope.email(customer)
        options = [each.strip() for each in str(data.get("payment_options") or "card").split(",")]
        if not set(options) <= OPTIONS:
            refuse("payment_options is invalid")
        minutes = data.get("session_duration", LONGEST_MINUTES)
        if not isinstance(minutes, int) or not 0 < minutes <= LONGEST_MINUTES:
            refuse("session_duration is invalid")
        checksum = data.get("payload_hash")
        if checksum is not None:
            wanted = payload_hash(str(data["amount"]), currency, email, tx_ref, merchant.secret_key)
            if not hmac.compare_digest(str(checksum), wanted):
                refuse("payload_hash is invalid")
        now = sim.clock.now()
        session = {
            "token": secrets.token_hex(10), "account": merchant.label, "tx_ref": tx_ref, "amount": minor, "currency": currency,
            "redirect_url": redirect, "options": options, "customer": customer, "meta": envelope.meta(data),
            "title": (data.get("customizations") or {}).get("title", ""), "created_at": now, "expires_at": now + minutes * 60,
            "tries": data.get("max_retry_attempt"),
        }  # fmt: skip
        self._save(session)
        return success("Hosted Link", {"link": f"{sim.public_url}/{sim.slug}{PATH}/{session['token']}"})

    @route("GET", PATH + "/<token>", operation="page")
    def show(self, request: SimRequest) -> SimReply:
        """The page; a payer whose payment is through is sent back."""
        session = self._open(request)
        found = self.tries(session)
        paid = next((each for each in found if each["status"] == SUCCESSFUL), None)
        if paid:
            return SimReply.redirect(self._back(session, SUCCESSFUL, paid))
        return SimReply.of_html(self._page(session, found))

    @route("POST", PATH + "/<token>", operation="page")
    def submit(self, request: SimRequest) -> SimReply:
        """A button of the page was pressed."""
        session, form = self._open(request), request.form()
        action = form.get("action", "")
        if action == "phone":
            try:
                self.pay_by_phone(session, form.get("phone", ""))
            except ValueError as problem:
                return SimReply.of_html(page.checkout(session, self._merchant(session).name, problem=str(problem)), 400)
            return SimReply.redirect(f"{self._sim.public_url}/{self._sim.slug}{PATH}/{session['token']}")
        try:
            url = self.act(session, action, card=form.get("card", GOOD_CARD))
        except ValueError as problem:
            return SimReply.of_html(page.checkout(session, self._merchant(session).name, problem=str(problem)), 400)
        return SimReply.redirect(url)

    # --- what a payer does, from the page or by control

    def act(self, session: Json, action: str, *, card: str = GOOD_CARD, again: bool = False) -> str:
        """Pay by card (`approve`), `fail` a try or `cancel`; return where the browser goes. ValueError if that can't be.

        `again` pays a second time what is paid already (a second tab): another transaction under the same tx_ref.
        """
        if action == "cancel":
            return self._back(session, "cancelled", None)
        if action not in ("approve", "fail"):
            raise ValueError("action: approve, fail or cancel")
        self._check_open(session, again=again)
        if card not in CARDS:
            raise ValueError("this is no test card")
        chosen = CARDS[card]
        problem = DECLINED if action == "fail" else chosen.problem
        sim = self._sim
        made = sim.ledger.begin(
            self._merchant(session), tx_ref=session["tx_ref"], amount=session["amount"], currency=session["currency"],
            payment_type=CARD, auth_model="VBVSECURECODE", meta=session["meta"], customer=self._customer(session),
            card={"number": chosen.number, "brand": chosen.brand},
        )  # fmt: skip
        if problem:
            sim.ledger.fail(made, problem)
        else:
            sim.ledger.succeed(made, PAID)
        sim.hooks.charge(made)
        return self._back(session, made["status"], made)

    def pay_by_phone(self, session: Json, phone: str) -> Json:
        """Put an M-Pesa prompt on a phone; ValueError if the page has no M-Pesa or the number is none."""
        self._check_open(session, again=False)
        number = "".join(phone.split()).removeprefix("+")
        if M_PESA not in session["options"] or not number.isdigit():
            raise ValueError("M-Pesa needs a phone number and a payment in whole KES")
        customer = self._customer(session)
        return self._sim.charges.begin(
            self._merchant(session), session["tx_ref"], session["amount"], customer["email"], number, customer["name"],
            session["meta"],
        )  # fmt: skip

    def _check_open(self, session: Json, *, again: bool) -> None:
        found = self.tries(session)
        if self._expired(session):
            raise ValueError("this payment link has expired")
        if any(each["status"] == SUCCESSFUL for each in found) and not again:
            raise ValueError("this is paid already")
        failed = sum(each["status"] == FAILED for each in found)
        if session["tries"] is not None and failed >= int(session["tries"]):
            raise ValueError("no more tries")

    def tries(self, session: Json) -> list[Json]:
        """Return the transactions under this session's tx_ref, newest first."""
        return self._sim.ledger.transactions(self._merchant(session), session["tx_ref"])

    def sessions(self, tx_ref: str | None = None) -> list[Json]:
        """Return sessions, newest first."""
        return [each.data for each in self._sim.store.find(self._sim.slug, SESSION, tx_ref)]

    def expire(self, session: Json) -> None:
        """Time is up: the page takes no payment any more."""
        session["expires_at"] = self._sim.clock.now()
        self._save(session)

    def _page(self, session: Json, found: list[Json]) -> str:
        merchant = self._merchant(session).name
        if self._expired(session):
            return page.closed(merchant)
        newest = found[0] if found else None
        problem = newest["processor_response"] if newest and newest["status"] == FAILED else ""
        waiting = newest is not None and newest["status"] == PENDING
        return page.checkout(session, merchant, problem=problem, waiting=waiting)

    def _expired(self, session: Json) -> bool:
        return bool(session["expires_at"] <= self._sim.clock.now())

    def _open(self, request: SimRequest) -> Json:
        session = self._sim.store.get(self._sim.slug, SESSION, request.params["token"])
        return session if session else refuse("No payment link was found", 404)

    def _save(self, session: Json) -> None:
        self._sim.store.put(self._sim.slug, SESSION, session["token"], session, ref=session["tx_ref"])

    def _merchant(self, session: Json) -> Merchant:
        return self._sim.merchant(session["account"])

    def _customer(self, session: Json) -> Json:
        given = session["customer"]
        phone = given.get("phonenumber") or given.get("phone_number") or "N/A"
        return {"phone_number": phone, "name": given.get("name") or "Anonymous", "email": given["email"]}

    def _back(self, session: Json, status: str, transaction: Json | None) -> str:
        """Return the address that the browser goes back to; its values prove nothing."""
        query = {"status": status, "tx_ref": session["tx_ref"]}
        if transaction:
            query["transaction_id"] = str(transaction["id"])
        url = str(session["redirect_url"])
        return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(query)}"
