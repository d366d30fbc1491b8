"""The second job, through the public API only: a school tells its parents, by SMS from a list, by e-mail, and in spite of an
SMS provider that is down."""

import base64
import uuid
from dataclasses import dataclass
from typing import Any

from integrations_site.demo.client import Client, wait_for
from integrations_site.demo.report import Report, StepFailedError
from integrations_site.demo.webhooks import register

PARENTS = (("Jane Wanjiku", "0712345678"), ("Otieno Odhiambo", "0722000555"), ("Amina Yusuf", "+254733000555"))
BAD_ROW = ("Nobody", "12")
MAIL_TO = "jane.wanjiku@example.com"
PATIENCE = 60
ENDED = {"delivered", "read"}


@dataclass
class SchoolNotice:
    """One run of the job. `hub` carries the school's API key, `simulator` needs none."""

    hub: Client
    simulator: Client
    report: Report

    def run(self) -> None:
        """Do every step in turn. Raises StepFailedError at the first that fails (the report has printed it)."""
        step = self.report.step
        with step("a list of parents becomes a text to each, by name") as words:
            words.extend(self.text_a_list())
        with step("an e-mail with an attachment is delivered, as its provider's signed webhook says") as words:
            words.append(self.mail())
        with step("the SMS provider takes nothing: the next one carries the text") as words:
            words.append(self.survive())

    def text_a_list(self) -> list[str]:
        rows = ["Parent,Phone", *(",".join(each) for each in (*PARENTS, BAD_ROW))]
        file = ("parents.csv", "\n".join(rows).encode(), "text/csv")
        listed = self.hub.json("POST", "/api/v1/integrations/recipient-lists", files={"file": file}, expect=201)
        wanted = {
            "channel": "sms",
            "columns": {"address": "Phone", "name": "Parent"},
            "message": "Dear {{ parent }}, school is closed tomorrow. Springfield School",
        }
        path = f"/api/v1/integrations/recipient-lists/{listed['id']}"
        checked = self.hub.json("POST", f"{path}/check", body=wanted)
        if (checked["good"], checked["bad"]) != (len(PARENTS), 1):
            raise StepFailedError(f"expected {len(PARENTS)} good rows and a bad one, got {checked}")
        message = self.hub.json("POST", f"{path}/send", body=wanted, headers=_once(), expect=202)
        done = self._ended(message["id"], ENDED)
        if done["counts"] != {"delivered": len(PARENTS)}:
            raise StepFailedError(f"expected {len(PARENTS)} delivered, got {done['counts']}")
        return [f"{len(PARENTS)} delivered", "row 5 refused"]

    def mail(self) -> str:
        config = self._primary("email")
        register(self.hub, self.simulator, config)
        content = base64.b64encode(b"Fees of term 1: KES 1,500.00\n").decode()
        wanted = {
            "to": [f"Jane Wanjiku <{MAIL_TO}>"],
            "subject": "Fees of term 1",
            "html": "<p>Dear Jane, the fees of <b>term 1</b> are attached.</p>",
            "attachments": [{"filename": "fees.txt", "content_type": "text/plain", "content": content}],
        }
        message = self.hub.json("POST", "/api/v1/integrations/email/send", body=wanted, headers=_once(), expect=202)
        done = self._ended(message["id"], ENDED)
        return f"{done['recipients'][0]['to']} through {done['provider']}"

    def survive(self) -> str:
        first = self._primary("sms")["provider"]
        others = self.hub.results("/api/v1/integrations/configs", params={"category": "sms"})
        second = next(each["provider"] for each in others if each["provider"] != first and each["is_active"])
        self._policy(second)
        # "Too busy" certainly sent nothing. A connection that breaks would leave doubt, and in doubt nobody else may send.
        fault = {"operation": "*", "fault": "error_429", "times": -1}
        self.simulator.send("POST", f"/control/{first}/faults", body=fault)
        try:
            wanted = {"to": PARENTS[1][1], "message": "The bus is 20 minutes late.", "provider": first, "category": "alert"}
            message = self.hub.json("POST", "/api/v1/integrations/sms/send", body=wanted, headers=_once(), expect=202)
            next_one = wait_for(lambda: self._continued(message["id"]), "the message to go on by the next provider", PATIENCE)
            self._ended(next_one["id"], ENDED)
        finally:
            self.simulator.send("DELETE", f"/control/{first}/faults")
        return f"{first} was too busy, {next_one['provider']} delivered"

    def _policy(self, provider: str) -> None:
        path = "/api/v1/integrations/fallback-policies"
        for old in self.hub.results(path):
            if (old["channel"], old["category"]) == ("sms", "alert"):
                self.hub.send("DELETE", f"{path}/{old['id']}", expect=204)
        wanted = {
            "name": "Alerts",
            "channel": "sms",
            "category": "alert",
            "tries": 1,
            "steps": [{"channel": "sms", "provider": provider}],
        }
        self.hub.json("POST", path, body=wanted, expect=201)

    def _primary(self, category: str) -> dict[str, Any]:
        configs = self.hub.results("/api/v1/integrations/configs", params={"category": category})
        found = next((each for each in configs if category in each["primary"]), None)
        if found is None:
            raise StepFailedError(f"the school has no primary account for {category}")
        return found

    def _ended(self, message_id: str, states: set[str]) -> dict[str, Any]:
        """Return the message once all of its recipients are in one of the states."""

        def ended() -> dict[str, Any] | None:
            message: dict[str, Any] = self.hub.json("GET", f"/api/v1/integrations/messages/{message_id}")
            if message["status"] in {"failed", "partial", "cancelled", "expired"}:
                raise StepFailedError(f"{message_id} is {message['status']}: {message['recipients']}")
            return message if message["counts"] and set(message["counts"]) <= states else None

        return wait_for(ended, f"{message_id} to arrive", PATIENCE)

    def _continued(self, message_id: str) -> dict[str, Any] | None:
        newest = self.hub.results("/api/v1/integrations/messages", params={"page_size": "20"})
        return next((each for each in newest if each["continues"] == message_id), None)


def _once() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}
