"""Webhooks: signed with the app's secret, sent again with longer and longer pauses until they are taken."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING

from integrations.providers.whatsapp.simulator.accounts import Account
from integrations.simulators import CallbackReply, Part, SimRequest, action, on_reply
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.whatsapp.simulator.fake import WhatsAppSimulator

SETUP = "setup"


class Hooks(Part):
    """One URL for each account. `setup` documents hold it, so that it outlives a reset that keeps the setup."""

    def __init__(self, sim: WhatsAppSimulator) -> None:
        self._sim = sim

    def setup(self, account: Account) -> Json:
        """Return an account's `webhook_url` and whether its app is `subscribed`."""
        kept = self._sim.store.get(self._sim.slug, SETUP, account.label) or {}
        return {"webhook_url": "", "subscribed": False, **kept}

    def set_up(self, account: Account, **changed: str | bool) -> Json:
        found = {**self.setup(account), **changed}
        self._sim.store.put(self._sim.slug, SETUP, account.label, found)
        return found

    def tell(
        self,
        account: Account,
        field: str,
        value: Json,
        name: str,
        *,
        cause: SimRequest | None = None,
        delay: float = 0.0,
        copies: int = 1,
    ) -> None:
        """Send a change of an account in `delay` seconds. `name` is the webhook's own for faults: `status`, `message`, ..."""
        url = self.setup(account)["webhook_url"]
        if not url:
            return
        change = {"value": value, "field": field}
        payload = {"object": "whatsapp_business_account", "entry": [{"id": account.waba_id, "changes": [change]}]}
        # Meta escapes slashes and all that is not ASCII: who parses and writes the body again gets another signature.
        body = json.dumps(payload, separators=(",", ":")).replace("/", "\\/")
        names = (name, cause.operation) if cause else (name,)
        early = cause if cause and self._sim.take_fault(names, "early_callback") else None
        lost = self._sim.take_fault(names, "lose_callback") is not None
        for _ in range(copies):
            context = {"account": account.label, "name": name, "body": body, "attempt": 1, "lost": lost}
            self._send(context, delay=0.0 if early else delay, early=early)

    def _send(self, context: Json, *, delay: float, early: SimRequest | None = None) -> None:
        account = self._sim.account(context["account"])
        url = self.setup(account)["webhook_url"]
        if not url:
            return
        headers = {
            "Content-Type": "application/json",
            "X-Hub-Signature-256": signature(context["body"].encode(), account.app_secret),
            "User-Agent": "facebookexternalua",
        }
        # A lost delivery is one that never comes: it must not be sent again because nobody answered.
        self._sim.callback(
            (context["name"],), url, context["body"], headers, delay=delay, early=early, lost=context["lost"],
            reply_to="" if context["lost"] else "hook_answered", context=context,
        )  # fmt: skip

    @on_reply("hook_answered")
    def answered(self, context: Json, answer: CallbackReply | None) -> None:
        """200 ends it; Meta sends again for up to 7 days, here `retries` times."""
        taken = answer is not None and answer.status == 200
        if not taken and context["attempt"] <= int(self._sim.setting("retries")):
            pause = float(self._sim.setting("retry_delay")) * 2 ** (context["attempt"] - 1)
            self._sim.later("hook_again", {**context, "attempt": context["attempt"] + 1}, pause)

    @action("hook_again")
    def again(self, context: Json) -> None:
        self._send(context, delay=0.0)


def signature(body: bytes, secret: str) -> str:
    """Return the value of `X-Hub-Signature-256`."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
