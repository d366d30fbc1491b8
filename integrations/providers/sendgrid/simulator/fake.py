"""A fake of SendGrid: the demo accounts, sending, credits, and what a tester can look at and cause.

A message's recipients are chosen by the local part of their address; see `MAGIC`. Messages are kept one row for each recipient.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from integrations.providers.sendgrid.notes import ref_for
from integrations.providers.sendgrid.simulator.checks import problems
from integrations.providers.sendgrid.simulator.events import Events
from integrations.providers.sendgrid.simulator.hooks import Hooks, public_key
from integrations.providers.sendgrid.simulator.lists import Lists
from integrations.simulators import DemoAccount, Magic, Part, Refusal, SimReply, SimRequest, Simulator, control, derived, route
from integrations.simulators.wire import Json

MESSAGE, WALLET = "message", "wallet"
CREDITS = 40_000
LABELS = ("school", "studio")
SCOPES = [
    "mail.send", "mail.batch.create", "suppression.read", "suppression.delete", "user.credits.read",
    "user.webhooks.event.settings.create", "user.webhooks.event.settings.read", "user.webhooks.event.settings.update",
]  # fmt: skip
WINDOW, ALLOWED = 60, 600
MAGIC = (
    Magic("bounce…@", "accepted; processed, then bounce: the address goes on the bounce list"),
    Magic("block…@", "accepted; processed, then bounce with the type blocked"),
    Magic("drop…@", "accepted; dropped as Invalid: the address goes on the list of invalid ones"),
    Magic("defer…@", "accepted; processed, deferred, then delivered"),
    Magic("spam…@", "accepted; delivered, then spamreport"),
    Magic("unsub…@", "accepted; delivered, then unsubscribe"),
    Magic("open…@", "accepted; delivered, opened by a machine, opened, clicked"),
    Magic("dup…@", "accepted; each event stands twice in its batch"),
    Magic("late…@", "accepted; delivered is posted before processed"),
    Magic("early…@", "accepted; delivered is posted and answered before the send's answer goes out"),
    Magic("a name with , or ; outside of quotes", "accepted; dropped as Invalid, as the real service does"),
    Magic("silent…@", "accepted and delivered, no events"),
    Magic("from unverified…@", "403: no verified sender"),
    Magic("subject 429", "429, with room again in 2 s"),
    Magic("any other address", "accepted; processed after event_delay (0.5 s), delivered after twice that"),
)


class SendGridSimulator(Simulator):
    """Two accounts; every address may be a sender but `unverified…`. A wrong key is a 401."""

    slug = "sendgrid"
    title = "SendGrid"
    settings = {"event_delay": 0.5, "retry_delay": 2.0, "retries": 4}
    magic = MAGIC

    @classmethod
    def demo_accounts(cls, state_dir: Path) -> list[DemoAccount]:
        return [
            DemoAccount(
                label,
                {"region": "global", "webhook_public_key": public_key(state_dir, label)},
                {"api_key": _key(state_dir, label)},
            )
            for label in LABELS
        ]

    def parts(self) -> list[Part]:
        self.hooks = Hooks(self)
        self.lists = Lists(self)
        self.events = Events(self)
        return [self.hooks, self.lists, self.events]

    def error_reply(self, status: int) -> SimReply:
        texts = {404: "not found", 405: "method not allowed", 429: "too many requests", 500: "internal server error"}
        reply = self.answer({"errors": [{"message": texts.get(status, "error"), "field": None}]}, status)
        if status == 429:
            reply.headers |= {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(self.clock.now()) + 2)}
        return reply

    # --- the API

    @route("POST", "/v3/mail/send", operation="send")
    def send(self, request: SimRequest) -> SimReply:
        account = self.account(request)
        if request.content_type != "application/json":
            raise self.refusal(415, "Content-Type should be application/json.")
        mail = self.object(request)
        found = problems(mail, self.clock.now())
        if found:
            raise Refusal(self.answer({"errors": found}, 400))
        if mail.get("subject") == "429":
            raise Refusal(self.error_reply(429))
        if mail["from"]["email"].lower().startswith("unverified"):
            raise self.refusal(403, "The from address does not match a verified Sender Identity.", "from")
        if (mail.get("mail_settings") or {}).get("sandbox_mode", {}).get("enable") is True:
            return self.answer(None, 200)
        people = [
            (personal, target)
            for personal in mail["personalizations"]
            for kind in ("to", "cc", "bcc")
            for target in personal.get(kind) or []
        ]
        left = self.credits(account)
        if left < len(people):
            raise self.refusal(401, "Maximum credits exceeded")
        self.store.put(self.slug, WALLET, account.label, {"left": left - len(people)})
        ref = secrets.token_urlsafe(16)
        rows = [self._row(account, mail, personal, target, ref, n) for n, (personal, target) in enumerate(people)]
        for row in rows:
            self.save(row)
        self.events.plan(request, account.label, rows)
        reply = self.answer(None, 202)
        reply.headers["X-Message-Id"] = ref
        return reply

    @route("GET", "/v3/scopes", operation="scopes")
    def scopes(self, request: SimRequest) -> SimReply:
        self.account(request)
        return self.answer({"scopes": SCOPES})

    @route("GET", "/v3/user/credits", operation="balance")
    def show_credits(self, request: SimRequest) -> SimReply:
        left = self.credits(self.account(request))
        used = max(CREDITS - left, 0)
        return self.answer(
            {
                "remain": left, "total": left + used, "overage": 0, "used": used, "last_reset": "2026-11-01",
                "next_reset": "2026-12-01", "reset_frequency": "monthly",
            }
        )  # fmt: skip

    # --- control

    @control("PUT", "/accounts/<label>")
    def change_account(self, request: SimRequest) -> Json:
        """Set `webhook_url` ('' for none; a signed Event Webhook with the account's first key) or `credits`."""
        account = next((each for each in self.accounts if each.label == request.params["label"]), None)
        if account is None:
            raise KeyError(request.params["label"])
        for name, value in request.data().items():
            if name == "webhook_url":
                self.hooks.set_url(account.label, value)
            elif name == "credits":
                if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                    raise ValueError("credits is a number of e-mails")
                self.store.put(self.slug, WALLET, account.label, {"left": value})
            else:
                raise ValueError(f"unknown: {name}; one of webhook_url, credits")
        return self._account_state(account)

    @control("GET", "/messages")
    def messages(self, request: SimRequest) -> Json:
        """Return one row for each recipient of each accepted message, newest first."""
        return {"messages": [found.data for found in self.store.find(self.slug, MESSAGE, limit=2000)]}

    @control("POST", "/report")
    def report(self, request: SimRequest) -> Json:
        """Make an event happen to the row `id`: `status` is an event's name, `blocked`, `machine_open`, or what the hub calls
        it (bounced, complained, opened, clicked, unsubscribed, read). `reason` is said along."""
        data = request.data()
        row = self.store.get(self.slug, MESSAGE, str(data.get("id") or ""))
        if row is None:
            raise KeyError(data.get("id"))
        self.events.happen(row, str(data.get("status") or ""), str(data.get("reason") or ""))
        return row

    def state(self) -> Json:
        return {
            "accounts": [self._account_state(each) for each in self.accounts],
            "messages": [found.data for found in self.store.find(self.slug, MESSAGE)],
            "suppressed": {each.label: self.lists.state(each.label) for each in self.accounts},
            "settings": self.all_settings(),
        }

    # --- what the parts use

    def account(self, request: SimRequest) -> DemoAccount:
        """Return whose key it is; refuse with a 401."""
        given = request.headers.get("Authorization", "")
        for account in self.accounts:
            if given == f"Bearer {account.secrets['api_key']}":
                return account
        raise self.refusal(401, "The provided authorization grant is invalid, expired, or revoked")

    def object(self, request: SimRequest) -> Json:
        try:
            return request.json()
        except ValueError:
            raise self.refusal(400, "Bad Request") from None

    def refusal(self, status: int, message: str, field: str | None = None) -> Refusal:
        return Refusal(self.answer({"errors": [{"message": message, "field": field}]}, status))

    def answer(self, value: Any, status: int = 200) -> SimReply:
        """Return an answer with the headers that each carries; `None` is an empty body."""
        reply = SimReply(status) if value is None else SimReply.of_json(value, status)
        now = int(self.clock.now())
        reply.headers |= {
            "X-RateLimit-Limit": str(ALLOWED),
            "X-RateLimit-Remaining": str(ALLOWED - 1),
            "X-RateLimit-Reset": str(now - now % WINDOW + WINDOW),
        }
        return reply

    def credits(self, account: DemoAccount) -> int:
        return int((self.store.get(self.slug, WALLET, account.label) or {"left": CREDITS})["left"])

    def save(self, row: Json) -> None:
        self.store.put(self.slug, MESSAGE, row["id"], row, ref=row["message_id"])

    def _row(self, account: DemoAccount, mail: Json, personal: Json, target: Json, ref: str, number: int) -> Json:
        content = {each["type"]: each["value"] for each in mail.get("content") or []}
        args, address = personal.get("custom_args") or {}, target["email"]
        return {
            "id": f"{ref}.recvd-simulator-1-{number:X}.0",
            "message_id": ref,
            "account": account.label,
            "channel": "email",
            "to": address,
            "name": target.get("name") or "",
            "from": mail["from"]["email"],
            "subject": personal.get("subject") or mail.get("subject") or "",
            "text": content.get("text/plain", ""),
            "html": content.get("text/html", ""),
            "template_id": mail.get("template_id") or "",
            "data": personal.get("dynamic_template_data") or {},
            "headers": {**(mail.get("headers") or {}), **(personal.get("headers") or {})},
            "attachments": [each["filename"] for each in mail.get("attachments") or []],
            "categories": mail.get("categories") or [],
            "custom_args": args,
            "ref": ref_for(args, address),
            "state": "processed",
            "at": self.clock.now(),
        }

    def _account_state(self, account: DemoAccount) -> Json:
        return {
            "label": account.label,
            "credits": self.credits(account),
            "webhooks": [{"id": each["id"], "url": each["url"]} for each in self.hooks.of(account.label)],
        }


def _key(state_dir: Path, label: str) -> str:
    return f"SG.{derived(state_dir, f'sendgrid {label} id', 22)}.{derived(state_dir, f'sendgrid {label} key', 43)}"
