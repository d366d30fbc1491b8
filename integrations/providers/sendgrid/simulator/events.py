"""What happens to accepted messages, told in signed batches; a batch that is not taken comes again at growing intervals."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

from integrations.providers.sendgrid.simulator.hooks import signature
from integrations.providers.sendgrid.webhook import SIGNATURE_HEADER, TIMESTAMP_HEADER
from integrations.simulators import CallbackReply, Part, SimRequest, action, on_reply
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.sendgrid.simulator.fake import SendGridSimulator

OPERATION = "events"
BOUNCED = "550 5.1.1 The email account that you tried to reach does not exist."
BLOCKED = "550 5.7.1 The message was refused by the receiving server's policy."
DEFERRED = "451 4.7.1 try again later"
AGENT = "Mozilla/5.0 (X11; Linux x86_64)"
# Local part -> what happens, after `processed` where nothing else is said, one step after the other.
STORIES: dict[str, tuple[str, ...]] = {
    "bounce": ("processed", "bounce"),
    "block": ("processed", "blocked"),
    "drop": ("dropped",),
    "defer": ("processed", "deferred", "delivered"),
    "spam": ("processed", "delivered", "spamreport"),
    "unsub": ("processed", "delivered", "unsubscribe"),
    "open": ("processed", "delivered", "machine_open", "open", "click"),
    "late": ("delivered", "processed"),
    "early": ("delivered",),
    "silent": (),
}
USUAL = ("processed", "delivered")
ALIASES = {
    "bounced": "bounce", "failed": "blocked", "complained": "spamreport", "complaint": "spamreport", "opened": "open",
    "read": "open", "clicked": "click", "unsubscribed": "unsubscribe", "resubscribed": "group_resubscribe",
}  # fmt: skip
KINDS = frozenset(
    {
        "processed", "deferred", "delivered", "bounce", "blocked", "dropped", "open", "machine_open", "click", "spamreport",
        "unsubscribe", "group_unsubscribe", "group_resubscribe",
    }
)  # fmt: skip
# The flag of a webhook's settings where it is not called as the event.
FLAGS = {"blocked": "bounce", "machine_open": "open", "spamreport": "spam_report"}


class Events(Part):
    """Turns what happens to a row (a recipient's message) into its new state, list entries, and events."""

    def __init__(self, sim: SendGridSimulator) -> None:
        self._sim = sim

    def plan(self, request: SimRequest, label: str, rows: list[Json]) -> None:
        """Plan what becomes of newly accepted rows. Rows that meet the same at the same step share a batch."""
        delay = float(self._sim.setting("event_delay"))
        early_fault = self._sim.take_fault((OPERATION, "send"), "early_callback")
        steps: dict[int, list[list[str]]] = {}
        for row in rows:
            local = row["to"].partition("@")[0].lower()
            story = next((each for prefix, each in STORIES.items() if local.startswith(prefix)), USUAL)
            if self._sim.lists.why_dropped(label, row["to"]) or _broken(row["name"]):
                story = ("dropped",)
            if story and (early_fault or local.startswith("early")):
                self._tell(label, self._happen(row, "delivered", ""), request=request)
                continue
            for number, kind in enumerate(story, start=1):
                steps.setdefault(number, []).append([row["id"], kind])
        for number, happenings in steps.items():
            self._sim.later("events", {"account": label, "happenings": happenings}, delay * number)

    def happen(self, row: Json, status: str, reason: str) -> None:
        """Make one thing happen to a row now and tell of it. ValueError for what SendGrid has no event for."""
        kind = ALIASES.get(status, status)
        if kind not in KINDS:
            raise ValueError(f"unknown status {status!r}: one of {', '.join(sorted({*KINDS, *ALIASES}))}")
        self._tell(row["account"], self._happen(row, kind, reason))

    @action("events")
    def come_due(self, context: Json) -> None:
        told: list[tuple[str, Json]] = []
        for ref, kind in context["happenings"]:
            row = self._sim.store.get(self._sim.slug, "message", ref)
            if row is not None:
                told += self._happen(row, kind, "")
        self._tell(context["account"], told)

    @action("again")
    def post_again(self, context: Json) -> None:
        self._post(context["hook"], context["account"], context["body"], context["tries"])

    @on_reply("posted")
    def posted(self, context: Json, reply: CallbackReply | None) -> None:
        """Not taken: again later, each time twice as late (24 hours in reality, some tries here)."""
        if reply is not None and 200 <= reply.status < 300:
            return
        if context["tries"] <= int(self._sim.setting("retries")):
            wait = float(self._sim.setting("retry_delay")) * 2 ** (context["tries"] - 1)
            self._sim.later("again", {**context, "tries": context["tries"] + 1}, wait)

    def _happen(self, row: Json, kind: str, reason: str) -> list[tuple[str, Json]]:
        """Change what the happening changes; return (flag, event) to tell."""
        label, address = row["account"], row["to"]
        if kind == "dropped":
            reason = reason or self._sim.lists.why_dropped(label, address) or "Invalid"
            if reason == "Invalid":
                self._sim.lists.add(label, "invalid_emails", address, "Mail domain mentioned in email address is unknown")
        elif kind == "bounce":
            reason = reason or BOUNCED
            self._sim.lists.add(label, "bounces", address, reason, "5.1.1")
        elif kind == "blocked":
            reason = reason or BLOCKED
            self._sim.lists.add(label, "blocks", address, reason, "5.7.1")
        elif kind == "spamreport":
            self._sim.lists.add(label, "spam_reports", address)
        elif kind == "unsubscribe":
            self._sim.lists.add(label, "unsubscribes", address)
        # `late…`: the news of the acceptance comes after that of the delivery, which stands.
        if kind not in ("deferred", "machine_open") and not (kind == "processed" and row["state"] != "processed"):
            row["state"] = kind
            self._sim.save(row)
        event = self._event(row, kind, reason)
        copies = 2 if address.lower().startswith("dup") else 1
        return [(FLAGS.get(kind, kind), event)] * copies

    def _event(self, row: Json, kind: str, reason: str) -> Json:
        event: Json = {
            "email": row["to"],
            "timestamp": int(self._sim.clock.now()),
            "event": {"blocked": "bounce", "machine_open": "open"}.get(kind, kind),
            "sg_event_id": secrets.token_urlsafe(24),
            "sg_message_id": row["id"],
            "smtp-id": f"<{row['message_id']}@geopod-ismtpd-1>",
        }
        if row["categories"]:
            event["category"] = row["categories"]
        match kind:
            case "deferred":
                event |= {"response": reason or DEFERRED, "attempt": "1"}
            case "delivered":
                event |= {"response": "250 OK", "ip": "192.0.2.10", "tls": 1}
            case "bounce":
                event |= {"type": "bounce", "status": "5.1.1", "reason": reason, "bounce_classification": "Invalid Address"}
            case "blocked":
                event |= {"type": "blocked", "status": "5.7.1", "reason": reason, "bounce_classification": "Reputation"}
            case "dropped":
                event |= {"reason": reason}
            case "open" | "machine_open":
                event |= {"useragent": AGENT, "ip": "192.0.2.55", "sg_machine_open": kind == "machine_open"}
            case "click":
                event |= {"useragent": AGENT, "ip": "192.0.2.55", "url": "https://example.org/"}
            case "group_unsubscribe" | "group_resubscribe":
                event |= {"asm_group_id": 10, "useragent": AGENT, "ip": "192.0.2.55"}
        return {**event, **row["custom_args"]}

    def _tell(self, label: str, told: list[tuple[str, Json]], request: SimRequest | None = None) -> None:
        for hook in self._sim.hooks.of(label):
            events = [event for flag, event in told if hook["enabled"] and hook[flag]]
            if events:
                # It ends with a line break, which is signed too.
                body = json.dumps(events, separators=(",", ":")) + "\r\n"
                self._post(hook["id"], label, body, 1, request)

    def _post(self, ref: str, label: str, body: str, tries: int, request: SimRequest | None = None) -> None:
        hook = next((each for each in self._sim.hooks.of(label) if each["id"] == ref), None)
        if hook is None:
            return
        signed_at = str(int(self._sim.clock.now()))
        headers = {"Content-Type": "application/json;charset=utf-8", "User-Agent": "SendGrid Event API"}
        if hook["signed"]:
            headers[TIMESTAMP_HEADER] = signed_at
            headers[SIGNATURE_HEADER] = signature(self._sim.store.state_dir, hook["key"], signed_at, body.encode())
        context = {"hook": ref, "account": label, "body": body, "tries": tries}
        self._sim.callback((OPERATION, "send"), hook["url"], body, headers, reply_to="posted", context=context, early=request)


def _broken(name: str) -> bool:
    # The service takes a separator outside of quotes for the end of the address (sendgrid-python issue 291).
    return bool(set(name) & {",", ";"}) and not (name.startswith('"') and name.endswith('"'))
