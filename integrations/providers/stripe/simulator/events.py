"""Events: kept for 30 days' worth of reading, sent signed to whoever is registered, again until they are taken."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING

from integrations.providers.stripe.simulator.answers import new_id, refuse
from integrations.simulators import CallbackReply, Part, SimReply, SimRequest, action, on_reply, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.stripe.simulator.fake import Call, StripeSimulator

VERSION = "2023-10-16"
ENDPOINT, SETUP = "webhook_endpoint", "setup"
AMOUNTS = ("amount", "amount_received", "amount_captured")


class Events(Part):
    """Targets are endpoints made by the API, and per account the URL that the control API sets (all events)."""

    def __init__(self, sim: StripeSimulator) -> None:
        self._sim = sim

    # --- the API

    @route("GET", "/v1/events", operation="events")
    def listing(self, request: SimRequest) -> SimReply:
        def run(call: Call) -> Json:
            wanted = call.params.allow("limit", "starting_after", "created", "type").text("type")
            return self._sim.listed(call, "event", "/v1/events", lambda each: not wanted or each["type"] == wanted)

        return self._sim.read(request, run)

    @route("GET", "/v1/events/<id>", operation="events")
    def one(self, request: SimRequest) -> SimReply:
        return self._sim.read(request, lambda call: self._sim.find("event", request.params["id"], call.account, "id"))

    @route("GET", "/v1/webhook_endpoints", operation="webhooks")
    def endpoints(self, request: SimRequest) -> SimReply:
        def run(call: Call) -> Json:
            call.params.allow("limit", "starting_after")
            page = self._sim.listed(call, ENDPOINT, "/v1/webhook_endpoints", lambda each: True)
            return {**page, "data": [_without_secret(each) for each in page["data"]]}

        return self._sim.read(request, run)

    @route("POST", "/v1/webhook_endpoints", operation="webhooks")
    def create(self, request: SimRequest) -> SimReply:
        """Create; the only answer that holds the secret."""

        def run(call: Call) -> Json:
            params = call.params.allow("url", "enabled_events", "api_version", "connect", "description", "metadata")
            made = {
                "id": new_id("we"), "object": ENDPOINT, "api_version": params.text("api_version") or None, "application": None,
                "created": int(self._sim.clock.now()), "description": params.text("description") or None,
                "enabled_events": self._wanted(call), "livemode": False, "metadata": params.metadata(),
                "secret": f"whsec_{new_id('x')[2:]}{new_id('x')[2:10]}", "status": "enabled", "url": self._url(call),
                "_account": call.account, "_connect": params.boolean("connect"),
            }  # fmt: skip
            return self._sim.save(made)

        return self._sim.write(request, run)

    @route("POST", "/v1/webhook_endpoints/<id>", operation="webhooks")
    def change(self, request: SimRequest) -> SimReply:
        def run(call: Call) -> Json:
            params = call.params.allow("url", "enabled_events", "disabled", "description", "metadata")
            found = self._sim.find(ENDPOINT, request.params["id"], call.account)
            found["url"] = self._url(call) if params.has("url") else found["url"]
            found["enabled_events"] = self._wanted(call) if params.has("enabled_events") else found["enabled_events"]
            if params.has("disabled"):
                found["status"] = "disabled" if params.boolean("disabled") else "enabled"
            return _without_secret(self._sim.save(found))

        return self._sim.write(request, run)

    @route("DELETE", "/v1/webhook_endpoints/<id>", operation="webhooks")
    def delete(self, request: SimRequest) -> SimReply:
        def run(call: Call) -> Json:
            found = self._sim.find(ENDPOINT, request.params["id"], call.account)
            sql = "DELETE FROM documents WHERE slug = ? AND kind = ? AND id = ?"
            self._sim.store.execute(sql, self._sim.slug, ENDPOINT, found["id"])
            return {"id": found["id"], "object": ENDPOINT, "deleted": True}

        return self._sim.write(request, run)

    def _url(self, call: Call) -> str:
        url = call.params.text("url", required=True)
        if not url.startswith(("http://", "https://")):
            refuse(400, "Invalid URL: An explicit scheme (such as https) must be provided.", "url_invalid", "url")
        return url

    def _wanted(self, call: Call) -> list[str]:
        found = call.params.texts("enabled_events")
        if not found:
            refuse(400, "Missing required param: enabled_events.", "parameter_missing", "enabled_events")
        return found

    # --- what is set by the control API

    def setup(self, account: str) -> Json:
        """Return an account's switches: `webhook_url`, `multicapture`, `charges_enabled`."""
        kept = self._sim.store.get(self._sim.slug, SETUP, account) or {}
        return {"webhook_url": "", "multicapture": False, "charges_enabled": True, **kept}

    def set_up(self, account: str, changed: Json) -> Json:
        found = {**self.setup(account), **changed}
        self._sim.store.put(self._sim.slug, SETUP, account, found)
        return found

    # --- sending

    def emit(self, kind: str, thing: Json, cause: SimRequest | None = None, previous: Json | None = None) -> None:
        """Something happened to `thing`: keep the event and send it. `cause` is the request that did it, if one did."""
        sim, account = self._sim, thing["_account"]
        person = next(each for each in sim.people if each.id == account)
        data: Json = {"object": sim.render(thing)}
        if previous is not None:
            data["previous_attributes"] = previous
        operation = cause.operation if cause else ""
        key = cause.headers.get("Idempotency-Key") if cause else None
        event: Json = {
            "id": new_id("evt"), "object": "event", "api_version": VERSION, "created": int(sim.clock.now()), "data": data,
            "livemode": False, "pending_webhooks": 0, "request": {"id": None, "idempotency_key": key}, "type": kind,
            "_account": account, "_operation": operation,
        }  # fmt: skip
        if person.platform:
            event["account"] = account
        targets = self._targets(account, person.platform, kind)
        event["pending_webhooks"] = len(targets)
        sim.save(event)
        for target in targets:
            self._send(event, target, 1, cause)

    def _targets(self, account: str, platform: str, kind: str) -> list[str]:
        found = [f"control:{account}"] if self.setup(account)["webhook_url"] else []
        for each in self._sim.all(ENDPOINT, platform or account):
            hears = each["_connect"] is bool(platform) and each["status"] == "enabled"
            if hears and ("*" in each["enabled_events"] or kind in each["enabled_events"]):
                found.append(each["id"])
        return found

    def _target(self, name: str) -> tuple[str, str, str] | None:
        """Return (url, secret, API version) of a target, None where it is gone."""
        if name.startswith("control:"):
            account = name.removeprefix("control:")
            person = next(each for each in self._sim.people if each.id == account)
            return self.setup(account)["webhook_url"], person.webhook_secret, VERSION
        found = self._sim.store.get(self._sim.slug, ENDPOINT, name)
        return (found["url"], found["secret"], found["api_version"] or VERSION) if found else None

    def _send(self, event: Json, target: str, attempt: int, cause: SimRequest | None) -> None:
        sim, found = self._sim, self._target(target)
        if found is None or not found[0]:
            return
        url, secret, version = found
        names = (event["type"], event["_operation"])
        shown = {**sim.render(event), "api_version": version}
        if sim.take_fault(names, "wrong_amount"):
            shown["data"] = {**shown["data"], "object": wrong_amount(shown["data"]["object"])}
        body = json.dumps(shown, indent=2)
        early = cause if attempt == 1 and sim.take_fault(names, "early_callback") else None
        delay = 0.0 if early else float(sim.setting("callback_delay"))
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(body, secret, sim.clock.now() + delay),
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        context = {"event": event["id"], "target": target, "attempt": attempt}
        # A lost delivery is one that never comes: it must not be sent again because nobody answered.
        lost = sim.take_fault(names, "lose_callback") is not None
        sim.callback(
            names, url, body, headers, delay=delay, early=early, lost=lost,
            reply_to="" if lost else "event_answered", context=context,
        )  # fmt: skip

    @on_reply("event_answered")
    def answered(self, context: Json, answer: CallbackReply | None) -> None:
        """2xx ends it; anything else is tried again later, signed anew, under the same event id."""
        taken = answer is not None and 200 <= answer.status < 300
        if not taken and context["attempt"] <= int(self._sim.setting("retries")):
            self._sim.later("event_again", context, float(self._sim.setting("retry_delay")) * context["attempt"])

    @action("event_again")
    def again(self, context: Json) -> None:
        event = self._sim.store.get(self._sim.slug, "event", context["event"])
        if event:
            self._send(event, context["target"], context["attempt"] + 1, None)


def signature(body: str, secret: str, at: float) -> str:
    """Return the `Stripe-Signature` header (docs.stripe.com/webhooks#verify-manually), with the test-mode `v0` that real
    ones carry too."""
    stamp = int(at)
    digest = hmac.new(secret.encode(), f"{stamp}.{body}".encode(), hashlib.sha256).hexdigest()
    return f"t={stamp},v1={digest},v0={digest[::-1]}"


def wrong_amount(thing: Json) -> Json:
    """Return the object with other amounts: one less, two where it was one."""
    changed = {name: (thing[name] - 1 if thing[name] > 1 else 2) for name in AMOUNTS if thing.get(name)}
    return {**thing, **changed}


def _without_secret(endpoint: Json) -> Json:
    return {name: value for name, value in endpoint.items() if name != "secret"}
