"""The simulated Pesapal: what its parts share (access, settings, accounts). The API itself is in the parts."""

from __future__ import annotations

import hmac
from pathlib import Path

from integrations.providers.pesapal.simulator import accounts
from integrations.providers.pesapal.simulator.accounts import Merchant
from integrations.providers.pesapal.simulator.envelope import error_of, new_token, refuse, reply, utc_time
from integrations.providers.pesapal.simulator.ipn import IpnDesk
from integrations.providers.pesapal.simulator.magic import MAGIC
from integrations.providers.pesapal.simulator.orders import OrderDesk
from integrations.providers.pesapal.simulator.payer import PayerDesk
from integrations.providers.pesapal.simulator.refunds import RefundDesk
from integrations.providers.pesapal.simulator.rules import Fields
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


class PesapalSimulator(Simulator):
    """Pesapal with two merchants. An IPN comes `ipn_delay` after the change, `ipn_tries` times until it is acknowledged."""

    slug = "pesapal"
    title = "Pesapal"
    secret_fields = frozenset({"consumer_key", "consumer_secret"})
    settings = {
        "auto_delay": 1.0,
        "ipn_delay": 0.3,
        "ipn_retry_delay": 2.0,
        "ipn_tries": 3,
        "token_lifetime": 300,
        "amount_ceiling": 1_000_000_000,
    }
    magic = MAGIC

    def __init__(self, store: Store, clock: Clock, scheduler: Scheduler, public_url: str) -> None:
        self.merchants = accounts.merchants(store.state_dir)
        self.orders = OrderDesk(self)
        self.ipns = IpnDesk(self)
        self.payer = PayerDesk(self)
        self.refunds = RefundDesk(self)
        super().__init__(store, clock, scheduler, public_url)

    @classmethod
    def demo_accounts(cls, state_dir: Path) -> list[DemoAccount]:
        return accounts.demo_accounts(state_dir)

    def parts(self) -> list[Part]:
        return [self.orders, self.ipns, self.payer, self.refunds]

    def error_reply(self, status: int) -> SimReply:
        """ASP.NET's own short form: no Pesapal error code."""
        texts = {404: "No HTTP resource was found.", 405: "The requested resource does not support this method."}
        return reply({"message": texts.get(status, "An error has occurred.")}, status)

    # --- access

    @route("POST", "/api/Auth/RequestToken", operation="token")
    def request_token(self, request: SimRequest) -> SimReply:
        """A token; wrong keys are HTTP 200 with an error object."""
        fields = Fields.of(request)
        key, secret = fields.text("consumer_key"), fields.text("consumer_secret")
        merchant = next((each for each in self.merchants if hmac.compare_digest(each.consumer_key, key)), None)
        if merchant is None or not hmac.compare_digest(merchant.consumer_secret, secret):
            refuse(
                "invalid_consumer_key_or_secret_provided",
                members={"token": None, "expiryDate": None, "message": None},
            )
        token, expiry = new_token(), self.clock.now() + self.setting("token_lifetime")
        self.store.put(self.slug, ACCESS, token, {"label": merchant.label, "expires_at": expiry})
        return reply(
            {
                "token": token,
                "expiryDate": utc_time(expiry),
                "error": None,
                "status": "200",
                "message": "Request processed successfully",
            }
        )

    def authorised(self, request: SimRequest) -> Merchant:
        """Return whose token the request carries; refuses a missing, unknown, expired or revoked one with HTTP 401."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        data = self.store.get(self.slug, ACCESS, token.strip()) if scheme == "Bearer" else None
        if data is None or data["expires_at"] <= self.clock.now():
            raise Refusal(reply({"error": error_of("invalid_token", "Unauthorized"), "status": "401"}, 401))
        return self.merchant(data["label"])

    def merchant(self, label: str) -> Merchant:
        """Return a merchant by label; KeyError if there is none."""
        for each in self.merchants:
            if each.label == label:
                return each
        raise KeyError(label)

    # --- control

    @control("POST", "/tokens/revoke")
    def revoke_tokens(self, request: SimRequest) -> Json:
        """Every token issued so far is refused from now on."""
        return {"revoked": self.store.delete(self.slug, ACCESS)}

    @control("PUT", "/accounts/<name>")
    def change_account(self, request: SimRequest) -> Json:
        """Set `webhook_url` (where the account's own ipn_id points; '' for nowhere) and `webhook_method` (GET or POST)."""
        merchant = self.merchant(request.params["name"])
        self.ipns.set_own(merchant, request.data())
        return self._account_state(merchant)

    def state(self) -> Json:
        return {
            "accounts": [self._account_state(each) for each in self.merchants],
            "orders": [self.orders.shown(order) for order in self.orders.all()[:200]],
            "settings": self.all_settings(),
        }

    def _account_state(self, merchant: Merchant) -> Json:
        addresses = [{name: entry[name] for name in ("ipn_id", "url", "kind")} for entry in self.ipns.entries(merchant)]
        return {"label": merchant.label, "name": merchant.name, "country": merchant.country, "ipns": addresses}
