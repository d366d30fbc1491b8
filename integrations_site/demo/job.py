"""The main job, through the public API only: a school asks a parent for a fee, the parent pays, everybody is told.

The parent and the school's own system are played by the simulators; what they do goes through the control API.
"""

import uuid
from dataclasses import dataclass, field
from typing import Any

from integrations_site.demo.client import Client, wait_for
from integrations_site.demo.report import Report, StepFailedError

PHONE = "254712345678"
AMOUNT = 150_000  # KES 1,500.00 in cents
# Kind and status of the timeline entries that end the story (integrations/events.py, TimelineEntry).
RECEIPT_DELIVERED = ("sms", "delivered")
RECEIPT_MAILED = ("receipt", "sent")
WEBHOOK_DELIVERED = ("delivery", "delivered")
SINK = "school"


@dataclass
class SchoolFee:
    """One run of the job. `hub` carries the school's API key, `simulator` needs none."""

    hub: Client
    simulator: Client
    report: Report
    payment_id: str = ""
    timeline: list[dict[str, Any]] = field(default_factory=list)
    _seen_events: int = 0
    _seen_sms: int = 0

    def run(self) -> None:
        """Do every step in turn. Raises StepFailedError at the first that fails (the report has printed it)."""
        step = self.report.step
        with step("the school's own system subscribes to payment events") as words:
            words.append(self.subscribe())
        with step("delivery reports of the SMS provider are pointed at the hub") as words:
            words.extend(self.point_delivery_reports())
        with step("POST /api/payments/authorize asks the parent for KES 1,500.00") as words:
            words.extend(self.authorize())
        with step("the parent sees the prompt on the phone and enters the PIN") as words:
            words.append(self.enter_pin())
        with step("GET /api/payments/{id} turns to succeeded") as words:
            words.append(self.wait_until_paid())
        with step("the receipt is texted and mailed, the signed webhook delivered") as words:
            self.wait_until_told()
            words.append(f"{len(self.timeline)} timeline entries")
        with step("the school's system got one verified payment.completed") as words:
            words.append(self.check_sink())
        with step("the parent's phone got one receipt SMS") as words:
            words.append(self.check_inbox())
        with step("GET /api/payments/{id}/receipt gives the receipt as PDF") as words:
            words.append(self.fetch_receipt())

    def subscribe(self) -> str:
        """Register the sink as a webhook endpoint, anew: its secret is shown only once, and the sink needs it."""
        url = f"{self.simulator.base_url}/sink/{SINK}"
        for endpoint in self.hub.results("/api/webhooks"):
            if endpoint["url"] == url:
                self.hub.send("DELETE", f"/api/webhooks/{endpoint['id']}", expect=204)
        wanted = {"name": "School system", "url": url, "events": ["payment.completed", "payment.failed"]}
        created = self.hub.json("POST", "/api/webhooks", body=wanted, headers=_once(), expect=201)
        self.simulator.send("PUT", f"/control/sink/{SINK}", body={"secret": created["secret"], "status": 200})
        self._seen_events = len(self.simulator.json("GET", f"/control/sink/{SINK}"))
        return str(created["id"])

    def point_delivery_reports(self) -> list[str]:
        """What an organisation does in its provider's dashboard: enter the URL that the hub's set-up page shows."""
        done = []
        for config in self.hub.results("/api/v1/integrations/configs", params={"category": "sms"}):
            if config["environment"] != "simulator" or not config["is_active"]:
                continue
            slug = config["provider"]
            urls = self.hub.json("GET", f"/api/v1/integrations/setup/{slug}")["urls"]
            if "dlr" not in urls:
                continue  # told with each message where to report
            account = config["values"]["username"]
            wanted = {"dlr_url": urls["dlr"]["url"]}
            self.simulator.send("PUT", f"/control/{slug}/accounts/{account}", body=wanted)
            done.append(f"{slug} account {account}")
        if not done:
            raise StepFailedError("the school has no active SMS config in the simulator environment")
        return done

    def authorize(self) -> list[str]:
        """Start the payment as the school's own software would."""
        self._seen_sms = len(self.simulator.json("GET", "/control/phone/inbox", params={"number": PHONE}))
        for old in self._prompts():
            # Left by a run that was cut off: the parent is not to answer the wrong one.
            self.simulator.send("POST", f"/control/phone/prompts/{old['id']}", body={"action": "cancel"})
        payment = self.hub.json(
            "POST",
            "/api/payments/authorize",
            body={
                "amount": AMOUNT,
                "currency": "KES",
                "method": {"type": "mobile_money", "phone": "0712345678"},
                "reference": {"type": "invoice", "id": "INV-0042"},
                "customer": {"name": "Jane Wanjiku", "email": "jane.wanjiku@example.com"},
                "description": "Term 1 fees",
            },
            headers=_once(),
            expect=201,
        )
        self.payment_id = payment["id"]
        if payment["status"] != "processing" or not payment["next_action"]:
            raise StepFailedError(
                f"expected status processing and a next_action, got {payment['status']}, {payment['next_action']}"
            )
        return [self.payment_id, f"status {payment['status']}", f"next action {payment['next_action']['type']}"]

    def _prompts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.simulator.json("GET", "/control/phone/prompts", params={"msisdn": PHONE})
        return found

    def enter_pin(self) -> str:
        """Play the parent: the prompt must be the only one and ask for the right amount."""
        prompts = wait_for(self._prompts, "the prompt on the phone", 20)
        if len(prompts) != 1 or float(prompts[0]["amount"]) * 100 != AMOUNT:
            raise StepFailedError(f"expected one prompt over {AMOUNT // 100}, the phone shows {prompts}")
        prompt = prompts[0]
        answer = {"action": "pin", "pin": "1234"}
        self.simulator.send("POST", f"/control/phone/prompts/{prompt['id']}", body=answer)
        return f"prompt {prompt['id']}"

    def wait_until_paid(self) -> str:
        """Poll until the payment succeeded; any other final status is a failure at once."""

        def paid() -> dict[str, Any] | None:
            payment: dict[str, Any] = self.hub.json("GET", f"/api/payments/{self.payment_id}")
            if payment["status"] == "succeeded":
                return payment
            if payment["status"] not in ("processing", "requires_action", "unknown"):
                raise StepFailedError(f"the payment is {payment['status']}: {payment['failure']}")
            return None

        payment = wait_for(paid, "the payment to succeed", 60)
        if payment["amount_captured"] != AMOUNT:
            raise StepFailedError(f"captured {payment['amount_captured']}, expected {AMOUNT}")
        return f"provider reference {payment['provider_ref']}"

    def wait_until_told(self) -> None:
        """Poll the timeline until it shows receipts and webhook as delivered. Keeps the last timeline in any case."""

        def told() -> bool:
            self.timeline = self.hub.json("GET", f"/api/payments/{self.payment_id}/timeline")["results"]
            shown = {(entry["kind"], entry["status"]) for entry in self.timeline}
            return {RECEIPT_DELIVERED, RECEIPT_MAILED, WEBHOOK_DELIVERED} <= shown

        wait_for(told, "the timeline to show the SMS, the mail and the webhook delivered", 90)

    def check_sink(self) -> str:
        """Exactly one event since we subscribed, signed rightly, about this payment."""
        events = self.simulator.json("GET", f"/control/sink/{SINK}")[self._seen_events :]
        about = [event for event in events if event["json"]["data"]["object"]["id"] == self.payment_id]
        kinds = [(event["json"]["type"], event["verified"]) for event in about]
        if kinds != [("payment.completed", True)]:
            raise StepFailedError(f"expected one verified payment.completed, the sink has {kinds}")
        return str(about[0]["json"]["id"])

    def check_inbox(self) -> str:
        """Exactly one SMS since the payment began."""
        messages = self.simulator.json("GET", "/control/phone/inbox", params={"number": PHONE})[self._seen_sms :]
        if len(messages) != 1:
            raise StepFailedError(f"expected one receipt SMS, the inbox has {[sms['text'] for sms in messages]}")
        return f'"{messages[0]["text"]}"'

    def fetch_receipt(self) -> str:
        """The receipt is a PDF, by its content and not only by its header."""
        answer = self.hub.send("GET", f"/api/payments/{self.payment_id}/receipt", headers={"Accept": "application/pdf"})
        if not answer.content.startswith(b"%PDF-"):
            raise StepFailedError(f"not a PDF: {answer.headers.get('Content-Type')}, {answer.content[:40]!r}")
        return f"{len(answer.content)} bytes"


def _once() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}
