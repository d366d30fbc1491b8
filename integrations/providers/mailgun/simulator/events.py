"""Events: kept for the Events API, sent signed to whoever is registered, again until they are taken."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from typing import TYPE_CHECKING

from integrations.simulators import CallbackReply, DemoAccount, Part, SimRequest, action, on_reply
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.mailgun.simulator.fake import MailgunSimulator

EVENT, LISTED = "event", "listed"
RETRIES = (5, 10, 15, 60, 120, 240)
"""Minutes between tries."""

LEVELS = {"failed": "error", "rejected": "warn", "complained": "warn", "unsubscribed": "warn"}
STATUSES: dict[str, Json] = {
    "accepted": {"event": "accepted"},
    "delivered": {"event": "delivered", "delivery-status": {"code": 250, "message": "OK", "attempt-no": 1, "tls": True}},
    "deferred": {
        "event": "failed", "severity": "temporary", "reason": "generic",
        "delivery-status": {"code": 451, "message": "4.7.1 try again later", "attempt-no": 1, "retry-seconds": 600},
    },
    "bounced": {
        "event": "failed", "severity": "permanent", "reason": "bounce",
        "delivery-status": {"code": 550, "enhanced-code": "5.1.1", "message": "5.1.1 no such user here", "attempt-no": 1},
    },
    "failed": {
        "event": "failed", "severity": "permanent", "reason": "old",
        "delivery-status": {"code": 602, "message": "Too old", "attempt-no": 9},
    },
    "suppress-bounce": {
        "event": "failed", "severity": "permanent", "reason": "suppress-bounce",
        "delivery-status": {"code": 605, "message": "", "description": "Not delivering to previously bounced address"},
    },
    "suppress-complaint": {
        "event": "failed", "severity": "permanent", "reason": "suppress-complaint",
        "delivery-status": {"code": 607, "message": "", "description": "Not delivering to a user who marked as spam"},
    },
    "suppress-unsubscribe": {
        "event": "failed", "severity": "permanent", "reason": "suppress-unsubscribe",
        "delivery-status": {"code": 606, "message": "", "description": "Not delivering to unsubscribed address"},
    },
    "rejected": {"event": "rejected", "reject": {"reason": "Sandbox check", "description": "looks like spam"}},
    "opened": {"event": "opened", "ip": "192.0.2.7", "client-info": {"client-type": "browser", "device-type": "desktop"}},
    "opened-by-machine": {"event": "opened", "ip": "192.0.2.8", "client-info": {"client-type": "browser", "bot": "apple"}},
    "clicked": {"event": "clicked", "ip": "192.0.2.7", "url": "https://example.com/", "client-info": {"device-type": "mobile"}},
    "complained": {"event": "complained"},
    "unsubscribed": {"event": "unsubscribed", "ip": "192.0.2.7"},
}  # fmt: skip
LISTS_ON = {"bounced": "bounces", "complained": "complaints", "unsubscribed": "unsubscribes"}
WITHOUT_WEBHOOK = frozenset({"rejected"})


class Events(Part):
    """Targets are the URLs registered for a type by the API, and per account the one that the control API sets."""

    def __init__(self, sim: MailgunSimulator) -> None:
        self._sim = sim

    def plan(self, row: Json, statuses: tuple[str, ...], cause: SimRequest) -> None:
        """Let these happen to a message one after the other; the first at once where the tester asks for an early report."""
        delay = float(self._sim.setting("event_delay"))
        names = (webhook_type(STATUSES[statuses[0]]), cause.operation)
        early = self._sim.take_fault(names, "early_callback") is not None
        for place, status in enumerate(statuses):
            if early and place == 0:
                self.happen(row["id"], status, cause)
            else:
                self._sim.later("happen", {"id": row["id"], "status": status}, delay * (place + 1))

    @action("happen")
    def happen_later(self, context: Json) -> None:
        self.happen(context["id"], context["status"], None)

    def happen(self, row_id: str, status: str, cause: SimRequest | None) -> Json:
        """Something happens to a message now: keep the event, move the row, tell whoever is registered."""
        sim = self._sim
        row = sim.store.get(sim.slug, "message", row_id)
        if row is None:
            raise KeyError(row_id)
        if status not in STATUSES:
            raise ValueError(f"unknown status {status!r}: one of {', '.join(STATUSES)}")
        row["state"] = status
        sim.store.put(sim.slug, "message", row_id, row, ref=row["account"])
        event = self._event(row, STATUSES[status])
        sim.store.put(sim.slug, EVENT, event["id"], {"account": row["account"], "event": event}, ref=row["account"])
        account = sim.account_of(row["account"])
        if status in LISTS_ON:
            self.put_on_list(row["account"], LISTS_ON[status], row["to"])
        if status not in WITHOUT_WEBHOOK and not row["to"].startswith("silent"):
            self._tell(account, row, event, cause)
        return row

    def put_on_list(self, label: str, name: str, address: str) -> None:
        data: Json = {"account": label, "list": name, "address": address, "at": self._sim.clock.now()}
        self._sim.store.put(self._sim.slug, LISTED, f"{label}|{name}|{address}", data, ref=f"{label}|{name}")

    def _event(self, row: Json, said: Json) -> Json:
        headers = {"message-id": row["message_id"], "from": row["from"], "to": row["header_to"], "subject": row["subject"]}
        event: Json = {
            "id": secrets.token_urlsafe(16), "timestamp": self._sim.clock.now(),
            "log-level": LEVELS.get(said["event"], "info"), "domain": {"name": row["domain"]},
            "message": {"headers": headers, "attachments": [], "size": len(row["text"]) + 500},
            "flags": {"is-authenticated": True, "is-routed": False, "is-test-mode": row["is_test"]},
            "tags": row["tags"], "user-variables": row["variables"], **said,
        }  # fmt: skip
        if said["event"] != "rejected":
            event["recipient"] = row["to"]
            event["recipient-domain"] = row["to"].rpartition("@")[2]
            event["envelope"] = {"sender": row["from"], "targets": row["to"], "transport": "smtp"}
        return event

    def _tell(self, account: DemoAccount, row: Json, event: Json, cause: SimRequest | None) -> None:
        kind = webhook_type(event)
        for url in self._targets(account, kind):
            block = self._signature(account)
            self._send(url, {"signature": block, "event-data": event}, kind, 0, cause)
            local = row["to"].partition("@")[0].lower()
            if event["event"] == "delivered" and local.startswith("dup"):
                self._send(url, {"signature": block, "event-data": event}, kind, 0, None)
            if event["event"] == "delivered" and local.startswith("replay"):
                forged = {**event, **STATUSES["bounced"]}
                self._send(url, {"signature": block, "event-data": forged}, kind, 0, None, delay=0.2)

    def _targets(self, account: DemoAccount, kind: str) -> list[str]:
        setup = self._sim.setup(account.label)
        urls = [*setup["webhooks"].get(kind, [])]
        if setup["webhook_url"] and kind != "accepted":
            urls.append(setup["webhook_url"])
        return list(dict.fromkeys(urls))

    def _signature(self, account: DemoAccount) -> Json:
        stamp, token = str(int(self._sim.clock.now())), secrets.token_hex(25)
        return {
            "timestamp": stamp,
            "token": token,
            "signature": signature(account.secrets["webhook_signing_key"], stamp, token),
        }

    def _send(self, url: str, body: Json, kind: str, tries: int, cause: SimRequest | None, *, delay: float = 0.0) -> None:
        names = (kind, "send")
        # A lost delivery is one that never comes: it must not be sent again because nobody answered.
        lost = self._sim.take_fault(names, "lose_callback") is not None
        self._sim.callback(
            names, url, json.dumps(body), {"Content-Type": "application/json", "User-Agent": "mailgun/treq-20"}, delay=delay,
            early=cause, lost=lost, reply_to="" if lost else "answered",
            context={"url": url, "body": body, "kind": kind, "tries": tries},
        )  # fmt: skip

    @on_reply("answered")
    def answered(self, context: Json, answer: CallbackReply | None) -> None:
        """200 and 406 end it; anything else is tried again, but for `delivered` (documentation, "Webhook retries")."""
        taken = answer is not None and answer.status in (200, 406)
        tries = int(context["tries"])
        if not taken and context["kind"] != "delivered" and tries < len(RETRIES):
            self._sim.later("again", context, RETRIES[tries] * float(self._sim.setting("retry_minute")))

    @action("again")
    def again(self, context: Json) -> None:
        """The same signature again: whether Mailgun signs anew is unconfirmed, and this is the harder case."""
        self._send(context["url"], context["body"], context["kind"], int(context["tries"]) + 1, None)


def webhook_type(event: Json) -> str:
    """Return the type under which a URL hears of an event."""
    if event["event"] == "failed":
        return "temporary_fail" if event["severity"] == "temporary" else "permanent_fail"
    return str(event["event"])


def signature(key: str, stamp: str, token: str) -> str:
    return hmac.new(key.encode(), f"{stamp}{token}".encode(), hashlib.sha256).hexdigest()
