"""The calls that SMS and WhatsApp share: one account's Messages resource, its errors, balance and connection test.

Facts: twilio.com/docs/messaging/api/message-resource and usage/security (provider sheet, November 2026).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NoReturn
from urllib.parse import quote, urlsplit

from integrations.contracts.adapter import ConfigView, HttpPort, Reply, TestResult
from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import (
    AuthenticationFailed,
    BadReply,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from integrations.contracts.messaging import Balance, Media, MessageState, RecipientResult
from integrations.contracts.wire import Wire, WireError
from integrations.providers.twilio.codes import MEANINGS, STATES, Meaning, Whose, detail_of, may_be_tried_again, suppression_of

ROOT = "/2010-04-01/Accounts/"
PAGE_SIZE = 1000
MOST_PAGES = 5
TEXT_LIMIT = 200
NOT_CANCELABLE = 30409
TEST_CREDENTIALS = 20008
# Callbacks are no durable queue: three more tries on any failure, within Twilio's 15 seconds.
OVERRIDES = "#rc=3&rp=all"
MESSAGE_SID = re.compile(r"(?:SM|MM)[0-9a-fA-F]{32}")
MEDIA_PATH = re.compile(r"Messages/(?:SM|MM)[0-9a-fA-F]{32}/Media/ME[0-9a-fA-F]{32}")


class TwilioAccount:
    """One account seen through a config. `auth` is the API key where there is one, else the account's own token."""

    def __init__(self, config: ConfigView, http: HttpPort) -> None:
        self.config = config
        self.http = http
        self.sid = str(config.account_sid)
        self.own = (self.sid, str(config.auth_token))
        key = config.get("api_key_sid")
        self.auth = (str(key), str(config.get("api_key_secret"))) if key else self.own
        self.path = f"{ROOT}{self.sid}"

    # --- messages

    def create(self, form: Sequence[tuple[str, str]], address: str) -> RecipientResult:
        """Send one message. A refusal of the recipient is a FAILED result; of the request or the account, an error."""
        reply = self.http.request("POST", f"{self.path}/Messages.json", operation="send", safe=False, form=form, auth=self.auth)
        if not reply.ok:
            return self._refused(reply, address)
        try:
            # Whatever status a made message has that we do not know: Twilio has taken it.
            return self._result(reply.json(), address, MessageState.SENT)
        except WireError as error:
            raise BadReply(f"The answer to the send request can't be read: {error}", provider=self._provider) from None

    def fetch(self, message_sid: str, address: str) -> RecipientResult | None:
        """Return what Twilio says of a message; None where it has none of this id."""
        if not MESSAGE_SID.fullmatch(message_sid):
            return None
        reply = self._asked(f"{self.path}/Messages/{message_sid}.json", operation="status")
        if reply.status == 404:
            return None
        self._raise_unless_ok(reply)
        try:
            return self._result(reply.json(), address, MessageState.UNKNOWN)
        except WireError as error:
            raise self._unreadable(error) from None

    def listed(self, query: Mapping[str, str], *, most_pages: int = MOST_PAGES) -> tuple[list[Wire], bool]:
        """Return messages, and whether these are all that the query finds."""
        found: list[Wire] = []
        url, given = f"{self.path}/Messages.json", {**query, "PageSize": str(PAGE_SIZE)}
        for _page in range(most_pages):
            reply = self._asked(url, operation="status", query=given)
            self._raise_unless_ok(reply)
            try:
                body = reply.json()
                found += body["messages"].items()
                following = body.get("next_page_uri")
                url, given = (following.text() if following else ""), {}
            except WireError as error:
                raise self._unreadable(error) from None
            if not url:
                return found, True
            if not url.startswith(f"{self.path}/Messages.json?"):
                raise ProviderUnavailable("The next page is not where it should be.", provider=self._provider)
        return found, False

    def result(self, message: Wire, address: str) -> RecipientResult:
        """Read an entry of `listed`; raise `ProviderUnavailable` where it can't be read."""
        try:
            return self._result(message, address, MessageState.UNKNOWN)
        except WireError as error:
            raise self._unreadable(error) from None

    def cancel(self, message_sid: str) -> bool:
        """Call a scheduled message back; False where it is scheduled no longer, or never was (30409)."""
        if not MESSAGE_SID.fullmatch(message_sid):
            raise NotFound("This is no id of a Twilio message.", provider=self._provider)
        url = f"{self.path}/Messages/{message_sid}.json"
        form = {"Status": "canceled"}
        reply = self.http.request("POST", url, operation="cancel", safe=False, form=form, auth=self.auth)
        if _code(reply) == NOT_CANCELABLE:
            return False
        if reply.status == 404:
            raise NotFound("Twilio has no such message.", provider=self._provider, provider_code=str(_code(reply) or 404))
        self._raise_unless_ok(reply, sending=True)
        try:
            return reply.json()["status"].text() == "canceled"
        except WireError as error:
            raise BadReply(f"The answer can't be read: {error}", provider=self._provider) from None

    def media(self, url: str) -> Media:
        """Return a file that came with an incoming message. `url` must be one of this account's own: it gets credentials."""
        parts = urlsplit(url)
        path = parts.path[parts.path.find(f"{self.path}/") + len(self.path) + 1 :] if f"{self.path}/" in parts.path else ""
        if not MEDIA_PATH.fullmatch(path):
            raise NotFound("This is no file of this Twilio account.", provider=self._provider)
        # Only the path is taken over: credentials go to our own base URL, whatever host a webhook names.
        reply = self._asked(f"{self.path}/{path}", operation="media")
        if reply.status in {301, 302, 303, 307, 308}:
            location = reply.headers.get("location", "")
            if not location.startswith(("https://", f"{self.config.base_url}/")):
                raise ProviderUnavailable("The file is not where it should be.", provider=self._provider)
            # Where Twilio keeps files needs no credentials, and must not see ours.
            reply = self.http.request("GET", location, operation="media", safe=True)
        if reply.status == 404:
            raise NotFound("Twilio has this file no longer.", provider=self._provider)
        self._raise_unless_ok(reply)
        kind = reply.headers.get("content-type", "").partition(";")[0].strip() or "application/octet-stream"
        return Media(filename=path.rpartition("/")[2], content_type=kind, content=reply.body)

    # --- the account

    def balance(self) -> Balance:
        """Return what is left, which may lag; a subaccount has none of its own and is refused."""
        reply = self._asked(f"{self.path}/Balance.json", operation="balance")
        self._raise_unless_ok(reply)
        try:
            body = reply.json()
            return Balance(amount=body["balance"].decimal(), currency=body["currency"].text(max_length=3))
        except WireError as error:
            raise self._unreadable(error) from None

    def test(self) -> TestResult:
        """Fetch the account with its own token (which checks signatures), then use the API key where there is one.

        Test credentials may fetch nothing (403, code 20008 as integrators report it): in the sandbox that is who they are.
        """
        reply = self._asked(f"{self.path}.json", operation="account", auth=self.own)
        if _code(reply) == TEST_CREDENTIALS and self.config.environment is Environment.SANDBOX:
            return TestResult(
                ok=True, status="ok", detail=f"Signed in to {self.sid} with test credentials: nothing is really sent."
            )
        self._raise_unless_ok(reply)
        try:
            body = reply.json()
            name, status = _text(body, "friendly_name")[:100], body["status"].text(max_length=40)
        except WireError as error:
            raise self._unreadable(error) from None
        if status != "active":
            return TestResult(ok=False, status=f"account_{status}", detail=f"The account {name or self.sid} is {status}.")
        if self.auth == self.own:
            return TestResult(ok=True, status="ok", detail=f"Signed in to {name or self.sid}.")
        self._raise_unless_ok(self._asked(f"{self.path}/Messages.json", operation="account", query={"PageSize": "1"}))
        return TestResult(ok=True, status="ok", detail=f"Signed in to {name or self.sid} with the API key {self.auth[0]}.")

    # --- inside

    @property
    def _provider(self) -> str:
        return self.config.provider

    def _asked(
        self, url: str, *, operation: str, query: Mapping[str, str] | None = None, auth: tuple[str, str] | None = None
    ) -> Reply:
        return self.http.request("GET", url, operation=operation, safe=True, query=query or None, auth=auth or self.auth)

    def _result(self, message: Wire, address: str, unknown: MessageState) -> RecipientResult:
        sid = message["sid"].text(max_length=64)
        status = message["status"].text(max_length=40)
        found = message.get("error_code")
        code = found.integer() if found else 0
        state = STATES.get(status, unknown)
        failed = state is MessageState.FAILED
        price, currency = message.get("price"), _text(message, "price_unit")
        return RecipientResult(
            address=address,
            state=state,
            provider_ref=sid,
            provider_code=str(code) if code else status,
            detail=detail_of(code) or ("" if status in STATES else f"Twilio says {status}"),
            retryable=failed and may_be_tried_again(code),
            retry_after=MEANINGS[code].wait if failed and may_be_tried_again(code) else None,
            suppress=suppression_of(code) if failed else None,
            # A price is written as what the account loses: -0.0079.
            cost=abs(price.decimal()) if price else None,
            currency=currency[:3].upper() if price else "",
        )

    def _refused(self, reply: Reply, address: str) -> RecipientResult:
        code = _code(reply)
        meaning = MEANINGS.get(code)
        if meaning is None or meaning.whose is not Whose.RECIPIENT or not 400 <= reply.status < 500:
            self._raise(reply, sending=True)
        return RecipientResult(
            address, MessageState.FAILED, provider_code=str(code), detail=detail_of(code), suppress=meaning.suppress
        )

    def _raise_unless_ok(self, reply: Reply, *, sending: bool = False) -> None:
        if not reply.ok:
            self._raise(reply, sending=sending)

    def _raise(self, reply: Reply, *, sending: bool) -> NoReturn:
        """Raise what an answer outside of 2xx means: by its code, which goes before the HTTP status, else by that."""
        code, status = _code(reply), reply.status
        meaning = MEANINGS.get(code)
        text = self._shown(reply) or f"Twilio answered {status}."
        shown = str(code or status)
        if status == 429 or (meaning is not None and meaning.whose is Whose.LATER):
            wait = reply.retry_after or (meaning.wait if meaning else None)
            raise RateLimited(text, provider=self._provider, provider_code=shown, retry_after=wait)
        if not 400 <= status < 500 or status == 408:
            unclear = OutcomeUnknown if sending else ProviderUnavailable
            more = ": it may have been carried out" if sending else ""
            raise unclear(f"Twilio answered {status}{more}.", provider=self._provider, provider_code=shown)
        raise self._refusal(status, meaning, text, shown)

    def _refusal(self, status: int, meaning: Meaning | None, text: str, shown: str) -> ProviderError:
        if meaning.whose is Whose.ACCOUNT if meaning is not None else status in {401, 403}:
            return AuthenticationFailed(text, provider=self._provider, provider_code=shown)
        if meaning is None and status == 404:
            return NotFound(text, provider=self._provider, provider_code=shown)
        return InvalidRequest(
            text, provider=self._provider, provider_code=shown, attr=meaning.attr if meaning is not None else None
        )

    def _unreadable(self, error: WireError) -> ProviderUnavailable:
        return ProviderUnavailable(f"Twilio's answer can't be read: {error}", provider=self._provider)

    def _shown(self, reply: Reply) -> str:
        """Return Twilio's words for people: one line, capped, without a secret should one ever be echoed."""
        try:
            text = _text(reply.json(), "message")
        except WireError:
            return ""
        for secret in self.config.secrets.values():
            text = text.replace(str(secret), "••••") if secret else text
        return " ".join(text.split())[:TEXT_LIMIT]


def status_callback(callback_url: str, ref: str) -> str:
    """Return where Twilio shall report on one message. It echoes nothing of ours but this URL, so the note stands in it."""
    note = f"?ref={quote(ref, safe='')}" if ref else ""
    return f"{callback_url.rstrip('/')}/status{note}{OVERRIDES}"


def _code(reply: Reply) -> int:
    """Return Twilio's own error code, 0 where there is none (or the answer is no error)."""
    if reply.ok:
        return 0
    try:
        return reply.json()["code"].integer()
    except WireError:
        return 0


def _text(node: Wire, name: str) -> str:
    found = node.get(name)
    try:
        return found.text() if found is not None else ""
    except WireError:
        return ""
