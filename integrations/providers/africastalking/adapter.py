"""Africa's Talking SMS. Facts from docs.africastalking.com and the official SDKs (2026-11) unless a comment says otherwise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import NoReturn
from zoneinfo import ZoneInfo

from integrations.contracts.adapter import Clock, ConfigView, HttpPort, Reply, TestResult, TokenPort
from integrations.contracts.errors import (
    AuthenticationFailed,
    BadReply,
    Declined,
    InvalidRequest,
    OutcomeUnknown,
    ProviderUnavailable,
    RateLimited,
    UnsupportedOperation,
)
from integrations.contracts.messaging import Balance, MessageState, RecipientResult, SendResult, Target
from integrations.contracts.sms import SmsAdapter, SmsMessage
from integrations.contracts.wire import Wire, WireError
from integrations.providers.africastalking.codes import outcome_of

PATHS = {"classic": "/version1/messaging", "bulk": "/version1/messaging/bulk"}
BALANCE_PATH = "/version1/user"
QUIET_ZONE = ZoneInfo("Africa/Lagos")
QUIET_ENDS_HOUR = 8
TOP_UP_WAIT = 900.0
TEXT_LIMIT = 200


class AfricasTalkingSms(SmsAdapter):
    """Sends through the classic form endpoint, or the bulk JSON endpoint where the config says so.

    The provider has no idempotency key, no client reference and no lookup: an answer that got lost stays unknown
    until a delivery report tells.
    """

    def __init__(self, *, config: ConfigView, http: HttpPort, tokens: TokenPort, clock: Clock) -> None:
        super().__init__(config=config, http=http, tokens=tokens, clock=clock)
        self.batch_size = int(config.get("batch_size") or type(self).batch_size)

    def send(self, message: SmsMessage) -> SendResult:
        """Send once to at most `batch_size` distinct E.164 numbers.

        Raises `InvalidRequest` (bad request or sender), `AuthenticationFailed`, `RateLimited` (rate, balance, quiet hours),
        `UnsupportedOperation` (the path does not exist on this host), `Declined`, `ProviderUnavailable`, and
        `OutcomeUnknown`/`BadReply` where it may have been sent.
        """
        self._check(message)
        sender = message.sender or self.config.get("sender_id")
        username = str(self.config.username)
        addresses = _addresses(message.recipients)
        path = str(self.config.get("path") or "classic")
        if path == "bulk":
            body: dict[str, object] = {"username": username, "message": message.text}
            if sender:
                body["senderId"] = sender
            body["phoneNumbers"] = addresses
            reply = self.http.request("POST", PATHS[path], operation="send", safe=False, json=body, headers=self._headers())
        else:
            form = {"username": username, "to": ",".join(addresses), "message": message.text, "bulkSMSMode": "1"}
            if sender:
                form["from"] = sender
            reply = self.http.request(
                "POST", PATHS["classic"], operation="send", safe=False, form=form, headers=self._headers()
            )
        self._raise_for_status(reply, sending=True)
        try:
            return self._result(message, reply.json()["SMSMessageData"])
        except WireError as error:
            raise BadReply(f"The answer to the send request can't be read: {error}", provider=self._provider) from None

    def balance(self) -> Balance:
        """Return what is left in the wallet; raise as `send` does, but never `OutcomeUnknown`."""
        query = {"username": str(self.config.username)}
        reply = self.http.request("GET", BALANCE_PATH, operation="balance", safe=True, query=query, headers=self._headers())
        self._raise_for_status(reply, sending=False)
        try:
            amount, currency = _price(reply.json()["UserData"]["balance"].text(max_length=60))
        except WireError as error:
            raise ProviderUnavailable(f"The answer can't be read: {error}", provider=self._provider) from None
        if amount is None:
            raise ProviderUnavailable("The answer holds no readable balance.", provider=self._provider)
        return Balance(amount=amount, currency=currency)

    def test_connection(self) -> TestResult:
        """Ask for the balance: it needs the right key for the right username, and changes nothing."""
        balance = self.balance()
        amount = f"{balance.currency} {balance.amount:,.2f}".strip()
        return TestResult(ok=True, status="ok", detail=f"Signed in as {self.config.username}. Balance: {amount}.")

    @property
    def _provider(self) -> str:
        return self.config.provider

    def _headers(self) -> Mapping[str, str]:
        # Without Accept the API answers XML.
        return {"apiKey": str(self.config.api_key), "Accept": "application/json"}

    def _check(self, message: SmsMessage) -> None:
        numbers = _addresses(message.recipients)
        bad = [number for number in numbers if not re.fullmatch(r"\+[1-9][0-9]{6,14}", number)]
        if bad:
            raise InvalidRequest(f"Not E.164 numbers: {', '.join(bad[:5])}", provider=self._provider, attr="to")
        if not numbers or len(numbers) > self.batch_size:
            raise InvalidRequest(f"Between 1 and {self.batch_size} recipients.", provider=self._provider, attr="to")
        if len(set(numbers)) != len(numbers):
            raise InvalidRequest("A recipient stands twice.", provider=self._provider, attr="to")
        if not message.text.strip():
            raise InvalidRequest("The message is empty.", provider=self._provider, attr="message")

    def _raise_for_status(self, reply: Reply, *, sending: bool) -> None:
        """Raise what an HTTP status outside 2xx means; bodies of errors are plain text."""
        if reply.ok:
            return
        text = self._shown(reply.text())
        provider, code = self._provider, str(reply.status)
        if reply.status in {401, 403}:
            raise AuthenticationFailed(text or "The username or API key was refused.", provider=provider, provider_code=code)
        if reply.status == 409:  # seen once, for the do-not-disturb rejection (status.africastalking.com, incident 538)
            raise RateLimited(
                text or "Do-not-disturb hours.", provider=provider, provider_code=code, retry_after=self._quiet_seconds()
            )
        if reply.status == 429:
            raise RateLimited(
                text or "Too many requests.", provider=provider, provider_code=code, retry_after=reply.retry_after
            )
        if reply.status in {404, 405}:
            raise UnsupportedOperation(
                "This host has no such endpoint; the sandbox serves the classic send path only.",
                provider=provider,
                provider_code=code,
            )
        if 400 <= reply.status < 500:
            raise InvalidRequest(text or "The request was refused.", provider=provider, provider_code=code)
        if sending:
            raise OutcomeUnknown(
                f"The provider answered {reply.status}: it may have sent the message.", provider=provider, provider_code=code
            )
        raise ProviderUnavailable(f"The provider answered {reply.status}.", provider=provider, provider_code=code)

    def _result(self, message: SmsMessage, data: Wire) -> SendResult:
        said: dict[str, Wire] = {}
        entries = list(data["Recipients"].items())
        for entry in entries:
            number = entry.get("number")
            if number is not None:
                said.setdefault(_digits(number.text(max_length=60)), entry)
        if not entries:
            self._raise_refusal(data)
        return SendResult(
            tuple(self._recipient(number, said.get(_digits(number))) for number in _addresses(message.recipients))
        )

    def _recipient(self, number: str, entry: Wire | None) -> RecipientResult:
        if entry is None:
            return RecipientResult(number, MessageState.UNKNOWN, detail="the provider's answer does not mention this number")
        status = _optional(entry, "status")
        try:
            code = entry["statusCode"].integer()
        except WireError:
            return RecipientResult(
                number, MessageState.UNKNOWN, provider_code=status[:60], detail="the provider's answer can't be read"
            )
        outcome = outcome_of(code, status[:60])
        ref = _optional(entry, "messageId")
        cost, currency = _price(_optional(entry, "cost"))
        return RecipientResult(
            address=number,
            state=outcome.state,
            provider_ref="" if ref.lower() in {"none", "null"} else ref[:200],
            provider_code=str(code),
            detail=outcome.detail,
            retryable=outcome.retryable,
            suppress=outcome.suppress,
            cost=cost,
            currency=currency,
        )

    def _raise_refusal(self, data: Wire) -> NoReturn:
        """The whole request was refused: 2xx, no recipients, and the reason in `Message` alone."""
        reason = self._shown(_optional(data, "Message"))[:60]
        if reason == "InvalidSenderId":
            text = "The sender ID is not approved for this account."
            raise InvalidRequest(text, provider=self._provider, provider_code=reason, attr="sender")
        if reason == "InsufficientBalance":
            text = "The provider account has no balance left: top it up."
            raise RateLimited(text, provider=self._provider, provider_code=reason, retry_after=TOP_UP_WAIT)
        if reason == "DoNotDisturbRejection":
            wait = self._quiet_seconds()
            raise RateLimited("Do-not-disturb hours.", provider=self._provider, provider_code=reason, retry_after=wait)
        if reason in {"InternalServerError", "GatewayError"}:
            raise ProviderUnavailable(f"The provider refused: {reason}.", provider=self._provider, provider_code=reason)
        text = f"The provider refused the message: {reason or 'no reason given'}."
        raise Declined(text, provider=self._provider, provider_code=reason)

    def _quiet_seconds(self) -> float:
        """Return the seconds until the do-not-disturb hours end (08:00 in Lagos, which knows no summer time)."""
        now: datetime = self.clock().astimezone(QUIET_ZONE)
        end = now.replace(hour=QUIET_ENDS_HOUR, minute=0, second=0, microsecond=0)
        if end <= now:
            end += timedelta(days=1)
        return (end - now).total_seconds()

    def _shown(self, text: str) -> str:
        """Return the provider's text for people: one line, capped, without the key should it ever be echoed."""
        return " ".join(text.replace(str(self.config.api_key), "••••").split())[:TEXT_LIMIT]


def _addresses(targets: tuple[Target, ...]) -> list[str]:
    return [target.address for target in targets]


def _digits(number: str) -> str:
    return re.sub(r"\D", "", number)


def _optional(node: Wire, name: str) -> str:
    """Return a member's text, '' where it is absent, null or no text: nothing hangs on these but display."""
    found = node.get(name)
    if found is None:
        return ""
    try:
        return found.text().strip()
    except WireError:
        return ""


def _price(text: str) -> tuple[Decimal | None, str]:
    """Read `KES 0.8000` or a bare `0`; (None, '') where it is neither."""
    found = re.fullmatch(r"(?:([A-Z]{3})\s+)?(-?[0-9][0-9,]*(?:\.[0-9]+)?)", text.strip())
    if found is None:
        return None, ""
    try:
        return Decimal(found[2].replace(",", "")), found[1] or ""
    except InvalidOperation:
        return None, ""
