"""The fake's API: send, list, fetch, cancel, balance, account; and the controls of a tester.

Replies and reports of messages without a `StatusCallback` go to `webhook_url`, which
`PUT /control/<slug>/accounts/<label> {"webhook_url": "http://..."}` sets (in reality: the number's and the service's settings).
"""

from __future__ import annotations

import base64
import binascii
import secrets
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from integrations.providers.twilio.simulator import rules
from integrations.providers.twilio.simulator.control import Controls
from integrations.providers.twilio.simulator.reports import MESSAGE, Reports
from integrations.simulators import CustomerForm, DemoAccount, FormField, Part, SimReply, SimRequest, Simulator, route

Json = dict[str, Any]
SETUP, WALLET, STOPPED, WINDOW, BUSY = "setup", "wallet", "stopped", "window", "busy"
OPENING = 123_400
COST_PER_PART = 79
"""Money is kept in ten-thousandths of a dollar."""

WINDOW_SECONDS = 24 * 3600


class TwilioSimulator(Simulator):
    """Two accounts; whoever shows neither an account's own token nor its API key gets 401 and 20003."""

    slug = "twilio"
    title = "Twilio"
    secret_fields = frozenset({"auth_token"})
    settings = {"report_delay": 0.5, "retry_delay": 1.0}
    magic = rules.MAGIC

    @classmethod
    def demo_accounts(cls, state_dir: Path) -> list[DemoAccount]:
        return rules.demo_accounts(state_dir)

    def parts(self) -> list[Part]:
        self.reports = Reports(self)
        self.controls_part = Controls(self, self.reports)
        return [self.reports, self.controls_part]

    def error_reply(self, status: int) -> SimReply:
        texts = {404: (20404, "The requested resource was not found"), 405: (20004, "Method not allowed")}
        texts |= {429: (20429, "Too Many Requests"), 500: (20500, "An internal server error has occurred")}
        code, text = texts.get(status, (20500, "An internal server error has occurred"))
        return rules.problem(code, status, text)

    # --- the API

    @route("POST", "/2010-04-01/Accounts/<account>/Messages.json", operation="send")
    def send(self, request: SimRequest) -> SimReply:
        account = self._caller(request)
        if request.content_type != "application/x-www-form-urlencoded":
            raise rules.refuse(20001, 415, "The request must be form-encoded")
        order = rules.read_order(request.form(), account)
        if order.to.endswith(rules.BUSY) and self._is_turned_away(order.to):
            return rules.problem(20429, 429)
        number = order.to.removeprefix("whatsapp:")
        if order.channel == "sms" and self.is_stopped(account, number):
            raise rules.refuse(21610)
        message = self._made(account, order)
        if order.send_at:
            self._schedule(message, order.send_at)
        else:
            self.reports.plan(message, request)
        return SimReply.of_json(self._resource(message), 201)

    @route("GET", "/2010-04-01/Accounts/<account>/Messages.json", operation="status")
    def listing(self, request: SimRequest) -> SimReply:
        """Newest first; a date filter finds only what has a sending date."""
        account = self._caller(request)
        size, page = int(request.query.get("PageSize", "50")), int(request.query.get("Page", "0"))
        if not 1 <= size <= 1000:
            raise rules.refuse(20001, detail="PageSize must be between 1 and 1000")
        found = [each for each in self._messages(account) if _matches(each, request.query)]
        own = f"{rules.ROOT}/{account.values['account_sid']}/Messages.json"
        rest = {name: value for name, value in request.query.items() if name not in ("Page", "PageToken")}

        def uri(number: int) -> str:
            return f"{own}?{urlencode({**rest, 'PageSize': str(size), 'Page': str(number)})}"

        shown = found[page * size : (page + 1) * size]
        more = len(found) > (page + 1) * size
        return SimReply.of_json(
            {
                "messages": [self._resource(each) for each in shown],
                "page": page,
                "page_size": size,
                "start": page * size,
                "end": page * size + max(len(shown) - 1, 0),
                "uri": uri(page),
                "first_page_uri": uri(0),
                "next_page_uri": f"{uri(page + 1)}&PageToken=PA{shown[-1]['sid']}" if more else None,
                "previous_page_uri": uri(page - 1) if page else None,
            }
        )

    @route("GET", "/2010-04-01/Accounts/<account>/Messages/<sid>.json", operation="status")
    def fetch(self, request: SimRequest) -> SimReply:
        return SimReply.of_json(self._resource(self._message(self._caller(request), request.params["sid"])))

    @route("POST", "/2010-04-01/Accounts/<account>/Messages/<sid>.json", operation="cancel")
    def update(self, request: SimRequest) -> SimReply:
        """Cancel what is scheduled still, or blank the text of what has ended."""
        message, form = self._message(self._caller(request), request.params["sid"]), request.form()
        if form.get("Status"):
            if form["Status"] != "canceled" or message["status"] != "scheduled":
                raise rules.refuse(30409)
            self.reports.move(message["sid"], "canceled")
        elif form.get("Body") == "":
            self.store.put(self.slug, MESSAGE, message["sid"], {**message, "body": ""}, ref=message["to"])
        else:
            raise rules.refuse(20001, detail="Only Status=canceled and an empty Body are possible")
        return SimReply.of_json(self._resource(self.store.get(self.slug, MESSAGE, message["sid"]) or message))

    @route("GET", "/2010-04-01/Accounts/<account>/Balance.json", operation="balance")
    def balance(self, request: SimRequest) -> SimReply:
        account = self._caller(request)
        left = f"{self.left(account) / 10_000:.4f}"
        return SimReply.of_json({"account_sid": account.values["account_sid"], "balance": left, "currency": "USD"})

    @route("GET", "/2010-04-01/Accounts/<account>.json", operation="account")
    def show_account(self, request: SimRequest) -> SimReply:
        """Only for the account's own token: a standard API key may not."""
        account = self._caller(request, token_only=True)
        sid = account.values["account_sid"]
        made = _rfc2822(0.0)
        body = {
            "sid": sid,
            "owner_account_sid": sid,
            "friendly_name": f"Demo {account.label}",
            "status": "active",
            "type": "Full",
        }
        body |= {"auth_token": account.secrets["auth_token"], "date_created": made, "date_updated": made}
        body |= {"uri": f"{rules.ROOT}/{sid}.json", "subresource_uris": {"messages": f"{rules.ROOT}/{sid}/Messages.json"}}
        return SimReply.of_json(body)

    # --- what the phone and the control page show

    def state(self) -> Json:
        return {
            "accounts": [self.account_state(each) for each in self.accounts],
            "messages": self.message_rows(),
            "templates": rules.TEMPLATES,
            "settings": self.all_settings(),
        }

    def customer_forms(self) -> list[CustomerForm]:
        senders = tuple((each.label, f"{each.label}: {each.values['sender']}") for each in self.accounts)
        channels = (("sms", "SMS"), ("whatsapp", "WhatsApp"))
        fields = (
            FormField("account", "To", choices=senders),
            FormField("channel", "By", choices=channels),
            FormField("text", "Text", "STOP"),
        )
        return [CustomerForm("write", "Write to a Twilio number", "Send", fields)]

    def submit_form(self, name: str, data: Json) -> Json:
        if name != "write":
            raise KeyError(name)
        return self.controls_part.write({**data, "from": "+" + str(data.get("msisdn") or "").lstrip("+")})

    # --- shared with the parts

    def account(self, label: str) -> DemoAccount:
        found = next((each for each in self.accounts if each.label == label), None)
        if found is None:
            raise KeyError(label)
        return found

    def setup(self, account: DemoAccount) -> Json:
        return self.store.get(self.slug, SETUP, account.label) or {"webhook_url": ""}

    def left(self, account: DemoAccount) -> int:
        return int((self.store.get(self.slug, WALLET, account.label) or {"left": OPENING})["left"])

    def is_stopped(self, account: DemoAccount, number: str) -> bool:
        return bool((self.store.get(self.slug, STOPPED, f"{account.label}:{number}") or {"on": False})["on"])

    def account_state(self, account: DemoAccount) -> Json:
        left = f"{self.left(account) / 10_000:.4f}"
        return {"label": account.label, **account.values, **self.setup(account), "balance": left, "currency": "USD"}

    def message_rows(self) -> list[Json]:
        """Return one row for each accepted message, newest first."""
        rows = []
        for found in self.store.find(self.slug, MESSAGE, limit=10_000):
            each = found.data
            note = dict(parse_qsl(urlsplit(each["callback"]).query)).get("ref", "")
            row = {name: each[name] for name in ("account", "channel", "from", "media", "template", "error_code")}
            to = each["to"].removeprefix("whatsapp:")
            rows.append({**row, "id": each["sid"], "to": to, "text": each["body"], "ref": note, "state": each["status"]})
        return rows

    # --- inside

    def _caller(self, request: SimRequest, *, token_only: bool = False) -> DemoAccount:
        """Return whose credentials these are; 401 for nobody's, 404 where the path names another account."""
        kind, _, encoded = request.headers.get("Authorization", "").partition(" ")
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise rules.refuse(20003, 401) from None
        for account in self.accounts:
            pairs = [(account.values["account_sid"], account.secrets["auth_token"])]
            if not token_only and account.values.get("api_key_sid"):
                pairs.append((account.values["api_key_sid"], account.secrets["api_key_secret"]))
            if kind.lower() == "basic" and (user, password) in pairs:
                if request.params["account"] != account.values["account_sid"]:
                    raise rules.refuse(20404, 404)
                return account
        raise rules.refuse(20003, 401)

    def _is_turned_away(self, to: str) -> bool:
        """Tell whether it is this number's turn to be busy; every other time it is."""
        busy = not (self.store.get(self.slug, BUSY, to) or {"was": False})["was"]
        self.store.put(self.slug, BUSY, to, {"was": busy})
        return busy

    def _made(self, account: DemoAccount, order: rules.Order) -> Json:
        sender = order.sender or ("whatsapp:" if order.channel == "whatsapp" else "") + str(account.values["sender"])
        parts = max(1, -(-len(order.body) // 153)) if order.channel == "sms" else 1
        number, now = order.to.removeprefix("whatsapp:"), self.clock.now()
        closed = order.channel == "whatsapp" and not order.template and not self._window_is_open(account, number)
        sid = ("MM" if order.media else "SM") + secrets.token_hex(16)
        message: Json = {
            "sid": sid, "account": account.label, "channel": order.channel, "to": order.to, "from": sender,
            "shown_from": order.sender, "service": order.service, "body": order.body, "media": order.media,
            "template": order.template, "callback": order.callback, "made": now, "updated": now, "sent": None, "price": None,
            "cost": COST_PER_PART * parts, "parts": parts, "error_code": None, "refused_code": 63016 if closed else 0,
            "status": "accepted" if order.service else "queued",
        }  # fmt: skip
        self.store.put(self.slug, MESSAGE, sid, message, ref=order.to)
        self.store.put(self.slug, WALLET, account.label, {"left": self.left(account) - message["cost"]})
        if not closed and number[-3:] not in (rules.UNREACHABLE, rules.UNKNOWN_NUMBER):
            name = f"WhatsApp {sender.removeprefix('whatsapp:')}" if order.channel == "whatsapp" else sender
            self.to_phone(number, name, order.body or order.media, sid)
        return message

    def _schedule(self, message: Json, send_at: str) -> None:
        try:
            due = datetime.fromisoformat(send_at).timestamp() - self.clock.now()
        except ValueError:
            raise rules.refuse(20001, detail="SendAt is not in ISO 8601") from None
        if not 900 <= due <= 35 * 86_400:
            raise rules.refuse(20001, detail="SendAt must be between 15 minutes and 35 days ahead")
        message["status"] = "scheduled"
        self.store.put(self.slug, MESSAGE, message["sid"], message, ref=message["to"])
        self.later("begin", {"sid": message["sid"]}, due)

    def _window_is_open(self, account: DemoAccount, number: str) -> bool:
        found = self.store.get(self.slug, WINDOW, f"{account.label}:{number}")
        return found is not None and self.clock.now() - found["at"] < WINDOW_SECONDS

    def _messages(self, account: DemoAccount) -> list[Json]:
        found = self.store.find(self.slug, MESSAGE, limit=100_000)
        return [each.data for each in found if each.data["account"] == account.label]

    def _message(self, account: DemoAccount, sid: str) -> Json:
        found = self.store.get(self.slug, MESSAGE, sid)
        if found is None or found["account"] != account.label:
            raise rules.refuse(20404, 404)
        return found

    def _resource(self, message: Json) -> Json:
        sid, account = message["sid"], self.account(message["account"]).values["account_sid"]
        uri = f"{rules.ROOT}/{account}/Messages/{sid}"
        chosen = message["status"] not in ("accepted", "scheduled")
        return {
            "account_sid": account,
            "api_version": rules.API_VERSION,
            "body": message["body"],
            "date_created": _rfc2822(message["made"]),
            "date_sent": _rfc2822(message["sent"]) if message["sent"] is not None else None,
            "date_updated": _rfc2822(message["updated"]),
            "direction": "outbound-api",
            "error_code": message["error_code"],
            "error_message": None,
            "from": message["from"] if chosen else message["shown_from"] or None,
            "messaging_service_sid": message["service"] or None,
            "num_media": "1" if message["media"] else "0",
            "num_segments": str(message["parts"]) if chosen else "0",
            "price": message["price"],
            "price_unit": "USD",
            "sid": sid,
            "status": message["status"],
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": message["to"],
            "uri": f"{uri}.json",
        }


def _matches(message: Json, query: Any) -> bool:
    day = datetime.fromtimestamp(message["sent"], UTC).date().isoformat() if message["sent"] is not None else ""
    if query.get("To", message["to"]) != message["to"] or query.get("From", message["from"]) != message["from"]:
        return False
    exact, first, last = query.get("DateSent"), query.get("DateSent>"), query.get("DateSent<")
    if (exact or first or last) and not day:
        return False
    return (not exact or day == exact[:10]) and (not first or day >= first[:10]) and (not last or day <= last[:10])


def _rfc2822(at: float) -> str:
    return format_datetime(datetime.fromtimestamp(int(at), UTC))
