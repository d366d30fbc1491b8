"""SMS by Twilio's Messages resource (messaging/api/message-resource, provider sheet of November 2026)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from integrations.contracts.adapter import Clock, ConfigView, HttpPort, Registration, TestResult, TokenPort
from integrations.contracts.errors import Expired, InvalidRequest, UnsupportedOperation
from integrations.contracts.messaging import Balance, RecipientResult, SendQuery, SendResult
from integrations.contracts.sms import SmsAdapter, SmsMessage
from integrations.providers.twilio.calls import TwilioAccount, status_callback
from integrations.providers.twilio.searching import find

E164 = re.compile(r"\+[1-9][0-9]{6,14}")
LONGEST_TEXT = 1600
LONGEST_VALIDITY = 36_000
"""Seconds that Twilio keeps a text in its queue; also what it takes without being told."""

BY_HAND = (
    "Delivery reports need no set-up: each message tells Twilio where to report. For replies, paste the hub's URL for incoming "
    "messages into the number's or Messaging Service's settings in Twilio's console (HTTP POST)."
)


class TwilioSms(SmsAdapter):
    """One text to one recipient a call: Twilio has no bulk form here, and no idempotency key (unconfirmed).

    An answer that got lost is settled by the status callback, whose URL names `Target.ref`, or by `find`.
    """

    batch_size = 1

    def __init__(self, *, config: ConfigView, http: HttpPort, tokens: TokenPort, clock: Clock) -> None:
        super().__init__(config=config, http=http, tokens=tokens, clock=clock)
        self.account = TwilioAccount(config, http)
        self.per_second = per_second_of(str(config.get("messaging_service_sid") or config.get("sender") or ""))

    def send(self, message: SmsMessage) -> SendResult:
        """Send once to one E.164 number.

        Raises `InvalidRequest` (attr `to`, `message`, `from`, `callback_url`), `AuthenticationFailed`, `RateLimited`,
        `Expired` (too late, nothing sent), `ProviderUnavailable`, and `OutcomeUnknown`/`BadReply` where it may have been sent.
        """
        self._check(message)
        target = message.recipients[0]
        form = [("To", target.address), self._sender(message.sender), ("Body", message.text)]
        if message.callback_url:
            form.append(("StatusCallback", status_callback(message.callback_url, target.ref)))
        if message.expires_at is not None:
            left = int((message.expires_at - self.clock()).total_seconds())
            if left < 1:
                raise Expired("The text is too old to be sent.", provider=self.config.provider)
            form.append(("ValidityPeriod", str(min(left, LONGEST_VALIDITY))))
        return SendResult((self.account.create(form, target.address),))

    def find(self, query: SendQuery) -> RecipientResult | None:
        """Ask by the message's id, else search the recipient's messages for this text; see `searching.find`."""
        return find(self.account, query, query.target.address, self.clock())

    def cancel(self, provider_ref: str) -> bool:
        """Call a scheduled text back. What `send` made is not scheduled, so this is False for it, once it is too late.

        Raises `NotFound`, and as `send`.
        """
        return self.account.cancel(provider_ref)

    def balance(self) -> Balance:
        return self.account.balance()

    def test_connection(self) -> TestResult:
        return self.account.test()

    def register_webhooks(self, urls: Mapping[str, str]) -> Registration:
        raise UnsupportedOperation(BY_HAND, provider=self.config.provider)

    def _check(self, message: SmsMessage) -> None:
        provider = self.config.provider
        if len(message.recipients) != 1:
            raise InvalidRequest("Twilio takes one recipient a call.", provider=provider, attr="to")
        if not E164.fullmatch(message.recipients[0].address):
            raise InvalidRequest("Not an E.164 number.", provider=provider, attr="to")
        check_text(message.text, provider)
        if not message.text.strip():
            raise InvalidRequest("The message is empty.", provider=provider, attr="message")

    def _sender(self, given: str) -> tuple[str, str]:
        chosen = given or str(self.config.get("messaging_service_sid") or self.config.get("sender") or "")
        if not chosen:
            raise InvalidRequest("There is no sender for SMS in this config.", provider=self.config.provider, attr="from")
        return sender_field(chosen)


def sender_field(sender: str) -> tuple[str, str]:
    """Return the form's field for a sender: a Messaging Service has one of its own."""
    return ("MessagingServiceSid" if re.fullmatch(r"MG[0-9a-fA-F]{32}", sender) else "From", sender)


def check_text(text: str, provider: str) -> None:
    if len(text) > LONGEST_TEXT:
        raise InvalidRequest(f"The text is longer than {LONGEST_TEXT} characters.", provider=provider, attr="message")


def per_second_of(sender: str) -> float | None:
    """Return how many texts a second a sender may send (unconfirmed; by kind, countries differ); what is more, queues there.

    A Messaging Service spreads over its senders and paces itself: None.
    """
    if not sender or sender_field(sender)[0] == "MessagingServiceSid":
        return None
    if sender.startswith("+"):
        return 1.0
    return 100.0 if sender.isdigit() else 10.0
