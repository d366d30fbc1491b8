"""A fake of Africa's Talking's SMS API: classic and bulk send, balance, inbox poll, delivery reports.

Magic numbers (own convention): the last three digits of the recipient choose the outcome; see `MAGIC`. Money is kept in
ten-thousandths of a shilling. In reality the delivery report URL is set in the dashboard; here by
`PUT /control/<slug>/accounts/<username> {"dlr_url": "http://..."}`.
"""

from __future__ import annotations

import re
import secrets
import uuid
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from xml.sax.saxutils import escape

from integrations.simulators import DemoAccount, Magic, Refusal, SimReply, SimRequest, Simulator, control, derived, route
from integrations.simulators.wire import Json

SETUP, WALLET, MESSAGE = "setup", "wallet", "message"
URLS = ("dlr_url", "inbox_url", "optout_url")
UNIT = 10_000
OPENING = 1785 * UNIT + 5_000
COST_PER_PART = 8_000
DEFAULT_SENDER = "AFRICASTKNG"
ACCOUNTS = (("school", "demoschool", "DEMOSCHOOL"), ("studio", "demostudio", "DEMOSTUDIO"))
REFUSALS = {
    "401": "RiskHold",
    "402": "InvalidSenderId",
    "403": "InvalidPhoneNumber",
    "404": "UnsupportedNumberType",
    "405": "InsufficientBalance",
    "406": "UserInBlacklist",
    "407": "CouldNotRoute",
    "409": "DoNotDisturbRejection",
    "500": "InternalServerError",
    "501": "GatewayError",
    "502": "RejectedByGateway",
}
ABSENT, UNKNOWN_USER, NO_REPORT, TWICE, EARLY = "900", "901", "902", "903", "904"
NETWORKS = (
    (r"\+2547[358][0-9]{7}|\+25410[0-2][0-9]{6}", "63903"),
    (r"\+25477[0-9]{7}", "63907"),
    (r"\+254[17][0-9]{8}", "63902"),
    (r"\+234[0-9]{10}", "62130"),
    (r"\+256[0-9]{9}", "64110"),
)
GSM = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_DOUBLE = set("^{}\\[~]|€\f")
MAGIC = (
    *(Magic(f"number …{code}", f"refused: statusCode {code} {status}") for code, status in REFUSALS.items()),
    Magic(f"number …{ABSENT}", "accepted, then AbsentSubscriber"),
    Magic(f"number …{UNKNOWN_USER}", "accepted, then Failed with UserDoesNotExist"),
    Magic(f"number …{NO_REPORT}", "accepted and delivered, no delivery report"),
    Magic(f"number …{TWICE}", "accepted; Sent, then Success twice"),
    Magic(f"number …{EARLY}", "the report Success is answered before the send's response goes out"),
    Magic("any other number", "accepted; Sent after dlr_delay (0.5 s), Success after twice that"),
)


class AfricasTalkingSimulator(Simulator):
    """Two accounts; a username other than an account's own, or a wrong key, is a 401 in plain text."""

    slug = "africastalking"
    title = "Africa's Talking"
    secret_headers = Simulator.secret_headers | {"apikey"}
    settings = {"dlr_delay": 0.5}
    magic = MAGIC

    @classmethod
    def demo_accounts(cls, state_dir: Path) -> list[DemoAccount]:
        return [
            DemoAccount(
                label,
                {"username": username, "sender_id": sender},
                {"api_key": "atsk_" + derived(state_dir, f"africastalking {label} key", 64)},
            )
            for label, username, sender in ACCOUNTS
        ]

    def error_reply(self, status: int) -> SimReply:
        texts = {404: "The requested resource could not be found.", 405: "HTTP method not allowed"}
        return SimReply.of_text(texts.get(status, "Too many requests" if status == 429 else "Internal server error"), status)

    # --- the API

    @route("POST", "/version1/messaging", operation="sms_send")
    def send(self, request: SimRequest) -> SimReply:
        """Classic send, form-encoded; `to` is a comma-separated list."""
        if request.content_type != "application/x-www-form-urlencoded":
            raise _bad("The request's Content-Type is not supported. Expected: application/x-www-form-urlencoded", 415)
        form = request.form()
        account = self._account(request, form.get("username", ""))
        numbers = [each.strip() for each in form.get("to", "").split(",") if each.strip()]
        enqueue = form.get("enqueue", "0") == "1"
        return self._send(request, account, numbers, form.get("message", ""), form.get("from", ""), enqueue=enqueue)

    @route("POST", "/version1/messaging/bulk", operation="sms_send_bulk")
    def send_bulk(self, request: SimRequest) -> SimReply:
        """Newer bulk send, JSON."""
        try:
            data = request.json()
        except ValueError:
            raise _bad("The request content was malformed") from None
        account = self._account(request, str(data.get("username", "")))
        numbers = data.get("phoneNumbers")
        if not isinstance(numbers, list) or not all(isinstance(each, str) for each in numbers):
            raise _bad("phoneNumbers must be a list of strings")
        message, sender = str(data.get("message") or ""), str(data.get("senderId") or "")
        return self._send(request, account, numbers, message, sender, enqueue=data.get("enqueue") is True)

    @route("GET", "/version1/messaging", operation="sms_inbox")
    def poll(self, request: SimRequest) -> SimReply:
        """Incoming messages; nobody sends any here, so always an empty list."""
        self._account(request, request.query.get("username", ""))
        return _answer(request, {"SMSMessageData": {"Messages": []}}, 200)

    @route("GET", "/version1/user", operation="balance")
    def user(self, request: SimRequest) -> SimReply:
        account = self._account(request, request.query.get("username", ""))
        left = self._wallet(account)
        balance = f"KES {left // UNIT}.{left % UNIT // 100:02d}"
        return _answer(request, {"UserData": {"balance": balance}}, 200)

    # --- control

    @control("PUT", "/accounts/<username>")
    def change_account(self, request: SimRequest) -> Json:
        """Set `dlr_url`, `inbox_url`, `optout_url` ('' for none) or `balance` (shillings as text)."""
        account = self._named(request.params["username"])
        for name, value in request.data().items():
            if name in URLS:
                if value and (not isinstance(value, str) or urlsplit(value).scheme not in ("http", "https")):
                    raise ValueError(f"{name} is an http(s) URL")
                known = self.store.get(self.slug, SETUP, account.label) or {}
                self.store.put(self.slug, SETUP, account.label, {**known, name: value or ""})
            elif name == "balance":
                self.store.put(self.slug, WALLET, account.label, {"left": _units(value)})
            else:
                raise ValueError(f"unknown: {name}; one of {', '.join(URLS)}, balance")
        return self._account_state(account)

    @control("POST", "/incoming")
    def incoming(self, request: SimRequest) -> Json:
        """Have a phone write to an account: `username`, `from`, `text`, and `to` (a shortcode)."""
        data = request.data()
        fields = {
            "date": datetime.fromtimestamp(self.clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "from": str(data["from"]),
            "id": str(uuid.uuid4()),
            "text": str(data["text"]),
            "to": str(data.get("to") or "20880"),
            "networkCode": "63902",
        }
        self._post_to(str(data["username"]), "inbox_url", fields)
        return fields

    @control("POST", "/optout")
    def opt_out(self, request: SimRequest) -> Json:
        """Have the owner of `number` opt out of the bulk texts of account `username`."""
        data = request.data()
        account = self._named(str(data["username"]))
        fields = {"senderId": str(account.values["sender_id"]), "phoneNumber": str(data["number"])}
        self._post_to(str(data["username"]), "optout_url", fields)
        return fields

    def state(self) -> Json:
        return {
            "accounts": [self._account_state(each) for each in self.accounts],
            "messages": [found.data for found in self.store.find(self.slug, MESSAGE)],
            "settings": self.all_settings(),
        }

    # --- inside

    def _named(self, username: str) -> DemoAccount:
        account = next((each for each in self.accounts if each.values["username"] == username), None)
        if account is None:
            raise KeyError(username)
        return account

    def _post_to(self, username: str, name: str, fields: dict[str, str]) -> None:
        url = (self.store.get(self.slug, SETUP, self._named(username).label) or {}).get(name, "")
        if not url:
            raise ValueError(f"the account has no {name}")
        self._report((name.removesuffix("_url"),), url, fields, 0.0)

    def _account(self, request: SimRequest, username: str) -> DemoAccount:
        for account in self.accounts:
            own = account.values["username"], account.secrets["api_key"]
            if own == (username, request.headers.get("apiKey", "")):
                return account
        raise Refusal(SimReply.of_text("The supplied authentication is invalid", 401))

    def _send(
        self, request: SimRequest, account: DemoAccount, numbers: list[str], message: str, sender: str, *, enqueue: bool
    ) -> SimReply:
        if not numbers:
            raise _bad("Request is missing required form field 'to'")
        if not message:
            raise _bad("Request is missing required form field 'message'")
        if sender and sender != account.values["sender_id"]:
            return _answer(request, {"SMSMessageData": {"Message": "InvalidSenderId", "Recipients": []}}, 201)
        recipients = [
            self._recipient(request, account, number, message, sender or DEFAULT_SENDER, enqueue=enqueue) for number in numbers
        ]
        accepted = [each for each in recipients if each["status"] == "Success"]
        total = COST_PER_PART * parts(message) * len(accepted)
        text = f"Sent to {len(accepted)}/{len(recipients)} Total Cost: {_cost(total)}"
        return _answer(request, {"SMSMessageData": {"Message": text, "Recipients": recipients}}, 201)

    def _recipient(
        self, request: SimRequest, account: DemoAccount, number: str, text: str, sender: str, *, enqueue: bool
    ) -> Json:
        tail, cost = number[-3:], COST_PER_PART * parts(text)
        code = "" if tail not in REFUSALS else tail
        if not re.fullmatch(r"\+[1-9]\d{7,14}", number):
            code = "403"
        elif not code and self._wallet(account) < cost:
            code = "405"
        if code:
            return {"statusCode": int(code), "number": number, "status": REFUSALS[code], "cost": "0", "messageId": "None"}
        self.store.put(self.slug, WALLET, account.label, {"left": self._wallet(account) - cost})
        message_id = f"ATXid_{secrets.token_hex(16)}"
        data = {
            "id": message_id, "account": account.label, "number": number, "sender": sender, "text": text,
            "parts": parts(text), "at": self.clock.now(),
        }  # fmt: skip
        self.store.put(self.slug, MESSAGE, message_id, data, ref=number)
        if tail not in (ABSENT, UNKNOWN_USER):
            self.to_phone(number, sender, text, message_id)
        self._plan_reports(request, account, number, message_id)
        status_code = 102 if enqueue else 101
        return {"statusCode": status_code, "number": number, "status": "Success", "cost": _cost(cost), "messageId": message_id}

    def _plan_reports(self, request: SimRequest, account: DemoAccount, number: str, message_id: str) -> None:
        url = (self.store.get(self.slug, SETUP, account.label) or {}).get("dlr_url", "")
        tail, delay = number[-3:], float(self.setting("dlr_delay"))
        operations = ("delivery_report", request.operation)
        if not url or tail == NO_REPORT:
            return
        if tail == EARLY or self.take_fault(operations, "early_callback"):
            self._report(operations, url, report(message_id, number, "Success"), 0.0, early=request)
        elif tail == ABSENT:
            self._report(operations, url, report(message_id, number, "AbsentSubscriber"), delay)
        elif tail == UNKNOWN_USER:
            self._report(operations, url, report(message_id, number, "Failed", "UserDoesNotExist"), delay)
        else:
            self._report(operations, url, report(message_id, number, "Sent"), delay)
            self._report(operations, url, report(message_id, number, "Success"), 2 * delay, copies=2 if tail == TWICE else 1)

    def _report(
        self,
        operations: tuple[str, ...],
        url: str,
        fields: dict[str, str],
        delay: float,
        *,
        early: SimRequest | None = None,
        copies: int = 1,
    ) -> None:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        self.callback(operations, url, urlencode(fields), headers, delay=delay, early=early, copies=copies)

    def _wallet(self, account: DemoAccount) -> int:
        return int((self.store.get(self.slug, WALLET, account.label) or {"left": OPENING})["left"])

    def _account_state(self, account: DemoAccount) -> Json:
        return {
            "label": account.label,
            "username": account.values["username"],
            "sender_id": account.values["sender_id"],
            "balance": _cost(self._wallet(account)),
            **{name: (self.store.get(self.slug, SETUP, account.label) or {}).get(name, "") for name in URLS},
        }


def report(message_id: str, number: str, status: str, reason: str = "") -> dict[str, str]:
    """Return a delivery report's form fields; `failureReason` is there only with a reason."""
    network = next((code for pattern, code in NETWORKS if re.fullmatch(pattern, number)), "99999")
    fields = {"id": message_id, "status": status, "phoneNumber": number, "networkCode": network}
    if reason:
        fields["failureReason"] = reason
    return {**fields, "retryCount": "0"}


def parts(text: str) -> int:
    """Return how many SMS a text takes: GSM-7 160 or 153 each, else UCS-2 70 or 67 each."""
    if all(char in GSM or char in GSM_DOUBLE for char in text):
        length, single, each = sum(2 if char in GSM_DOUBLE else 1 for char in text), 160, 153
    else:
        length, single, each = len(text.encode("utf-16-be")) // 2, 70, 67
    return 1 if length <= single else -(-length // each)


def to_xml(value: Any, name: str = "AfricasTalkingResponse") -> str:
    """Return the XML that the API sends to whoever did not ask for JSON."""
    if isinstance(value, dict):
        inner = "".join(to_xml(item, key) for key, item in value.items())
    elif isinstance(value, list):
        inner = "".join(to_xml(item, name.removesuffix("s")) for item in value)
    else:
        inner = escape(str(value))
    return f"<{name}>{inner}</{name}>"


def _answer(request: SimRequest, value: Json, status: int) -> SimReply:
    if "json" in request.headers.get("Accept", "").lower():
        return SimReply.of_json(value, status, "application/json; charset=utf-8")
    return SimReply(status, to_xml(value).encode(), {"Content-Type": "application/xml; charset=utf-8"})


def _bad(text: str, status: int = 400) -> Refusal:
    return Refusal(SimReply.of_text(text, status))


def _cost(units: int) -> str:
    return f"KES {units // UNIT}.{units % UNIT:04d}"


def _units(value: Any) -> int:
    try:
        amount = Decimal(str(value)) * UNIT
    except InvalidOperation:
        raise ValueError("balance is a number of shillings as text") from None
    if amount < 0 or amount != int(amount):
        raise ValueError("balance is not negative and has at most four decimals")
    return int(amount)
