"""One school fee on a running stack: asked for, paid on the simulated phone, and counted afterwards."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from threading import Thread
from typing import Any

import psutil
import psycopg
import requests

from tests.processes.stack import DOWN, SINK, Stack, wait_for

AMOUNT = 150_000
_numbers = itertools.count(1)


class Fee:
    """A payment with a phone number and a reference that no other one has. `key` is its Idempotency-Key."""

    def __init__(self, stack: Stack) -> None:
        number = next(_numbers)
        self.stack = stack
        # The last three digits choose an outcome at the simulators; these choose none.
        self.phone = f"25471{number:04d}678"
        self.reference = f"INV-{number:04d}"
        self.key = str(uuid.uuid4())
        self.answer: requests.Response | None = None
        self._asking: Thread | None = None

    # --- the school

    def ask(self) -> None:
        """Ask as a client does: the same key again until there is an answer."""

        def answered() -> bool:
            self.ask_once()
            return self.answer is not None and self.answer.status_code < 500 and self.answer.status_code != 409

        wait_for(answered, f"{self.reference} to be accepted")
        assert self.answer is not None
        assert self.answer.status_code == 201, self.answer.text

    def ask_once(self) -> None:
        body = {
            "amount": AMOUNT,
            "currency": "KES",
            "method": {"type": "mobile_money", "phone": f"+{self.phone}"},
            "reference": {"type": "invoice", "id": self.reference},
            "customer": {"name": "Jane Wanjiku"},
            "description": "Term 1 fees",
        }
        self.answer = None
        with contextlib.suppress(*DOWN, requests.exceptions.ChunkedEncodingError):
            headers = {"Idempotency-Key": self.key}
            self.answer = self.stack.call("POST", "/api/payments/authorize", json=body, headers=headers)

    def ask_in_the_background(self, *, again: bool) -> None:
        """Ask without waiting for the answer; `again`: repeat the request until there is one."""
        self._asking = Thread(target=self.ask if again else self.ask_once, daemon=True)
        self._asking.start()

    def asked(self) -> None:
        """Wait until the request in the background, if there is one, has ended, in an answer or not."""
        if self._asking is not None:
            self._asking.join(timeout=90)
            assert not self._asking.is_alive(), "the request never ended"

    # --- the parent

    def pushes(self) -> list[dict[str, Any]]:
        """The requests for a prompt on this phone that reached M-Pesa."""
        found = self.stack.control("GET", "mpesa/requests", params={"operation": "stk_push", "limit": "500"})
        return [each for each in found if each["body"]["PhoneNumber"] == self.phone]

    def prompts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.stack.control("GET", "phone/prompts", params={"msisdn": self.phone})
        return found

    def enter_pin(self) -> None:
        """Answer the one prompt, as soon as it is there."""
        prompts = wait_for(self.prompts, f"the prompt on {self.phone}")
        assert len(prompts) == 1
        self.stack.control("POST", f"phone/prompts/{prompts[0]['id']}", json={"action": "pin", "pin": "1234"})

    def inbox(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.stack.control("GET", "phone/inbox", params={"number": self.phone})
        return found

    # --- what the hub knows

    def payment(self) -> dict[str, Any]:
        """The payment's row; there must be just one, however often it was asked for."""
        found = self.stack.rows("SELECT * FROM payments_payment WHERE reference_id = %s", self.reference)
        assert len(found) == 1, f"{len(found)} payments for {self.reference}"
        return found[0]

    def attempts(self, kind: str) -> list[dict[str, Any]]:
        """The tries of this payment's (or its receipt's) queue items of a kind, oldest first, with the item's worker."""
        return self.stack.rows(
            "SELECT a.state, a.operation, i.state AS item_state, i.worker, i.id AS item FROM integrations_attempt a"
            " JOIN integrations_queueitem i ON i.id = a.item_id"
            " WHERE i.kind = %s AND (i.reference_id = %s OR i.reference_id IN"
            " (SELECT id FROM messaging_message WHERE reference_id = %s)) ORDER BY a.started_at",
            kind,
            self.payment()["id"],
            self.payment()["id"],
        )

    def effect(self, kind: str) -> dict[str, Any]:
        """The only try that had, or may have had, its effect; a `failed` one certainly had none and may come before it."""
        attempts = self.attempts(kind)
        assert [each["state"] for each in attempts[:-1]] == ["failed"] * (len(attempts) - 1), attempts
        assert attempts[-1]["state"] in {"succeeded", "unknown"}, attempts
        return attempts[-1]

    def caller(self, kind: str) -> psutil.Process:
        """The process that is making this payment's call of that kind right now."""
        (attempt,) = self.attempts(kind)
        assert (attempt["state"], attempt["item_state"]) == ("sending", "processing"), "it is not in the middle of it"
        return psutil.Process(int(attempt["worker"].split(":")[1]))

    def recipients(self) -> list[dict[str, Any]]:
        return self.stack.rows(
            "SELECT r.state, r.address FROM messaging_recipient r JOIN messaging_message m ON m.id = r.message_id"
            " WHERE m.reference_id = %s",
            self.payment()["id"],
        )

    def received(self) -> list[dict[str, Any]]:
        """What the school's own system got about this payment, duplicates included."""
        payment_id = self.payment()["id"]
        events: list[dict[str, Any]] = self.stack.control("GET", f"sink/{SINK}")
        return [each for each in events if each["json"]["data"]["object"]["id"] == payment_id]

    def deliveries(self) -> list[str]:
        """How each try to deliver the event ended: '' for well, else the class of the error; oldest first."""
        found = self.stack.rows(
            "SELECT t.error_class FROM webhooks_outbound_deliveryattempt t"
            " JOIN webhooks_outbound_delivery d ON d.id = t.delivery_id JOIN webhooks_outbound_event e ON e.id = d.event_id"
            " WHERE e.object_id = %s ORDER BY t.number",
            self.payment()["id"],
        )
        return [row["error_class"] for row in found]

    def ended(self) -> bool:
        """Paid, school and parent told, and no try of the two left in the hands of a process that died over it."""
        try:
            states = [each["state"] for each in self.recipients()]
            told = self.payment()["status"] == "succeeded" and states == ["delivered"] and self.received() != []
            tries = [*self.attempts("payment.authorize"), *self.attempts("sms.send")] if told else []
            return told and all(each["state"] != "sending" for each in tries)
        except (*DOWN, psycopg.Error):
            return False

    def wait_until_ended(self, seconds: float = 90.0) -> None:
        wait_for(self.ended, f"{self.reference} to be paid, receipted and delivered", seconds, every=0.2)

    def assert_done_once(self) -> int:
        """Everything happened, and nothing twice. Returns how many times the one event was delivered too often."""
        payment = self.payment()
        assert (payment["status"], payment["amount_captured"]) == ("succeeded", AMOUNT)
        assert len(self.pushes()) == 1, "exactly one prompt was asked for"
        assert self.effect("payment.authorize")["operation"] == "authorize"
        assert self.effect("sms.send")["operation"] == "send"
        assert payment["receipt_number"]
        same = "SELECT id FROM payments_payment WHERE receipt_number = %s AND tenant_id = %s"
        assert len(self.stack.rows(same, payment["receipt_number"], payment["tenant_id"])) == 1
        moves = self.stack.rows(
            "SELECT to_status FROM payments_ledgerentry WHERE payment_id = %s AND to_status = 'succeeded'"
            " AND from_status <> 'succeeded'",
            payment["id"],
        )
        assert len(moves) == 1
        (text,) = self.inbox()
        assert payment["receipt_number"] in text["text"]
        assert [each["state"] for each in self.recipients()] == ["delivered"]
        received = self.received()
        assert {each["headers"]["webhook-id"] for each in received} == {received[0]["json"]["id"]}
        assert {(each["json"]["type"], each["verified"]) for each in received} == {("payment.completed", True)}
        written = "SELECT id FROM webhooks_outbound_event WHERE object_id = %s AND type LIKE 'payment.%%'"
        assert [row["id"] for row in self.stack.rows(written, payment["id"])] == [received[0]["json"]["id"]]
        return len(received) - 1
