"""The simulated Daraja: what its parts share (access, settings, control, phone). The API itself is in the parts."""

from __future__ import annotations

import base64
import binascii
import secrets
import string
from pathlib import Path

from integrations.providers.mpesa.simulator import accounts
from integrations.providers.mpesa.simulator.accounts import Organisation
from integrations.providers.mpesa.simulator.c2b import CustomerDesk
from integrations.providers.mpesa.simulator.envelope import error, local, refuse, reply
from integrations.providers.mpesa.simulator.initiator import InitiatorDesk
from integrations.providers.mpesa.simulator.ledger import Ledger, money
from integrations.providers.mpesa.simulator.magic import MAGIC
from integrations.providers.mpesa.simulator.stk import StkDesk
from integrations.simulators import (
    Clock,
    CustomerForm,
    DemoAccount,
    Notice,
    Part,
    Prompt,
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
TOKEN_LENGTH = 28
TOKEN_ERRORS = {
    "401.002.01": "Error Occurred - Invalid Access Token",
    "401.003.01": "Error Occurred - Invalid Access Token",
    "404.001.03": "Invalid Access Token",
    "400.003.01": "Invalid Access Token",
}
SWITCHES = {"validation_enabled": True, "credential_locked": False}
BALANCES = ("working", "utility", "charges")


class MpesaSimulator(Simulator):
    """Daraja with two organisations (a paybill, a till). Callbacks come once, after `callback_delay` or `result_delay`."""

    slug = "mpesa"
    title = "M-Pesa"
    secret_fields = frozenset({"Password", "SecurityCredential"})
    settings = {
        "stk_timeout": 60.0,
        "auto_delay": 1.0,
        "callback_delay": 0.3,
        "late_delay": 10.0,
        "result_delay": 0.5,
        "validation_timeout": 8.0,
        "token_lifetime": 3599,
        "token_error": "404.001.03",
        "register_once": False,
    }
    extra_faults = {"queue_timeout": "initiator APIs: done, but the timeout URL is called instead of the result URL"}
    magic = MAGIC

    def __init__(self, store: Store, clock: Clock, scheduler: Scheduler, public_url: str) -> None:
        self.organisations = accounts.organisations(store.state_dir)
        self.ledger = Ledger(self.slug, store, clock)
        self.customers = CustomerDesk(self)
        self.stk = StkDesk(self)
        self.initiator = InitiatorDesk(self)
        super().__init__(store, clock, scheduler, public_url)

    @classmethod
    def demo_accounts(cls, state_dir: Path) -> list[DemoAccount]:
        return accounts.demo_accounts(state_dir)

    def parts(self) -> list[Part]:
        return [self.stk, self.customers, self.initiator]

    def error_reply(self, status: int) -> SimReply:
        match status:
            case 404:
                return error("404.001.01", "Resource not found")
            case 405:
                return error("405.001", "Method Not Allowed")
            case 429:
                # Quota violations are documented with HTTP 500; a gateway in between may answer 429.
                answer = error("500.003.03", "Error Occurred: Quota Violation")
                answer.status = 429
                return answer
            case _:
                return error("500.003.1001", "Internal Server Error")

    # --- access

    @route("GET", "/oauth/v1/generate", operation="oauth")
    def generate_token(self, request: SimRequest) -> SimReply:
        """A token of 28 characters; `expires_in` is a string, as mostly reported."""
        organisation = self._by_basic(request.headers.get("Authorization", ""))
        if organisation is None:
            refuse("400.008.01", "Invalid Authentication passed")
        if request.query.get("grant_type") != "client_credentials":
            refuse("400.008.02", "Invalid grant type passed")
        token = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(TOKEN_LENGTH))
        lifetime = int(self.setting("token_lifetime"))
        data = {"label": organisation.label, "expires_at": self.clock.now() + lifetime}
        self.store.put(self.slug, ACCESS, token, data)
        return reply({"access_token": token, "expires_in": str(lifetime)})

    def authorised(self, request: SimRequest) -> Organisation:
        """Return whose token the request carries; refuses a missing, unknown, expired or revoked one."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer":
            refuse("404.001.04", "Invalid Authentication Header")
        data = self.store.get(self.slug, ACCESS, token.strip())
        if data is None or data["expires_at"] <= self.clock.now():
            code = str(self.setting("token_error"))
            code = code if code in TOKEN_ERRORS else "404.001.03"
            refuse(code, TOKEN_ERRORS[code])
        return next(each for each in self.organisations if each.label == data["label"])

    def organisation(self, code: str) -> Organisation | None:
        """Return the organisation with this short code, till or store number."""
        return next((each for each in self.organisations if code in each.codes), None)

    def switch(self, organisation: Organisation, name: str) -> bool:
        """Return an account switch (`validation_enabled`, `credential_locked`)."""
        return bool((self.store.get(self.slug, "setup", organisation.shortcode) or SWITCHES).get(name, SWITCHES[name]))

    def _by_basic(self, header: str) -> Organisation | None:
        scheme, _, text = header.partition(" ")
        try:
            key, _, secret = base64.b64decode(text, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
        if scheme != "Basic":
            return None
        return next((each for each in self.organisations if (each.consumer_key, each.consumer_secret) == (key, secret)), None)

    # --- control

    @control("POST", "/tokens/revoke")
    def revoke_tokens(self, request: SimRequest) -> Json:
        """Every token issued so far is refused from now on."""
        return {"revoked": self.store.delete(self.slug, ACCESS)}

    @control("PUT", "/accounts/<code>")
    def change_account(self, request: SimRequest) -> Json:
        """Set `validation_enabled`, `credential_locked` (bool), or a balance `working`/`utility`/`charges` in cents (int)."""
        organisation = self.organisation(request.params["code"])
        if organisation is None:
            raise KeyError(request.params["code"])
        switches = dict(self.store.get(self.slug, "setup", organisation.shortcode) or SWITCHES)
        for name, value in request.data().items():
            if name in SWITCHES and isinstance(value, bool):
                switches[name] = value
            elif name in BALANCES and isinstance(value, int):
                self.ledger.set_balance(organisation, name, value)
            else:
                raise ValueError(f"{name!r}: a switch {sorted(SWITCHES)} (bool) or a balance {BALANCES} in cents")
        self.store.put(self.slug, "setup", organisation.shortcode, switches)
        return self._account_state(organisation)

    def state(self) -> Json:
        return {
            "accounts": [self._account_state(each) for each in self.organisations],
            "pushes": self.stk.pushes(),
            "transactions": self.ledger.transactions(),
            "settings": self.all_settings(),
        }

    def _account_state(self, organisation: Organisation) -> Json:
        balances = {name: money(cents) for name, cents in self.ledger.balances(organisation).items()}
        return {
            "label": organisation.label,
            "name": organisation.name,
            "product": organisation.product,
            "shortcode": organisation.shortcode,
            "store_number": organisation.store_number,
            "balances": balances,
            "urls": self.customers.registration(organisation),
            **{name: self.switch(organisation, name) for name in SWITCHES},
        }

    # --- the phone

    def prompts(self, number: str = "") -> list[Prompt]:
        return self.stk.prompts(number)

    def answer_prompt(self, prompt_id: str, action: str, pin: str) -> Json:
        return self.stk.answer(prompt_id, action, pin)

    def notices(self, number: str) -> list[Notice]:
        return [Notice(number, "MPESA", self._notice(entry), entry["at"]) for entry in self.ledger.transactions(number)]

    def phone_numbers(self) -> list[str]:
        return list(dict.fromkeys([*self.stk.numbers(), *self.store.refs(self.slug, "transaction")]))

    def customer_forms(self) -> list[CustomerForm]:
        return self.customers.forms()

    def submit_form(self, name: str, data: Json) -> Json:
        if name != "c2b":
            raise KeyError(name)
        return self.customers.submit(data)

    def _notice(self, entry: Json) -> str:
        organisation = self.organisation(entry["shortcode"])
        name = organisation.name if organisation else entry["shortcode"]
        day = local(entry["at"])
        when = f"on {day.day}/{day.month}/{day:%y} at {day:%I:%M %p}"
        amount = f"Ksh{entry['amount']:,}.00"
        match entry["kind"]:
            case "b2c":
                return f"{entry['receipt']} Confirmed. You have received {amount} from {name} {when}."
            case "reversal":
                return f"{entry['receipt']} Confirmed. {amount} paid to {name} was reversed to your account {when}."
            case _:
                account = f" for account {entry['account']}" if entry["account"] else ""
                return f"{entry['receipt']} Confirmed. {amount} sent to {name}{account} {when}."
