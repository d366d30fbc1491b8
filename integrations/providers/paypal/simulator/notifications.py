"""Webhooks of the simulated PayPal: endpoints, events, signed deliveries with retries, the verification call."""

from __future__ import annotations

import base64
import json
import re
import uuid
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from integrations.providers.paypal.simulator import authority
from integrations.providers.paypal.simulator.accounts import Merchant
from integrations.providers.paypal.simulator.envelope import answer, empty, link, new_id, time
from integrations.simulators import CallbackReply, Part, Refusal, SimReply, SimRequest, action, on_reply, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.paypal.simulator.fake import PaypalSimulator

SETUP = "setup"
EVENT = "event"
ALGORITHM = "SHA256withRSA"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
MOST_WEBHOOKS = 10
EVENT_NAME = re.compile(r"\*|(CHECKOUT|PAYMENT|CUSTOMER|VAULT|RISK|BILLING|INVOICING)\.[A-Z.-]+")


class NotificationDesk(Part):
    """`/v1/notifications`."""

    def __init__(self, sim: PaypalSimulator) -> None:
        self._sim = sim

    # --- endpoints

    @route("POST", "/v1/notifications/webhooks", operation="webhook_register")
    def create(self, request: SimRequest) -> SimReply:
        merchant, body = self._sim.authorised(request), self._sim.body(request)
        url, events = self._checked(body.get("url"), body.get("event_types"))
        found = self.webhooks(merchant)
        if any(each["url"] == url for each in found):
            _refuse("WEBHOOK_URL_ALREADY_EXISTS", "Webhook URL already exists.")
        if len(found) >= MOST_WEBHOOKS:
            _refuse("WEBHOOK_NUMBER_LIMIT_EXCEEDED", "You have reached the maximum number of webhooks.")
        webhook = {"id": new_id(), "label": merchant.label, "url": url, "events": events}
        self._save(webhook)
        return answer(self._shown(webhook), 201)

    @route("GET", "/v1/notifications/webhooks", operation="webhooks")
    def listed(self, request: SimRequest) -> SimReply:
        merchant = self._sim.authorised(request)
        return answer({"webhooks": [self._shown(each) for each in self.webhooks(merchant)]})

    @route("GET", "/v1/notifications/webhooks/<id>", operation="webhooks")
    def read(self, request: SimRequest) -> SimReply:
        return answer(self._shown(self._webhook(request)))

    @route("PATCH", "/v1/notifications/webhooks/<id>", operation="webhook_register")
    def change(self, request: SimRequest) -> SimReply:
        webhook = dict(self._webhook(request))
        try:
            patches = json.loads(request.body)
        except ValueError:
            patches = None
        if not isinstance(patches, list) or not patches:
            _refuse("VALIDATION_ERROR", "Invalid data provided.")
        for each in patches:
            if not isinstance(each, dict) or each.get("op") != "replace" or each.get("path") not in ("/url", "/event_types"):
                _refuse("WEBHOOK_PATCH_REQUEST_NO_CHANGE", "Only url and event_types can be replaced.")
            name = "url" if each["path"] == "/url" else "events"
            url = each.get("value") if name == "url" else webhook["url"]
            events = each.get("value") if name == "events" else [{"name": one} for one in webhook["events"]]
            webhook["url"], webhook["events"] = self._checked(url, events)
        self._save(webhook)
        return answer(self._shown(webhook))

    @route("DELETE", "/v1/notifications/webhooks/<id>", operation="webhook_delete")
    def delete(self, request: SimRequest) -> SimReply:
        self._save({**self._webhook(request), "deleted": True})
        return empty()

    # --- events

    @route("GET", "/v1/notifications/webhooks-events", operation="events")
    def events(self, request: SimRequest) -> SimReply:
        merchant = self._sim.authorised(request)
        kind, size = request.query.get("event_type", ""), int(request.query.get("page_size", "10"))
        found = [
            each.data["event"]
            for each in self._sim.store.find(self._sim.slug, EVENT, merchant.label)
            if not kind or each.data["event"]["event_type"] == kind
        ]
        links = [link(f"{self._sim.base}/v1/notifications/webhooks-events", "self")]
        return answer({"events": found[:size], "count": len(found[:size]), "links": links})

    @route("GET", "/v1/notifications/webhooks-events/<id>", operation="events")
    def event(self, request: SimRequest) -> SimReply:
        return answer(self._event(request)["event"])

    @route("POST", "/v1/notifications/webhooks-events/<id>/resend", operation="event_resend")
    def resend(self, request: SimRequest) -> SimReply:
        """Send an event once more, to the webhooks named or to all that it was sent to."""
        kept = self._event(request)
        wanted = self._sim.body(request).get("webhook_ids")
        for each in self.webhooks(self._sim.merchant(kept["label"])):
            if each["id"] in (wanted or kept["webhooks"]):
                self._send(each, kept["event"], ["event_resend"], 0.0, None)
        return answer(kept["event"], 202)

    @route("POST", "/v1/notifications/verify-webhook-signature", operation="verify_signature")
    def verify(self, request: SimRequest) -> SimReply:
        """Say whether a signature is this simulator's. The event counts as it was sent, byte for byte."""
        self._sim.authorised(request)
        body = self._sim.body(request)
        names = ("auth_algo", "cert_url", "transmission_id", "transmission_sig", "transmission_time", "webhook_id")
        if not all(isinstance(body.get(name), str) for name in names) or not isinstance(body.get("webhook_event"), dict):
            _refuse("VALIDATION_ERROR", "Invalid data provided.")
        text = _message(body["transmission_id"], body["transmission_time"], body["webhook_id"], _raw_event(request.body))
        # PKCS#1 v1.5 signatures are deterministic: an equal one is a right one.
        signature = base64.b64encode(authority.sign(self._state_dir, text)).decode()
        good = (body["transmission_sig"], body["auth_algo"], body["cert_url"]) == (signature, ALGORITHM, self.certificate_url)
        return answer({"verification_status": "SUCCESS" if good else "FAILURE"})

    @route("GET", "/v1/notifications/certs/<name>", operation="webhook_certificate")
    def certificate(self, request: SimRequest) -> SimReply:
        """The certificate behind the signatures; anybody may read it."""
        if request.params["name"] != authority.certificate_name(self._state_dir):
            return SimReply.of_text("no such certificate", 404)
        return SimReply(200, authority.leaf_pem(self._state_dir), {"Content-Type": "application/x-pem-file"})

    # --- used by the others

    @property
    def certificate_url(self) -> str:
        return f"{self._sim.base}/v1/notifications/certs/{authority.certificate_name(self._state_dir)}"

    def webhooks(self, merchant: Merchant) -> list[Json]:
        """Return an account's webhooks. The first exists from the start and goes to a sink until it is pointed elsewhere."""
        found = {
            each.data["id"]: each.data
            for each in reversed(self._sim.store.find(self._sim.slug, SETUP, f"webhooks {merchant.label}"))
        }
        first = {
            "id": merchant.webhook_id,
            "label": merchant.label,
            "url": f"{self._sim.public_url}/sink/paypal-{merchant.label}",
            "events": ["*"],
        }
        return [each for each in ({merchant.webhook_id: first} | found).values() if not each.get("deleted")]

    def point(self, merchant: Merchant, url: str) -> None:
        """Let the account's first webhook go to `url`; ValueError if PayPal would not take that."""
        if not _acceptable(url):
            raise ValueError("webhook_url must begin with https:// (or be on loopback)")
        self._save({"id": merchant.webhook_id, "label": merchant.label, "url": url, "events": ["*"]})

    def notify(
        self, label: str, event_type: str, resource_type: str, resource: Json, cause: str = "event",
        early: SimRequest | None = None,
    ) -> None:  # fmt: skip
        """Make an event and send it to every webhook that wants it. `cause` is the operation, for faults."""
        at = self._sim.clock.now()
        number = f"WH-{new_id(17)}-{new_id(17)}"
        event = {
            "id": number,
            "event_version": "1.0",
            "create_time": time(at),
            "resource_type": resource_type,
            "resource_version": "2.0",
            "event_type": event_type,
            "summary": event_type.replace(".", " ").capitalize(),
            "resource": resource,
            "links": [link(f"{self._sim.base}/v1/notifications/webhooks-events/{number}", "self")],
        }
        wanted = [
            each for each in self.webhooks(self._sim.merchant(label)) if "*" in each["events"] or event_type in each["events"]
        ]
        kept = {"label": label, "event": event, "webhooks": [each["id"] for each in wanted]}
        self._sim.store.put(self._sim.slug, EVENT, number, kept, label)
        for webhook in wanted:
            self._send(webhook, event, [event_type, cause], float(self._sim.setting("event_delay")), early)

    # --- deliveries

    def _send(self, webhook: Json, event: Json, operations: list[str], delay: float, early: SimRequest | None) -> None:
        context = {"webhook": webhook["id"], "label": webhook["label"], "event": event["id"], "attempt": 1}
        # A lost event is lost: no retry of PayPal's brings it back.
        lost = self._sim.take_fault(operations, "lose_callback") is not None
        self._post(webhook, event, context, operations, 0.0 if early else delay, early=early, lost=lost)

    def _post(
        self, webhook: Json, event: Json, context: Json, operations: list[str], delay: float, *,
        early: SimRequest | None = None, lost: bool = False,
    ) -> None:  # fmt: skip
        body = json.dumps(event, separators=(",", ":"), ensure_ascii=False)
        number, at = str(uuid.uuid4()), time(self._sim.clock.now())
        signature = authority.sign(self._state_dir, _message(number, at, webhook["id"], body.encode()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "PayPal/AUHD-214.0-58843632",
            "PAYPAL-TRANSMISSION-ID": number,
            "PAYPAL-TRANSMISSION-TIME": at,
            "PAYPAL-TRANSMISSION-SIG": base64.b64encode(signature).decode(),
            "PAYPAL-CERT-URL": self.certificate_url,
            "PAYPAL-AUTH-ALGO": ALGORITHM,
            "PAYPAL-AUTH-VERSION": "v2",
        }
        self._sim.callback(
            operations, webhook["url"], body, headers, delay=delay, early=early, lost=lost,
            reply_to="" if lost else "delivered", context=context,
        )  # fmt: skip

    @on_reply("delivered")
    def delivered(self, context: Json, reply: CallbackReply | None) -> None:
        """Plan the next try of what was not taken: 25 over three days at PayPal, `tries` with a growing pause here."""
        taken = reply is not None and 200 <= reply.status < 300
        if not taken and context["attempt"] < int(self._sim.setting("tries")):
            pause = float(self._sim.setting("retry_delay")) * 2 ** (context["attempt"] - 1)
            self._sim.later("retry", {**context, "attempt": context["attempt"] + 1}, pause)

    @action("retry")
    def retry(self, context: Json) -> None:
        merchant = self._sim.merchant(context["label"])
        kept = self._sim.store.get(self._sim.slug, EVENT, context["event"])
        for each in self.webhooks(merchant):
            if kept and each["id"] == context["webhook"]:
                self._post(each, kept["event"], context, ["retry"], 0.0)

    # --- pieces

    @property
    def _state_dir(self) -> Path:
        return self._sim.store.state_dir

    def _save(self, webhook: Json) -> None:
        self._sim.store.put(self._sim.slug, SETUP, f"webhook {webhook['id']}", webhook, f"webhooks {webhook['label']}")

    def _webhook(self, request: SimRequest) -> Json:
        merchant = self._sim.authorised(request)
        found = next((each for each in self.webhooks(merchant) if each["id"] == request.params["id"]), None)
        if found is None:
            _refuse("INVALID_RESOURCE_ID", "The requested resource ID was not found.", 404)
        return found

    def _event(self, request: SimRequest) -> Json:
        merchant = self._sim.authorised(request)
        kept = self._sim.store.get(self._sim.slug, EVENT, request.params["id"])
        if kept is None or kept["label"] != merchant.label:
            _refuse("INVALID_RESOURCE_ID", "The requested resource ID was not found.", 404)
        return kept

    def _checked(self, url: object, events: object) -> tuple[str, list[str]]:
        if not isinstance(url, str) or not _acceptable(url):
            _refuse("VALIDATION_ERROR", "Invalid data provided.")
        names = [each.get("name") for each in events if isinstance(each, dict)] if isinstance(events, list) else []
        if not names or not all(isinstance(name, str) and EVENT_NAME.fullmatch(name) for name in names):
            _refuse("VALIDATION_ERROR", "Not a valid event type.")
        return url, [str(name) for name in names]

    def _shown(self, webhook: Json) -> Json:
        return {
            "id": webhook["id"],
            "url": webhook["url"],
            "event_types": [{"name": name, "status": "ENABLED"} for name in webhook["events"]],
            "links": [link(f"{self._sim.base}/v1/notifications/webhooks/{webhook['id']}", "self")],
        }


def _refuse(name: str, message: str, status: int = 400) -> NoReturn:
    """Raise with the webhooks API's own error shape: names of its own, no issues."""
    body = {"name": name, "message": message, "debug_id": new_id(13).lower()}
    raise Refusal(SimReply.of_json(body, status))


def _acceptable(url: str) -> bool:
    """Return whether PayPal takes this URL; own rule of the simulator: plain http and any port on loopback."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if host in LOOPBACK:
        return parts.scheme in ("http", "https")
    return bool(host) and parts.scheme == "https" and port in (None, 443)


def _message(number: str, at: str, webhook_id: str, body: bytes) -> bytes:
    return f"{number}|{at}|{webhook_id}|{zlib.crc32(body)}".encode()


def _raw_event(body: bytes) -> bytes:
    """Return the text of the member `webhook_event` as it stands in the body."""
    text = body.decode()
    found = re.search(r'"webhook_event"\s*:\s*', text)
    if found is None:
        return b""
    _value, end = json.JSONDecoder().raw_decode(text, found.end())
    return text[found.end() : end].encode()
