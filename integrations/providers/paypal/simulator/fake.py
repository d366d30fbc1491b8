"""The simulated PayPal: access, settings, control. The API itself is in the desks."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import secrets
from collections.abc import Callable
from pathlib import Path

from integrations.providers.paypal.simulator import accounts
from integrations.providers.paypal.simulator.accounts import Merchant
from integrations.providers.paypal.simulator.books import Books
from integrations.providers.paypal.simulator.dashboard import Dashboard
from integrations.providers.paypal.simulator.disputes import DisputeDesk
from integrations.providers.paypal.simulator.envelope import ERRORS, answer, error, refuse
from integrations.providers.paypal.simulator.magic import MAGIC
from integrations.providers.paypal.simulator.notifications import NotificationDesk
from integrations.providers.paypal.simulator.orders import OrderDesk
from integrations.providers.paypal.simulator.payer import PayerPages
from integrations.providers.paypal.simulator.payments import PaymentDesk
from integrations.providers.paypal.simulator.runner import Runner
from integrations.providers.paypal.simulator.vault import VaultDesk
from integrations.simulators import (
    Clock,
    DemoAccount,
    Part,
    Refusal,
    Scheduler,
    SimReply,
    SimRequest,
    Simulator,
    Store,
    control,
    route,
)
from integrations.simulators.wire import Json

ACCESS = "access"
REPLAY = "replay"
HOUR, DAY = 3600.0, 86_400.0
SWITCHES = {"vault": None, "disputes": True}
MOCK_STATUS = {"INTERNAL_SERVER_ERROR": 500, "INTERNAL_SERVICE_ERROR": 500, "SERVICE_UNAVAILABLE": 503}


class PaypalSimulator(Simulator):
    """PayPal with two merchants. Webhooks are signed with a certificate of the simulator's own authority."""

    slug = "paypal"
    title = "PayPal"
    secret_fields = frozenset({"access_token", "client_secret"})
    settings = {
        "approve_within": 3 * HOUR,
        "run_within": 3 * HOUR,
        "honour": 3 * DAY,
        "authorization_life": 29 * DAY,
        "refund_window": 180 * DAY,
        "late_capture_fails": True,
        "settle_delay": 1.0,
        "event_delay": 0.1,
        "retry_delay": 1.0,
        "tries": 8,
        "token_lifetime": 32_400,
    }
    magic = MAGIC

    def __init__(self, store: Store, clock: Clock, scheduler: Scheduler, public_url: str) -> None:
        self.merchants = accounts.merchants(store.state_dir)
        self.books = Books(self, store, clock)
        self.notifications = NotificationDesk(self)
        self.runner = Runner(self)
        self.orders = OrderDesk(self)
        self.payments = PaymentDesk(self)
        self.vault = VaultDesk(self)
        self.disputes = DisputeDesk(self)
        self.payer = PayerPages(self)
        self.dashboard = Dashboard(self)
        super().__init__(store, clock, scheduler, public_url)

    @classmethod
    def demo_accounts(cls, state_dir: Path) -> list[DemoAccount]:
        return accounts.demo_accounts(state_dir)

    def parts(self) -> list[Part]:
        return [
            self.notifications, self.runner, self.orders, self.payments, self.vault, self.disputes, self.payer, self.dashboard,
        ]  # fmt: skip

    @property
    def base(self) -> str:
        return f"{self.public_url}/{self.slug}"

    def error_reply(self, status: int) -> SimReply:
        return error(status if status in ERRORS else 404)

    # --- access

    @route("POST", "/v1/oauth2/token", operation="token")
    def token(self, request: SimRequest) -> SimReply:
        """A token for nine hours. A refusal here has another shape than everywhere else."""
        merchant = self._by_basic(request.headers.get("Authorization", ""))
        if merchant is None:
            body = {"error": "invalid_client", "error_description": "Client Authentication failed"}
            raise Refusal(SimReply.of_json(body, 401))
        if (
            request.content_type != "application/x-www-form-urlencoded"
            or request.form().get("grant_type") != "client_credentials"
        ):
            body = {"error": "unsupported_grant_type", "error_description": "Grant Type is NULL"}
            raise Refusal(SimReply.of_json(body, 400))
        lifetime = int(self.setting("token_lifetime"))
        value = "A21AA" + secrets.token_urlsafe(60)
        self.store.put(self.slug, ACCESS, value, {"label": merchant.label, "expires_at": self.clock.now() + lifetime})
        return answer(
            {
                "scope": "https://uri.paypal.com/services/payments/payment https://uri.paypal.com/services/checkout",
                "access_token": value,
                "token_type": "Bearer",
                "app_id": "APP-80W284485P519543T",
                "expires_in": lifetime,
                "nonce": f"2026-01-01T00:00:00Z{secrets.token_urlsafe(24)}",
            }
        )

    def authorised(self, request: SimRequest) -> Merchant:
        """Return whose token the request carries; refuse a missing, unknown or expired one. Then the mock header is obeyed."""
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        data = self.store.get(self.slug, ACCESS, value.strip()) if scheme == "Bearer" else None
        if data is None or data["expires_at"] <= self.clock.now():
            refuse(401)
        mocked = request.headers.get("PayPal-Mock-Response", "")
        if mocked:
            self._mocked(mocked)
        return self.merchant(data["label"])

    def merchant(self, label: str) -> Merchant:
        """Return the account with this label; KeyError if there is none."""
        found = next((each for each in self.merchants if each.label == label), None)
        if found is None:
            raise KeyError(label)
        return found

    def switch(self, merchant: Merchant, name: str) -> bool:
        """Return a permission of the account (`vault`, `disputes`)."""
        kept = (self.store.get(self.slug, "setup", merchant.label) or {}).get(name)
        if kept is not None:
            return bool(kept)
        return merchant.vault if name == "vault" else True

    def body(self, request: SimRequest) -> Json:
        """Return the JSON body; an empty one is {}."""
        if request.content_type != "application/json":
            refuse(415)
        try:
            return request.json() if request.body.strip() else {}
        except ValueError:
            refuse(400, "MALFORMED_REQUEST_JSON")

    def once(
        self,
        request: SimRequest,
        merchant: Merchant,
        life: float,
        act: Callable[[], str | SimReply],
        show: Callable[[str, bool], SimReply],
    ) -> SimReply:
        """Act once per `PayPal-Request-Id`: a repetition within `life` seconds shows the LATEST state of what the first made.

        `act` returns the object's id (or a no, which is not kept), `show(id, is_replay)` the answer. Without the header
        everything is executed again. The same id for another call is refused (project decision: PayPal documents neither).
        """
        key = request.headers.get("PayPal-Request-Id", "")
        if not key:
            made = act()
            return made if isinstance(made, SimReply) else show(made, False)
        if len(key) > 108:
            refuse(400, "INVALID_STRING_LENGTH")
        digest = hashlib.sha256(f"{request.method} {request.path}\n".encode() + request.body).hexdigest()
        kept = self.store.get(self.slug, REPLAY, f"{merchant.label} {key}")
        if kept is not None and kept["at"] + life > self.clock.now():
            if kept["digest"] != digest:
                refuse(422)
            return show(kept["object"], True)
        made = act()
        if isinstance(made, SimReply):
            return made
        self.store.put(self.slug, REPLAY, f"{merchant.label} {key}", {"digest": digest, "object": made, "at": self.clock.now()})
        return show(made, False)

    def _mocked(self, header: str) -> None:
        try:
            codes = json.loads(header)["mock_application_codes"]
            code = str(codes[0] if isinstance(codes, list) else codes)
        except (ValueError, KeyError, TypeError, IndexError):
            refuse(400, "INVALID_PARAMETER_VALUE")
        status = MOCK_STATUS.get(code)
        if status:
            refuse(status)
        refuse(422, code)

    def _by_basic(self, header: str) -> Merchant | None:
        scheme, _, text = header.partition(" ")
        try:
            name, _, secret = base64.b64decode(text, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
        if scheme != "Basic":
            return None
        return next((each for each in self.merchants if (each.client_id, each.client_secret) == (name, secret)), None)

    # --- control

    @control("POST", "/tokens/revoke")
    def revoke_tokens(self, request: SimRequest) -> Json:
        """Every token issued so far is refused from now on."""
        return {"revoked": self.store.delete(self.slug, ACCESS)}

    @control("PUT", "/accounts/<name>")
    def change_account(self, request: SimRequest) -> Json:
        """Set `webhook_url` of the account's first webhook (text), or a permission `vault`, `disputes` (bool)."""
        merchant = self.merchant(request.params["name"])
        kept = dict(self.store.get(self.slug, "setup", merchant.label) or {})
        for name, value in request.data().items():
            if name == "webhook_url" and isinstance(value, str):
                self.notifications.point(merchant, value)
            elif name in SWITCHES and isinstance(value, bool):
                kept[name] = value
            else:
                raise ValueError(f"{name!r}: webhook_url (text), or one of {sorted(SWITCHES)} (bool)")
        self.store.put(self.slug, "setup", merchant.label, kept)
        return self._account_state(merchant)

    def state(self) -> Json:
        return {
            "accounts": [self._account_state(each) for each in self.merchants],
            "orders": self.books.overview(),
            "settings": self.all_settings(),
        }

    def _account_state(self, merchant: Merchant) -> Json:
        return {
            "label": merchant.label,
            "name": merchant.name,
            "merchant_id": merchant.merchant_id,
            "client_id": merchant.client_id,
            "webhooks": [
                {"id": each["id"], "url": each["url"], "events": each["events"]}
                for each in self.notifications.webhooks(merchant)
            ],
            **{name: self.switch(merchant, name) for name in SWITCHES},
        }
