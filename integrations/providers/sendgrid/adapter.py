"""SendGrid e-mail. Facts from its OpenAPI files, documentation and SDK tests (November 2026); see the README."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import quote

from integrations.contracts.adapter import Clock, ConfigView, HttpPort, Registration, Reply, TestResult, TokenPort
from integrations.contracts.capabilities import Environment
from integrations.contracts.email import EmailAdapter, EmailMessage, ListedAddress
from integrations.contracts.errors import Declined, InvalidRequest, NotFound, OutcomeUnknown, ProviderError
from integrations.contracts.messaging import Balance, MessageState, RecipientResult, SendResult, Target
from integrations.contracts.wire import Wire, WireError
from integrations.providers.sendgrid import endpoints
from integrations.providers.sendgrid.calls import Calls, Problem, problems_of
from integrations.providers.sendgrid.codes import LISTS
from integrations.providers.sendgrid.letters import Batch, batches, body, check
from integrations.providers.sendgrid.notes import wire_address

SEND_PATH = "/v3/mail/send"
PAGE = 500
KEY_ID = re.compile(r"SG\.([\w-]{16,32})\.[\w-]{16,64}")
PLACE = re.compile(r"personalizations\.([0-9]{1,4})(?:\.(to|cc|bcc)(?:\.([0-9]{1,4}))?)?(?:\..*)?")
NOT_SENT = "not sent: an earlier part of the same message met a problem"

Results = dict[int, tuple[RecipientResult, ...]]
"""The place of an envelope in the message -> what became of its recipients, in their order."""


class SendGridEmail(EmailAdapter):
    """Sends by `/v3/mail/send`, a personalization for each envelope. SendGrid has no idempotency key and no lookup that every
    plan has: a lost answer stays unknown until the Event Webhook tells, which brings back our refs."""

    batch_size = 100
    recipient_limit = 1000
    # SendGrid takes 30 MB with everything encoded (unconfirmed).
    attachment_limit = 20 * 1024 * 1024
    has_templates = True

    def __init__(self, *, config: ConfigView, http: HttpPort, tokens: TokenPort, clock: Clock) -> None:
        super().__init__(config=config, http=http, tokens=tokens, clock=clock)
        self._calls = Calls(config, http, clock)

    def send(self, message: EmailMessage) -> SendResult:
        """Send once; one request for all envelopes that say the same text, since SendGrid can't vary it within one.

        Raises `InvalidRequest`, `AuthenticationFailed`, `RateLimited` (rate, credits), `NotFound`, `UnsupportedOperation`,
        `ProviderUnavailable`, `OutcomeUnknown`. After a first request that may have sent, what the later ones meet is said
        of their recipients instead: refused, unknown, or not sent and fit to be tried again.
        """
        check(
            message,
            batch_size=self.batch_size,
            recipient_limit=self.recipient_limit,
            attachment_limit=self.attachment_limit,
        )
        parts = batches(message)
        if len(parts) == 1:
            found, ref = self._send(message, parts[0])
            return SendResult(_in_order(message, found), ref)
        return SendResult(_in_order(message, self._send_parts(message, parts)))

    def test_connection(self) -> TestResult:
        """Ask what the key may do. It must be allowed to send; what else it lacks is said."""
        scopes = {each.text() for each in self._calls.read("/v3/scopes", operation="scopes")["scopes"].items()}
        key = KEY_ID.fullmatch(str(self.config.api_key))
        who = f"Signed in with key {key[1]}" if key else "Signed in"
        if self.config.get("subuser"):
            who += f" for {self.config.get('subuser')}"
        if "mail.send" not in scopes:
            return TestResult(ok=False, status="scope_missing", detail=f"{who}. The key may not send: it lacks Mail Send.")
        note = " Sandbox: messages are checked and not delivered." if self._sandbox else ""
        return TestResult(ok=True, status="ok", detail=f"{who}. It may send mail ({len(scopes)} scopes).{note}")

    def balance(self) -> Balance:
        """Return the e-mails left until the credits are renewed. Raises as any question; not every plan counts credits."""
        found = self._calls.read("/v3/user/credits", operation="balance")
        try:
            return Balance(Decimal(found["remain"].integer()), "", "e-mails")
        except WireError as error:
            raise self._calls.unreadable(error) from None

    def suppressed(self, cursor: str = "") -> tuple[tuple[ListedAddress, ...], str]:
        """See `EmailAdapter`. The lists follow each other: bounces, invalid addresses, complaints, global unsubscribes."""
        names = list(LISTS)
        name, _colon, digits = (cursor or f"{names[0]}:0").partition(":")
        if name not in LISTS or not re.fullmatch(r"[0-9]{1,9}", digits):
            raise InvalidRequest("This is no cursor of this list.", provider=self.config.provider, attr="cursor")
        offset = int(digits)
        query = {"limit": str(PAGE), "offset": str(offset)}
        found = self._calls.read(f"/v3/suppression/{name}", operation="suppressions", query=query)
        try:
            entries = list(found.items())
            listed = tuple(_listed(name, entry) for entry in entries)
        except WireError as error:
            raise self._calls.unreadable(error) from None
        if len(entries) >= PAGE:
            return listed, f"{name}:{offset + len(entries)}"
        following = names[names.index(name) + 1 :]
        return listed, f"{following[0]}:0" if following else ""

    def unsuppress(self, address: str) -> None:
        """Take the address off all lists of `suppressed`."""
        quoted = quote(wire_address(address), safe="")
        for name in LISTS:
            path = f"/v3/asm/suppressions/global/{quoted}" if name == "unsubscribes" else f"/v3/suppression/{name}/{quoted}"
            # 404 where it is not on the list (unconfirmed: the description has the success alone).
            self._calls.change("DELETE", path, operation="suppressions", fine=(404,))

    def register_webhooks(self, urls: Mapping[str, str]) -> Registration:
        """See `Adapter`; the signed Event Webhook."""
        return endpoints.register(self._calls, self.config, urls)

    @property
    def _sandbox(self) -> bool:
        return self.config.environment is Environment.SANDBOX

    def _send(self, message: EmailMessage, batch: Batch) -> tuple[Results, str]:
        """Make one request; return what it brought, and the id that SendGrid gave the message ('' in its sandbox)."""
        made = body(message, batch, sandbox=self._sandbox)
        reply = self._calls.exchange("POST", SEND_PATH, operation="send", safe=False, json=made)
        if not reply.ok:
            refused = self._refused(batch, reply) if reply.status == 400 else None
            if refused is None:
                raise self._calls.failure(reply, sending=True)
            return refused, ""
        ref = reply.headers.get("x-message-id", "").strip()[:200]
        detail = "checked by SendGrid's sandbox, not delivered" if self._sandbox else ""
        return _all(batch, lambda target: RecipientResult(target.address, MessageState.SENT, ref, detail=detail)), ref

    def _send_parts(self, message: EmailMessage, parts: list[Batch]) -> Results:
        found: Results = {}
        stopped: ProviderError | None = None
        refusals: list[ProviderError] = []
        for batch in parts:
            if stopped is not None:
                found |= _all(batch, _held(stopped))
                continue
            try:
                found |= self._send(message, batch)[0]
            except (InvalidRequest, Declined, NotFound) as error:
                refusals.append(error)
                found |= _all(batch, _final(error))
            except OutcomeUnknown as error:
                stopped = error
                found |= _all(batch, _unknown(error))
            except ProviderError as error:
                if not found:
                    raise
                stopped = error
                found |= _all(batch, _held(error))
        if len(refusals) == len(parts):
            raise refusals[0]
        return found

    def _refused(self, batch: Batch, reply: Reply) -> Results | None:
        """Return results where a refusal names some recipients of several: they have failed, the others were not sent to and
        may be tried again without them. None where the refusal is about the whole request."""
        named: dict[tuple[int, int], str] = {}
        problems = problems_of(reply)
        for problem in problems:
            places = _places(batch, problem)
            if not places:
                return None
            named |= dict.fromkeys(places, self._calls.shown(problem.message))
        if not problems or len(named) == sum(len(each.recipients) for each in batch.envelopes):
            return None
        code = str(reply.status)
        return {
            place: tuple(
                RecipientResult(target.address, MessageState.FAILED, provider_code=code, detail=named[number, index])
                if (number, index) in named
                else RecipientResult(
                    target.address, MessageState.FAILED, provider_code=code, detail="not sent beside a bad one", retryable=True
                )
                for index, target in enumerate(envelope.recipients)
            )
            for number, (place, envelope) in enumerate(zip(batch.places, batch.envelopes, strict=True))
        }


def _places(batch: Batch, problem: Problem) -> list[tuple[int, int]]:
    """Return (envelope, recipient) of those whom an error names: one, or all of an envelope; none where it names none."""
    found = PLACE.fullmatch(problem.field)
    if found is None or int(found[1]) >= len(batch.envelopes):
        return []
    number = int(found[1])
    envelope = batch.envelopes[number]
    everybody = [(number, index) for index in range(len(envelope.recipients))]
    if found[3] is None:
        return everybody
    start = {"to": 0, "cc": len(envelope.to), "bcc": len(envelope.to) + len(envelope.cc)}[found[2]]
    index = start + int(found[3])
    return [(number, index)] if index < len(everybody) else everybody


def _all(batch: Batch, result: Callable[[Target], RecipientResult]) -> Results:
    return {
        place: tuple(result(target) for target in envelope.recipients)
        for place, envelope in zip(batch.places, batch.envelopes, strict=True)
    }


def _final(error: ProviderError) -> Callable[[Target], RecipientResult]:
    return lambda target: RecipientResult(
        target.address, MessageState.FAILED, provider_code=error.provider_code, detail=error.message
    )


def _unknown(error: ProviderError) -> Callable[[Target], RecipientResult]:
    return lambda target: RecipientResult(
        target.address, MessageState.UNKNOWN, provider_code=error.provider_code, detail=error.message
    )


def _held(error: ProviderError) -> Callable[[Target], RecipientResult]:
    return lambda target: RecipientResult(
        target.address,
        MessageState.FAILED,
        provider_code=error.provider_code,
        detail=f"{NOT_SENT}: {error.message}",
        retryable=True,
        retry_after=error.retry_after,
    )


def _in_order(message: EmailMessage, found: Results) -> tuple[RecipientResult, ...]:
    return tuple(result for place in range(len(message.envelopes)) for result in found[place])


def _listed(name: str, entry: Wire) -> ListedAddress:
    created, reason = entry.get("created"), entry.get("reason")
    return ListedAddress(
        address=entry["email"].text(max_length=320),
        reason=LISTS[name],
        since=datetime.fromtimestamp(created.integer(), UTC) if created is not None else None,
        detail=" ".join(reason.text(max_length=10_000).split())[:300] if reason is not None else "",
    )
