"""The simulated Stripe: what its parts share (access, keys of repetition, objects, lists). The API itself is in the parts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from integrations.providers.stripe.simulator import accounts
from integrations.providers.stripe.simulator.accounts import Account
from integrations.providers.stripe.simulator.answers import Executed, missing, refuse, reply
from integrations.providers.stripe.simulator.books import Books
from integrations.providers.stripe.simulator.cards import MAGIC
from integrations.providers.stripe.simulator.control import Desk
from integrations.providers.stripe.simulator.events import Events
from integrations.providers.stripe.simulator.form import Params
from integrations.providers.stripe.simulator.intents import Intents
from integrations.providers.stripe.simulator.pages import Pages
from integrations.providers.stripe.simulator.refunds import Refunds
from integrations.providers.stripe.simulator.setups import Setups
from integrations.simulators import Clock, DemoAccount, Part, Scheduler, SimReply, SimRequest, Simulator, Store
from integrations.simulators.wire import Json

KEY_LIFETIME = 86_400
IDEMPOTENCY = "idempotency"
KINDS = {
    "pi": "payment_intent", "seti": "setup_intent", "ch": "charge", "re": "refund", "dp": "dispute",
    "txn": "balance_transaction", "pm": "payment_method", "cus": "customer", "evt": "event", "we": "webhook_endpoint",
}  # fmt: skip


@dataclass(slots=True)
class Call:
    """One authorised request. `account` is the one it acts for; `browser`: made with a publishable key."""

    request: SimRequest
    params: Params
    owner: Account
    account: str
    browser: bool


class StripeSimulator(Simulator):
    """Two accounts with keys, one connected account. Webhooks come after `callback_delay`, again after `retry_delay` x try."""

    slug = "stripe"
    title = "Stripe"
    secret_fields = frozenset({"client_secret", "key"})
    secret_headers = frozenset({"authorization", "cookie"})
    settings = {
        "callback_delay": 0.2,
        "retry_delay": 2.0,
        "retries": 3,
        "dispute_delay": 0.5,
        "refund_delay": 1.0,
        "hold_lifetime": 604_800,
        "ugx_decimals": 2,
    }
    extra_faults = {
        "key_in_use": "409 idempotency_key_in_use without acting, as if an earlier try still ran",
        "lock_timeout": "429 lock_timeout without acting, as if another call held the object",
    }
    magic = MAGIC

    def __init__(self, store: Store, clock: Clock, scheduler: Scheduler, public_url: str) -> None:
        self.people = accounts.accounts(store.state_dir)
        self.events = Events(self)
        self.books = Books(self)
        self.refunds = Refunds(self)
        self.intents = Intents(self)
        self.setups = Setups(self)
        super().__init__(store, clock, scheduler, public_url)

    @classmethod
    def demo_accounts(cls, state_dir: Path) -> list[DemoAccount]:
        return accounts.demo_accounts(state_dir)

    def parts(self) -> list[Part]:
        return [self.intents, self.setups, self.refunds, self.books, self.events, Pages(self), Desk(self)]

    @property
    def url(self) -> str:
        """Where this API is mounted."""
        return f"{self.public_url}/{self.slug}"

    def error_reply(self, status: int) -> SimReply:
        match status:
            case 404 | 405:
                error = {"type": "invalid_request_error", "message": "Unrecognized request URL."}
                return reply({"error": error}, 404)
            case 429:
                message = "Request rate limit exceeded."
                return reply({"error": {"type": "invalid_request_error", "code": "rate_limit", "message": message}}, 429)
            case _:
                return reply({"error": {"type": "api_error", "message": "An unknown error occurred"}}, status)

    # --- access

    def call(self, request: SimRequest, *, browser: bool = False) -> Call:
        """Return who asks, and for which account; `browser`: a publishable key will do. Refuses everybody else."""
        params = Params.of(request)
        key = self._key(request, params)
        owners = [each for each in self.people if not each.platform and key in (each.secret_key, each.publishable_key)]
        if not owners:
            shown = f"{key[:8]}****{key[-4:]}" if key else "none"
            refuse(401, f"Invalid API Key provided: {shown}")
        owner = owners[0]
        by_browser = key == owner.publishable_key
        if by_browser and not browser:
            refuse(401, "This API call cannot be made with a publishable API key. Please use a secret API key.")
        return Call(request, params, owner, self._acting_for(request, owner), by_browser)

    def _acting_for(self, request: SimRequest, owner: Account) -> str:
        wanted = request.headers.get("Stripe-Account") or owner.id
        known = {owner.id, *(each.id for each in self.people if each.platform == owner.id)}
        if wanted not in known:
            text = f"The provided key does not have access to account '{wanted[:40]}' (or that account does not exist)."
            refuse(403, text, "account_invalid")
        return wanted

    def _key(self, request: SimRequest, params: Params) -> str:
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer":
            return text.strip()
        if scheme == "Basic":
            try:
                return base64.b64decode(text, validate=True).decode().partition(":")[0]
            except (binascii.Error, ValueError):
                return ""
        value = params.data.get("key", "")
        return value if isinstance(value, str) and value.startswith("pk_") else ""

    # --- requests

    def read(self, request: SimRequest, run: Callable[[Call], Json], *, browser: bool = False) -> SimReply:
        """Answer a GET."""
        call = self.call(request, browser=browser)
        return reply(self.render(run(call), call))

    def write(self, request: SimRequest, run: Callable[[Call], Json], *, browser: bool = False) -> SimReply:
        """Answer a POST or DELETE once: its repetition under the same key gets the first answer, for 24 hours.

        An `Executed` error is kept like a success; a refusal (wrong parameters, no access, rate) is not.
        """
        call = self.call(request, browser=browser)
        if self.take_fault((request.operation,), "key_in_use"):
            text = "There is currently another in-progress request using this Stripe-Idempotency-Key."
            refuse(409, text, "idempotency_key_in_use", kind="idempotency_error")
        if self.take_fault((request.operation,), "lock_timeout"):
            refuse(429, "This object cannot be accessed right now because another API request is using it.", "lock_timeout")
        key = request.headers.get("Idempotency-Key", "")
        if not key:
            return self._run(call, run)
        if len(key) > 255:
            refuse(400, "Idempotency keys may have at most 255 characters.")
        scoped = f"{call.account}:{key}"
        content = json.dumps([request.method, request.path, call.params.data], sort_keys=True)
        fingerprint = hashlib.sha256(content.encode()).hexdigest()
        kept = self.store.get(self.slug, IDEMPOTENCY, scoped)
        if kept and self.clock.now() - kept["at"] < KEY_LIFETIME:
            if kept["fingerprint"] != fingerprint:
                text = "Keys for idempotent requests can only be used with the same parameters they were first used with."
                refuse(400, text, kind="idempotency_error")
            answer = reply(kept["body"], kept["status"])
            answer.headers["Idempotent-Replayed"] = "true"
            return answer
        answer = self._run(call, run)
        row = {"at": self.clock.now(), "fingerprint": fingerprint, "status": answer.status, "body": answer.json()}
        self.store.put(self.slug, IDEMPOTENCY, scoped, row)
        return answer

    def _run(self, call: Call, run: Callable[[Call], Json]) -> SimReply:
        try:
            return reply(self.render(run(call), call))
        except Executed as executed:
            return executed.reply

    # --- objects

    def save(self, thing: Json) -> Json:
        self.store.put(self.slug, thing["object"], thing["id"], thing, ref=thing["_account"])
        return thing

    def find(self, kind: str, ref: str, account: str, param: str = "") -> Json:
        """Return an object of this account; refuses with 404 (for nested ids 400 with Stripe, here the same)."""
        found = self.store.get(self.slug, kind, ref)
        if found is None or found["_account"] != account:
            missing(kind, ref[:100], param or kind.removeprefix("payment_").removeprefix("setup_"))
        return found

    def all(self, kind: str, account: str = "") -> list[Json]:
        """Return all objects of a kind (of one account), newest first."""
        return [each.data for each in self.store.find(self.slug, kind, account or None, limit=100_000)]

    def listed(self, call: Call, kind: str, path: str, matches: Callable[[Json], bool]) -> Json:
        """Return one page of a list: `limit`, `starting_after`, `created`."""
        limit = call.params.integer("limit", 10)
        if limit > 100:
            refuse(400, "Invalid integer: limit must be at most 100", "parameter_invalid_integer", "limit")
        created = call.params.within("created").allow("gt", "gte", "lt", "lte")
        rows = [row for row in self.all(kind, call.account) if matches(row) and _in_time(row["created"], created)]
        after = call.params.text("starting_after")
        if after:
            ids = [row["id"] for row in rows]
            if after not in ids:
                missing(kind, after[:100], "starting_after")
            rows = rows[ids.index(after) + 1 :]
        return {"object": "list", "data": rows[:limit], "has_more": len(rows) > limit, "url": path}

    def render(self, thing: Json, call: Call | None = None) -> Json:
        """Return what is shown of an object or list, `expand` carried out."""
        shown: Json = _visible(thing)
        for path in call.params.texts("expand") if call else ():
            self._expand(shown, path.split("."), path)
        return shown

    def _expand(self, node: Any, steps: list[str], path: str) -> None:
        if isinstance(node, list):
            for each in node:
                self._expand(each, steps, path)
            return
        if not steps or not isinstance(node, dict):
            return
        name = steps[0]
        if name not in node:
            refuse(400, f"This property cannot be expanded ({path}).", "", "expand")
        value = node[name]
        kind = KINDS.get(value.partition("_")[0]) if isinstance(value, str) else None
        if kind:
            found = self.store.get(self.slug, kind, str(value))
            node[name] = _visible(found) if found else value
        self._expand(node[name], steps[1:], path)

    def state(self) -> Json:
        shown = [
            {"label": each.label, "id": each.id, "platform": each.platform, **self.events.setup(each.id)}
            for each in self.people
        ]
        kinds = ("payment_intent", "setup_intent", "charge", "refund", "dispute", "customer")
        objects = {kind: [{**_visible(each), "client_secret": "••••"} for each in self.all(kind)[:50]] for kind in kinds}
        return {"accounts": shown, "settings": self.all_settings(), **objects}


def _visible(thing: Any) -> Any:
    if isinstance(thing, dict):
        return {name: _visible(value) for name, value in thing.items() if not name.startswith("_")}
    return [_visible(each) for each in thing] if isinstance(thing, list) else thing


def _in_time(created: int, window: Params) -> bool:
    checks: dict[str, Callable[[int], bool]] = {
        "gt": lambda at: created > at,
        "gte": lambda at: created >= at,
        "lt": lambda at: created < at,
        "lte": lambda at: created <= at,
    }
    return all(check(window.integer(name, least=0)) for name, check in checks.items() if window.has(name))
