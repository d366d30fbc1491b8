"""The simulated Graph API of two business accounts: messages, files, templates, the number itself, webhook settings.

Unlike Meta it does not ask a new webhook URL for its challenge, and takes http URLs.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from pathlib import Path
from typing import Any

from integrations.providers.whatsapp.simulator import accounts
from integrations.providers.whatsapp.simulator.accounts import TEMPLATES, Account
from integrations.providers.whatsapp.simulator.answers import error, failure, multipart, refuse, unknown_object
from integrations.providers.whatsapp.simulator.desk import Desk
from integrations.providers.whatsapp.simulator.hooks import Hooks
from integrations.providers.whatsapp.simulator.magic import (
    LATER_FAILURES,
    MAGIC,
    PAIR,
    RATE,
    READ_ONLY,
    TOKEN,
    TWICE,
    WINDOW,
)
from integrations.providers.whatsapp.simulator.rules import checked
from integrations.simulators import (
    Clock,
    CustomerForm,
    DemoAccount,
    FormField,
    Part,
    Scheduler,
    SimReply,
    SimRequest,
    Simulator,
    Store,
    route,
)
from integrations.simulators.wire import Json

MESSAGE, FILE, WRITTEN, INCOMING, ONCE, STATUS = "message", "file", "window", "incoming", "once", "template_status"
WINDOW_SECONDS = 86_400
FILE_ADDRESS_SECONDS = 300
ROWS = 100_000
Failure = tuple[int, str, str]


class WhatsAppSimulator(Simulator):
    """With `enforce_window` a text needs a customer's message of the last 24 hours, as it does at Meta."""

    slug = "whatsapp"
    title = "WhatsApp Business Cloud"
    secret_fields = frozenset({"verify_token"})
    settings = {"status_delay": 0.3, "retry_delay": 2.0, "retries": 4, "enforce_window": True, "reads": False}
    magic = MAGIC

    def __init__(self, store: Store, clock: Clock, scheduler: Scheduler, public_url: str) -> None:
        self.people = accounts.accounts(store.state_dir)
        self.hooks = Hooks(self)
        super().__init__(store, clock, scheduler, public_url)

    @classmethod
    def demo_accounts(cls, state_dir: Path) -> list[DemoAccount]:
        return accounts.demo_accounts(state_dir)

    def parts(self) -> list[Part]:
        return [self.hooks, Desk(self)]

    def error_reply(self, status: int) -> SimReply:
        return failure(status)

    def state(self) -> Json:
        shown = [
            {"label": each.label, "phone_number_id": each.number_id, "waba_id": each.waba_id, "number": f"+{each.display}",
             "name": each.name, **self.hooks.setup(each)}
            for each in self.people
        ]  # fmt: skip
        return {"accounts": shown, "messages": self.rows()[-200:], "settings": self.all_settings()}

    def customer_forms(self) -> list[CustomerForm]:
        choices = tuple((each.label, each.name) for each in self.people)
        fields = (FormField("account", "To", choices=choices), FormField("text", "Message"))
        return [CustomerForm("write", "Write on WhatsApp", "Send", fields)]

    def submit_form(self, name: str, data: Json) -> Json:
        if name != "write":
            raise KeyError(name)
        account = self.account(str(data.get("account", "")))
        return Desk(self).write(account, str(data.get("msisdn") or ""), str(data.get("text") or ""), {})

    # --- the API

    @route("POST", "/<version>/<number>/messages", operation="send")
    def send(self, request: SimRequest) -> SimReply:
        """Take a message, or the notice that a customer's message was read."""
        account = self._caller(request, request.params["number"])
        body = self._json(request)
        if "status" in body:
            return self._read(account, body)
        digits, text = checked(body, self.templates(account), lambda media_id: self._file(account, media_id))
        tail = digits[-3:]
        if tail == TOKEN:
            return error(401, 190, "Error validating access token: Session has expired.")
        if digits == account.display:
            refuse(400, 131021, "Recipient cannot be sender", "Recipient phone number is the sender's.")
        if tail == PAIR and self._first_time(account, digits):
            details = "Too many messages sent from this phone number to the same phone number in a short period of time."
            return error(400, 131056, "(Business Account, Consumer Account) pair rate limit hit", details=details)
        if tail == RATE and self._first_time(account, digits):
            return error(429, 130429, "Rate limit hit", details="Message failed to send because of too many messages.")
        if body["type"] != "template" and (tail == WINDOW or not self._window_open(account, digits)):
            details = "Message failed to send because more than 24 hours have passed since the customer last replied."
            refuse(400, 131047, "Re-engagement message", details)
        wamid = self._take(request, account, body, digits, text)
        message = {"id": wamid} | ({"message_status": "accepted"} if body["type"] == "template" else {})
        contact = {"input": str(body["to"]), "wa_id": digits}
        return SimReply.of_json({"messaging_product": "whatsapp", "contacts": [contact], "messages": [message]})

    @route("POST", "/<version>/<number>/media", operation="media")
    def upload(self, request: SimRequest) -> SimReply:
        account = self._caller(request, request.params["number"])
        try:
            fields = multipart(request.headers.get("Content-Type", ""), request.body)
        except (ValueError, UnicodeDecodeError):
            refuse(400, 100, "Invalid parameter", "The body is not multipart/form-data.")
        product, kind, file = fields.get("messaging_product"), fields.get("type"), fields.get("file")
        if product is None or product[2] != b"whatsapp":
            refuse(400, 100, "The parameter messaging_product is required.")
        if file is None or not file[0] or not file[2]:
            refuse(400, 100, "The parameter file is required.")
        content_type = kind[2].decode("utf-8", "replace") if kind else file[1]
        if not re.fullmatch(r"[a-z]+/[a-z0-9.+-]+", content_type) or file[1] != content_type:
            refuse(400, 100, "Param file must be a file with one of the supported types.")
        return SimReply.of_json({"id": self.keep_file(account, file[0], content_type, file[2])})

    @route("GET", "/<version>/<node>", operation="lookup")
    def lookup(self, request: SimRequest) -> SimReply:
        """Show the phone number, or where a file can be had."""
        account, node = self._caller(request), request.params["node"]
        if node == account.number_id:
            url = self.hooks.setup(account)["webhook_url"]
            known: Json = {
                "display_phone_number": f"+{account.display}", "verified_name": account.name, "quality_rating": "GREEN",
                "webhook_configuration": {"phone_number": url} if url else {},
            }  # fmt: skip
            wanted = request.query.get("fields", "display_phone_number,verified_name,quality_rating").split(",")
            if set(wanted) - {*known, "id"}:
                refuse(400, 100, f"Tried accessing nonexisting field ({sorted(set(wanted) - set(known))[0]})")
            return SimReply.of_json({**{name: known[name] for name in wanted if name in known}, "id": node})
        found = self._file(account, node)
        if found is None:
            unknown_object(node)
        until = int(self.clock.now()) + FILE_ADDRESS_SECONDS
        url = f"{self.public_url}/{self.slug}/whatsapp_business/attachments/?mid={node}&ext={until}&hash={found['hash']}"
        return SimReply.of_json(
            {
                "messaging_product": "whatsapp", "url": url, "mime_type": found["content_type"], "sha256": found["sha256"],
                "file_size": str(found["size"]), "id": node,
            }
        )  # fmt: skip

    @route("GET", "/whatsapp_business/attachments/", operation="media")
    def download(self, request: SimRequest) -> SimReply:
        """Give a file to whoever has its address and the account's token, for five minutes."""
        account = self._of_token(request)
        found = self._file(account, request.query.get("mid", ""))
        until = request.query.get("ext", "")
        fresh = until.isdigit() and int(until) >= self.clock.now()
        if found is None or not fresh or request.query.get("hash") != found["hash"]:
            return SimReply.of_text("URL signature expired or mismatched", 404)
        content = base64.b64decode(found["content"])
        return SimReply(200, content, {"Content-Type": found["content_type"]})

    @route("GET", "/<version>/<waba>/message_templates", operation="templates")
    def list_templates(self, request: SimRequest) -> SimReply:
        account = self._caller(request, waba=request.params["waba"])
        try:
            limit, after = int(request.query.get("limit", "25")), request.query.get("after", "")
            begin = int(base64.urlsafe_b64decode(after)) if after else 0
        except ValueError:
            refuse(400, 100, "Invalid parameter", "limit is a number, after a cursor of an earlier page.")
        found = self.templates(account)
        page = found[begin : begin + limit]
        cursors = {name: base64.urlsafe_b64encode(str(at).encode()).decode() for name, at in
                   (("before", begin), ("after", begin + len(page)))}  # fmt: skip
        paging: Json = {"cursors": cursors}
        if begin + limit < len(found):
            paging["next"] = f"{self.public_url}/{self.slug}{request.path}?limit={limit}&after={cursors['after']}"
        return SimReply.of_json({"data": page, "paging": paging} if page else {"data": []})

    @route("GET", "/<version>/<waba>/subscribed_apps", operation="webhooks")
    def apps(self, request: SimRequest) -> SimReply:
        account = self._caller(request, waba=request.params["waba"])
        app = {"whatsapp_business_api_data": {"id": f"5{account.waba_id[1:]}", "name": "Hub", "link": "https://hub.example/"}}
        return SimReply.of_json({"data": [app] if self.hooks.setup(account)["subscribed"] else []})

    @route("POST", "/<version>/<waba>/subscribed_apps", operation="webhooks")
    def subscribe(self, request: SimRequest) -> SimReply:
        self.hooks.set_up(self._caller(request, waba=request.params["waba"]), subscribed=True)
        return SimReply.of_json({"success": True})

    @route("POST", "/<version>/<number>", operation="webhooks")
    def configure(self, request: SimRequest) -> SimReply:
        """Set the number's own webhook URL."""
        account = self._caller(request, request.params["number"])
        given = self._json(request).get("webhook_configuration")
        wanted: Json = given if isinstance(given, dict) else {}
        url = wanted.get("override_callback_uri")
        if not isinstance(url, str) or not re.match(r"https?://", url) or not wanted.get("verify_token"):
            refuse(400, 100, "Invalid parameter", "webhook_configuration needs override_callback_uri and verify_token.")
        if not self.hooks.setup(account)["subscribed"]:
            refuse(400, 100, "Before overriding the callback URI, your app must be subscribed to the business account.")
        self.hooks.set_up(account, webhook_url=url)
        return SimReply.of_json({"success": True})

    # --- what the parts use

    def account(self, label: str) -> Account:
        """Return an account; KeyError for a label that there is not."""
        for each in self.people:
            if each.label == label:
                return each
        raise KeyError(label)

    def head(self, account: Account) -> Json:
        """Return what every `messages` change begins with."""
        metadata = {"display_phone_number": account.display, "phone_number_id": account.number_id}
        return {"messaging_product": "whatsapp", "metadata": metadata}

    def templates(self, account: Account) -> list[Json]:
        changed = {each.id: each.data["status"] for each in self.store.find(self.slug, STATUS)}
        return [{**each, "status": changed.get(f"{account.label}:{each['name']}", each["status"])} for each in TEMPLATES]

    def change_template(self, account: Account, name: str, status: str) -> None:
        self.store.put(self.slug, STATUS, f"{account.label}:{name}", {"status": status})

    def keep_file(self, account: Account, filename: str, content_type: str, content: bytes) -> str:
        """Store a file; return its id."""
        media_id = f"7{secrets.randbelow(10**15):015d}"
        data = {
            "account": account.label, "filename": filename, "content_type": content_type, "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(), "hash": secrets.token_urlsafe(12),
            "content": base64.b64encode(content).decode(),
        }  # fmt: skip
        self.store.put(self.slug, FILE, media_id, data)
        return media_id

    def written(self, account: Account, number: str, wamid: str) -> None:
        """Note a customer's message: his window is open from now on."""
        self.store.put(self.slug, INCOMING, f"{account.label}:{wamid}", {"read": False})
        self.store.put(self.slug, WRITTEN, f"{account.label}:{number}", {"at": self.clock.now()})

    def new_id(self, number: str) -> str:
        """Return a message id."""
        return "wamid." + base64.b64encode(b"\x1d\x06" + number.encode() + b"\x15\x02" + secrets.token_bytes(12)).decode()

    def rows(self) -> list[Json]:
        """Return accepted messages, oldest first, each with the state that was reported up to now."""
        now = self.clock.now()
        found = [each.data for each in self.store.find(self.slug, MESSAGE, limit=ROWS)][::-1]
        return [
            {
                **{name: value for name, value in row.items() if name != "timeline"},
                "state": next((status for at, status in reversed(row["timeline"]) if at <= now), "accepted"),
            }
            for row in found
        ]

    def note(self, wamid: str, status: str) -> None:
        """Write down that a status was reported just now."""
        row = self.store.get(self.slug, MESSAGE, wamid) or {}
        self.store.put(self.slug, MESSAGE, wamid, {**row, "timeline": [*row["timeline"], [self.clock.now(), status]]})

    def status_entry(self, row: Json, status: str, failed: Failure, delay: float = 0.0) -> Json:
        """Return one entry of `statuses`."""
        entry: Json = {
            "id": row["id"], "status": status, "timestamp": str(int(self.clock.now() + delay)), "recipient_id": row["to"][1:],
        }  # fmt: skip
        if row["ref"]:
            entry["biz_opaque_callback_data"] = row["ref"]
        if status == "failed":
            code, title, details = failed
            href = "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/"
            entry["errors"] = [
                {"code": code, "title": title, "message": title, "error_data": {"details": details or title}, "href": href}
            ]
        elif status in ("sent", "delivered"):
            category = row["category"].lower() or "service"
            entry["pricing"] = {
                "billable": category != "service",
                "pricing_model": "PMP",
                "type": "regular",
                "category": category,
            }
        return entry

    def tell_statuses(
        self, account: Account, entries: list[Json], *, cause: SimRequest | None = None, delay: float = 0.0, copies: int = 1
    ) -> None:
        value = {**self.head(account), "statuses": entries}
        self.hooks.tell(account, "messages", value, "status", cause=cause, delay=delay, copies=copies)

    # --- inside

    def _of_token(self, request: SimRequest) -> Account:
        given = request.headers.get("Authorization", "")
        found = [each for each in self.people if secrets.compare_digest(given.encode(), f"Bearer {each.token}".encode())]
        if not found:
            refuse(401, 190, "Invalid OAuth access token - Cannot parse access token")
        return found[0]

    def _caller(self, request: SimRequest, number: str = "", waba: str = "") -> Account:
        """Return whose token it is; refuse versions that are none, and numbers and accounts that are not his."""
        if not re.fullmatch(r"v\d{1,3}\.\d{1,2}", request.params["version"]):
            refuse(400, 2500, "Unknown path components: /" + request.params["version"])
        account = self._of_token(request)
        if (number and number != account.number_id) or (waba and waba != account.waba_id):
            unknown_object(number or waba)
        return account

    def _json(self, request: SimRequest) -> Json:
        if request.content_type != "application/json":
            refuse(400, 100, "The parameter messaging_product is required.")
        try:
            return request.json()
        except ValueError:
            refuse(400, 100, "Invalid parameter", "The body is not JSON.")

    def _file(self, account: Account, media_id: str) -> Json | None:
        found = self.store.get(self.slug, FILE, media_id)
        return found if found and found["account"] == account.label else None

    def _read(self, account: Account, body: Json) -> SimReply:
        known = self.store.get(self.slug, INCOMING, f"{account.label}:{body.get('message_id')}")
        if body.get("messaging_product") != "whatsapp" or body["status"] != "read" or known is None:
            refuse(400, 100, "Invalid parameter", "message_id is not the ID of a customer's message.")
        self.store.put(self.slug, INCOMING, f"{account.label}:{body['message_id']}", {"read": True})
        return SimReply.of_json({"success": True})

    def _first_time(self, account: Account, digits: str) -> bool:
        if self.store.get(self.slug, ONCE, f"{account.label}:{digits}"):
            return False
        self.store.put(self.slug, ONCE, f"{account.label}:{digits}", {"refused": True})
        return True

    def _window_open(self, account: Account, digits: str) -> bool:
        if not self.setting("enforce_window"):
            return True
        found = self.store.get(self.slug, WRITTEN, f"{account.label}:{digits}")
        return found is not None and self.clock.now() - found["at"] <= WINDOW_SECONDS

    def _take(self, request: SimRequest, account: Account, body: Json, digits: str, text: str) -> str:
        name = body["template"]["name"] if body["type"] == "template" else ""
        category = next((each["category"] for each in TEMPLATES if each["name"] == name), "")
        wamid, tail = self.new_id(digits), digits[-3:]
        row: dict[str, Any] = {
            "id": wamid, "account": account.label, "to": f"+{digits}", "channel": self.slug, "type": body["type"], "text": text,
            "template": name, "category": category, "reply_to": (body.get("context") or {}).get("message_id", ""),
            "ref": body.get("biz_opaque_callback_data", ""), "timeline": [],
        }  # fmt: skip
        delay = float(self.setting("status_delay"))
        failed = LATER_FAILURES.get(tail)
        plan = ["failed"] if failed else ["sent", "read"] if tail == READ_ONLY else ["sent", "delivered"]
        if self.setting("reads") and plan[-1] == "delivered":
            plan.append("read")
        row["timeline"] = [[self.clock.now() + delay * number, status] for number, status in enumerate(plan, 1)]
        self.store.put(self.slug, MESSAGE, wamid, row, ref=digits)
        if not failed:
            self.to_phone(digits, account.name, text, wamid)
        for number, status in enumerate(plan, 1):
            entry = self.status_entry(row, status, failed or (0, "", ""), delay * number)
            copies = 2 if status == "delivered" and tail == TWICE else 1
            self.tell_statuses(account, [entry], cause=request, delay=delay * number, copies=copies)
        return wamid
