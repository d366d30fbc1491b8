"""A fake of Mailgun's API. Local parts of recipients choose what happens: see `MAGIC`.

Strict: a multipart or form body, known parameters only, Basic authentication, the account's own domain.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from integrations.providers.mailgun.simulator.events import EVENT, LISTED, Events
from integrations.providers.mailgun.simulator.forms import (
    Form,
    check_message,
    filled,
    read_form,
    refuse,
    rendered,
    variables_of,
)
from integrations.simulators import (
    DemoAccount,
    Magic,
    Part,
    Refusal,
    SimReply,
    SimRequest,
    Simulator,
    control,
    derived,
    route,
)
from integrations.simulators.wire import Json

SETUP, MESSAGE = "setup", "message"
SIZE_LIMIT = 25 * 1024 * 1024
ACCOUNTS = (("school", "mg.school.example"), ("studio", "mg.studio.example"))
TEMPLATES = {"receipt": "Dear {{name}}, we received {{amount}}.", "reminder": "Dear {{name}}, please remember."}
OUTCOMES = {
    "bounce": ("bounced",),
    "defer": ("deferred", "delivered"),
    "supp": ("suppress-bounce",),
    "spam": ("delivered", "complained"),
    "unsub": ("delivered", "unsubscribed"),
    "reject": ("rejected",),
}
LISTS = {"complaints": "suppress-complaint", "bounces": "suppress-bounce", "unsubscribes": "suppress-unsubscribe"}
MAGIC = (
    Magic("bounce…@", "accepted, then a permanent failure (550); the address goes on the bounce list"),
    Magic("defer…@", "accepted, a temporary failure, then delivered"),
    Magic("supp…@", "accepted, then not delivered: on Mailgun's bounce list"),
    Magic("spam…@", "delivered, then reported as spam"),
    Magic("unsub…@", "delivered, then unsubscribed"),
    Magic("reject…@", "rejected; seen in the Events API only"),
    Magic("dup…@", "delivered; the webhook comes twice with one token"),
    Magic("replay…@", "delivered; then another body below the same signature"),
    Magic("silent…@", "delivered; no webhook, the Events API knows"),
    Magic("any other address", "delivered after event_delay (0.2 s)"),
)


class MailgunSimulator(Simulator):
    """Two accounts with a domain each."""

    slug = "mailgun"
    title = "Mailgun"
    settings = {"event_delay": 0.2, "retry_minute": 0.02}
    magic = MAGIC

    @classmethod
    def demo_accounts(cls, state_dir: Path) -> list[DemoAccount]:
        return [
            DemoAccount(
                label,
                {"domain": domain, "region": "eu" if label == "school" else "us"},
                {
                    "api_key": "key-" + derived(state_dir, f"mailgun {label} key"),
                    "webhook_signing_key": derived(state_dir, f"mailgun {label} signing key"),
                },
            )
            for label, domain in ACCOUNTS
        ]

    def parts(self) -> list[Part]:
        self.events = Events(self)
        return [self.events]

    def error_reply(self, status: int) -> SimReply:
        texts = {
            404: "Not Found",
            405: "Method Not Allowed",
            429: "Domain is not allowed to send: account-requests-per-sec limit exceeded, try again after 7 seconds",
        }
        return SimReply.of_json({"message": texts.get(status, "Internal Server Error")}, status)

    # --- the API

    @route("POST", "/v3/<domain>/messages", operation="send")
    def send(self, request: SimRequest) -> SimReply:
        account = self._account(request, refusal="Forbidden")
        if len(request.body) > SIZE_LIMIT:
            refuse(413, "Message is too large")
        form = read_form(request)
        check_message(form, self.setup(account.label)["templates"])
        now = datetime.fromtimestamp(self.clock.now(), UTC)
        call_id = f"{now:%Y%m%d%H%M%S}.{secrets.token_hex(8)}@{account.values['domain']}"
        variables = variables_of(form)
        own_id = form.prefixed("h:").get("Message-Id", "").strip("<>")
        for name in ("to", "cc", "bcc"):
            for address in form.addresses(name):
                values = dict((variables or {}).get(address, {}))
                row = self._row(account, form, name, address, values, is_batch=variables is not None)
                row["message_id"] = filled(own_id, values) or call_id
                self.store.put(self.slug, MESSAGE, row["id"], row, ref=account.label)
                self.events.happen(row["id"], "accepted", None)
                self.events.plan(row, self._outcome(account, address), request)
        answered = own_id if own_id and "%" not in own_id else call_id
        return SimReply.of_json({"id": f"<{answered}>", "message": "Queued. Thank you."})

    @route("GET", "/v3/<domain>/events", operation="status")
    def list_events(self, request: SimRequest) -> SimReply:
        account = self._account(request)
        query = request.query
        begin, limit = float(query.get("begin", "0")), min(int(query.get("limit", "100")), 300)
        found = [each.data["event"] for each in self.store.find(self.slug, EVENT, ref=account.label, limit=5000)]
        found = [each for each in found if each["timestamp"] >= begin and _fits(each, query)]
        # The store gives the newest first; so does Mailgun unless asked otherwise.
        found.sort(key=lambda each: float(each["timestamp"]), reverse=query.get("ascending", "no") != "yes")
        base = f"{self.public_url}/{self.slug}{request.path}"
        return SimReply.of_json({"items": found[:limit], "paging": {"next": f"{base}/next", "previous": f"{base}/previous"}})

    @route("GET", "/v4/domains/<domain>", operation="domain")
    def domain(self, request: SimRequest) -> SimReply:
        account = self._account(request)
        setup = self.setup(account.label)
        shown = {
            "id": derived(self.store.state_dir, f"mailgun {account.label} domain", 24), "name": account.values["domain"],
            "created_at": "Thu, 13 Oct 2022 18:02:00 GMT", "is_disabled": setup["state"] == "disabled",
            "state": "active" if setup["state"] == "disabled" else setup["state"], "type": "custom", "require_tls": False,
            "skip_verification": False, "smtp_login": f"postmaster@{account.values['domain']}", "spam_action": "disabled",
            "use_automatic_sender_security": True, "web_prefix": "email", "web_scheme": "https", "wildcard": False,
            "encrypt_incoming_message": False, "message_ttl": 259200,
        }  # fmt: skip
        return SimReply.of_json({"domain": shown, "sending_dns_records": [], "receiving_dns_records": []})

    @route("GET", "/v3/domains/<domain>/webhooks", operation="webhooks")
    def webhooks(self, request: SimRequest) -> SimReply:
        known = self.setup(self._account(request).label)["webhooks"]
        return SimReply.of_json({"webhooks": {kind: {"urls": urls} for kind, urls in known.items()}})

    @route("POST", "/v3/domains/<domain>/webhooks", operation="webhooks")
    def add_webhook(self, request: SimRequest) -> SimReply:
        account = self._account(request)
        form = read_form(request)
        kind, urls = form.one("id"), form.all("url")
        if kind in self.setup(account.label)["webhooks"]:
            raise Refusal(SimReply.of_json({"Reason": "Webhook already exists"}, 400))
        return self._set_webhook(account, kind, urls, "Webhook has been created")

    @route("PUT", "/v3/domains/<domain>/webhooks/<kind>", operation="webhooks")
    def change_webhook(self, request: SimRequest) -> SimReply:
        account, kind = self._account(request), request.params["kind"]
        if kind not in self.setup(account.label)["webhooks"]:
            refuse(404, "Webhook not found")
        return self._set_webhook(account, kind, read_form(request).all("url"), "Webhook has been updated")

    @route("GET", "/v5/accounts/http_signing_key", operation="signing_key")
    def signing_key(self, request: SimRequest) -> SimReply:
        account = self._account(request)
        return SimReply.of_json({"message": "success", "http_signing_key": account.secrets["webhook_signing_key"]})

    @route("GET", "/v3/<domain>/bounces", operation="suppressions")
    @route("GET", "/v3/<domain>/complaints", operation="suppressions")
    @route("GET", "/v3/<domain>/unsubscribes", operation="suppressions")
    def suppressions(self, request: SimRequest) -> SimReply:
        account, name = self._account(request), request.path.rpartition("/")[2]
        limit, after = min(int(request.query.get("limit", "100")), 1000), request.query.get("address", "")
        if request.query.get("page", "first") not in ("first", "next"):
            refuse(400, "page is not valid")
        rows = [each.data for each in self.store.find(self.slug, LISTED, ref=f"{account.label}|{name}", limit=5000)]
        rows = sorted((row for row in rows if row["address"] > after), key=lambda row: str(row["address"]))[:limit]
        last = rows[-1]["address"] if rows else after
        base = f"{self.public_url}/{self.slug}{request.path}?"
        pages = {
            "first": {"page": "first", "limit": limit},
            "next": {"page": "next", "address": last, "limit": limit},
            "previous": {"page": "previous", "address": rows[0]["address"] if rows else after, "limit": limit},
            "last": {"page": "last", "limit": limit},
        }
        paging = {place: base + urlencode(query) for place, query in pages.items()}
        return SimReply.of_json({"items": [_listed(row) for row in rows], "paging": paging})

    @route("DELETE", "/v3/<domain>/bounces/<address>", operation="suppressions")
    @route("DELETE", "/v3/<domain>/complaints/<address>", operation="suppressions")
    @route("DELETE", "/v3/<domain>/unsubscribes/<address>", operation="suppressions")
    def unsuppress(self, request: SimRequest) -> SimReply:
        account, name = self._account(request), request.path.split("/")[3]
        address = unquote(request.params["address"])
        sql = "DELETE FROM documents WHERE slug = ? AND kind = ? AND id = ?"
        if not self.store.execute(sql, self.slug, LISTED, f"{account.label}|{name}|{address}"):
            refuse(404, f"Address not found in {name} table")
        return SimReply.of_json({"message": f"Address has been removed from {name}", "address": address})

    # --- control

    @control("PUT", "/accounts/<label>")
    def change_account(self, request: SimRequest) -> Json:
        """Set `webhook_url` ('' for none: all types go there), `state` (active, unverified, disabled), or others."""
        label = self.account_of(request.params["label"]).label
        changed = request.data()
        for name, value in changed.items():
            if name == "webhook_url" and isinstance(value, str) and (not value or urlsplit(value).scheme in ("http", "https")):
                continue
            if name == "state" and value in ("active", "unverified", "disabled"):
                continue
            if name in ("webhooks", "templates") and isinstance(value, dict):
                continue
            raise ValueError(f"{name} can't be set to this; there are webhook_url, state, webhooks, templates")
        self.store.put(self.slug, SETUP, label, {**self.setup(label), **changed})
        return self.setup(label)

    @control("GET", "/messages")
    def messages(self, _request: SimRequest) -> Json:
        """What was accepted, newest first, a row for each recipient."""
        return {"messages": [each.data for each in self.store.find(self.slug, MESSAGE, limit=1000)]}

    @control("POST", "/report")
    def report(self, request: SimRequest) -> Json:
        """Let something happen to a message: `{"id", "status"}` (delivered, bounced, opened, complained, ...)."""
        data = request.data()
        return self.events.happen(str(data.get("id", "")), str(data.get("status", "")), None)

    @control("POST", "/suppressions")
    def suppress(self, request: SimRequest) -> Json:
        """Put an address on a list: `{"account", "list", "address"}`."""
        data = request.data()
        if data.get("list") not in LISTS:
            raise ValueError(f"list is one of {', '.join(LISTS)}")
        self.events.put_on_list(self.account_of(str(data.get("account"))).label, str(data["list"]), str(data["address"]))
        return data

    def state(self) -> Json:
        rows = [each.data for each in self.store.find(self.slug, MESSAGE)]
        accounts = [{"label": each.label, **each.values, **self.setup(each.label)} for each in self.accounts]
        return {"accounts": accounts, "messages": rows, "settings": self.all_settings()}

    # --- inside

    def account_of(self, label: str) -> DemoAccount:
        found = next((each for each in self.accounts if each.label == label), None)
        if found is None:
            raise KeyError(label)
        return found

    def setup(self, label: str) -> Json:
        """Return an account's webhooks by type, its templates, and what the control API sets."""
        kept = self.store.get(self.slug, SETUP, label) or {}
        return {"webhook_url": "", "state": "active", "webhooks": {}, "templates": TEMPLATES, **kept}

    def _account(self, request: SimRequest, refusal: str = "") -> DemoAccount:
        """Return whose key this is; 401 without, 404 where the path names a domain of somebody else."""
        user, key = _basic(request.headers.get("Authorization", ""))
        account = next((each for each in self.accounts if (user, key) == ("api", each.secrets["api_key"])), None)
        if account is None:
            body: Any = refusal or {"message": "Invalid private key"}
            raise Refusal(SimReply.of_json(body, 401))
        if "domain" in request.params and request.params["domain"] != account.values["domain"]:
            refuse(404, "Domain not found")
        return account

    def _row(self, account: DemoAccount, form: Form, kind: str, address: str, values: Json, *, is_batch: bool) -> Json:
        variables = {name: filled(value, values) for name, value in form.prefixed("v:").items()}
        text, html = filled(form.one("text"), values), filled(form.one("html"), values)
        template = form.one("template")
        if template:
            given = json.loads(form.one("t:variables") or "{}")
            text = rendered(self.setup(account.label)["templates"][template], given)
        return {
            "id": secrets.token_hex(12), "account": account.label, "domain": account.values["domain"], "channel": "email",
            "to": address, "kind": kind, "from": form.one("from"), "subject": filled(form.one("subject"), values),
            # With recipient variables each sees himself alone, else everybody sees all.
            "header_to": address if is_batch else ", ".join(form.addresses("to")),
            "text": text, "html": html, "ref": variables.get("hub_ref", ""), "variables": variables,
            "headers": {name: filled(value, values) for name, value in form.prefixed("h:").items()},
            "tags": form.all("o:tag"), "tracking": form.one("o:tracking"), "is_test": form.one("o:testmode") == "yes",
            "files": [[name, filename, size] for name, filename, size in form.files], "state": "accepted",
            "at": self.clock.now(),
        }  # fmt: skip

    def _outcome(self, account: DemoAccount, address: str) -> tuple[str, ...]:
        for name, status in LISTS.items():
            if self.store.get(self.slug, LISTED, f"{account.label}|{name}|{address}") is not None:
                return (status,)
        return next((found for start, found in OUTCOMES.items() if address.lower().startswith(start)), ("delivered",))

    def _set_webhook(self, account: DemoAccount, kind: str, urls: list[str], said: str) -> SimReply:
        if not kind or not urls or len(urls) > 3 or not all(urlsplit(url).scheme in ("http", "https") for url in urls):
            raise Refusal(SimReply.of_json({"Reason": "not a valid url, or not between one and three of them"}, 400))
        setup = self.setup(account.label)
        self.store.put(self.slug, SETUP, account.label, {**setup, "webhooks": {**setup["webhooks"], kind: urls}})
        return SimReply.of_json({"message": said, "webhook": {"urls": urls}})


def _basic(header: str) -> tuple[str, str]:
    kind, _, value = header.partition(" ")
    try:
        user, _, key = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return (user, key) if kind == "Basic" else ("", "")


def _fits(event: Json, query: Any) -> bool:
    for name, own in (
        ("event", event["event"]),
        ("recipient", event.get("recipient", "")),
        ("message-id", event["message"]["headers"]["message-id"]),
    ):
        if name in query and query[name] != own:
            return False
    return True


def _listed(row: Json) -> Json:
    made = format_datetime(datetime.fromtimestamp(row["at"], UTC)).replace("+0000", "UTC")
    shown: Json = {"address": row["address"], "created_at": made}
    if row["list"] == "bounces":
        shown |= {"code": "550", "error": "5.1.1 no such user here"}
    if row["list"] == "unsubscribes":
        shown["tags"] = ["*"]
    return shown
