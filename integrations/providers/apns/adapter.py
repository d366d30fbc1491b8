"""Apple Push Notification service. Facts from developer.apple.com (2026-11) unless a comment says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from integrations.contracts.adapter import FetchedToken, Reply, TestResult
from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    Undecided,
)
from integrations.contracts.messaging import MessageState, RecipientResult
from integrations.contracts.push import PushAdapter, PushNotification
from integrations.contracts.wire import WireError
from integrations.providers.apns import codes, payload
from integrations.providers.apns.jwt import UnreadableKey, mint
from integrations.providers.apns.provider import PROVIDER

# Apple takes a token for an hour and wants new ones at most every 20 minutes: the same one serves all processes for 50.
TOKEN_SECONDS = 50 * 60.0
# No device has this token: whoever asks with good credentials hears just that.
NO_DEVICE = "0" * 64
DEVELOPMENT = "sandbox"


class ApnsPush(PushAdapter):
    """One request a device, over HTTP/2. There are no delivery reports: SENT means that Apple has taken it."""

    platforms = frozenset({"ios"})

    def send(self, notification: PushNotification) -> RecipientResult:
        """Send once to one device.

        A device whose environment is not known (`device_environment` empty, in a production config) and whose token Apple
        does not know is looked for on the development host too, once: such a refusal sends nothing.

        Raises `InvalidRequest` (attr `to`, `message`, `data`, `collapse_key`, `ttl`, `app`), `UnsupportedOperation` (topics),
        `AuthenticationFailed`, `RateLimited`, `ProviderUnavailable`, and where Apple may have taken it `Undecided` (with
        `collapse_key`, since the second replaces the first on the device) or `OutcomeUnknown`.
        """
        token = payload.device_token(notification)
        content = payload.body(notification)
        headers = payload.headers(notification, bundle_id=str(self.config.bundle_id), now=self.clock())
        try:
            reply = self._post(self._host(notification.device_environment), token, content, headers, safe=False)
            found = self._judged(notification, reply)
            if found.provider_code == codes.BAD_DEVICE_TOKEN and self._may_be_elsewhere(notification):
                found = self._elsewhere(notification, token, content, headers) or found
        except OutcomeUnknown as error:
            if not notification.collapse_key:
                raise
            raise Undecided(error.message, provider=self._provider, provider_code=error.provider_code) from error
        return found

    def test_connection(self) -> TestResult:
        """Write to a device that does not exist: with a good key Apple refuses the device, else the key (that the key is
        looked at first is unconfirmed). Nothing reaches anybody."""
        headers = {"apns-topic": str(self.config.bundle_id), "apns-push-type": "alert", "apns-priority": "10"}
        reply = self._post(self.config.base_url, NO_DEVICE, b'{"aps":{"alert":"test"}}', headers, safe=True)
        reason = _reason(reply)
        if reply.ok or reason in codes.DEVICE:
            who = f"team {self.config.team_id} with key {self.config.key_id}, for the app {self.config.bundle_id}"
            return TestResult(ok=True, status="ok", detail=f"Signed in as {who}.")
        error = self._error(reply, reason)
        if isinstance(error, InvalidRequest):
            return TestResult(ok=False, status="refused", detail=error.message)
        if isinstance(error, OutcomeUnknown):
            raise ProviderUnavailable(error.message, provider=self._provider, provider_code=error.provider_code)
        raise error

    @property
    def _provider(self) -> str:
        return self.config.provider

    def _host(self, device_environment: str) -> str:
        """Return the base URL of the host that knows the device. A sandbox config never writes to the production host."""
        if device_environment != DEVELOPMENT or self.config.environment is Environment.SANDBOX:
            return self.config.base_url
        if self.config.environment is Environment.SIMULATOR:
            return f"{self.config.base_url}/sandbox"
        return PROVIDER.base_urls[Environment.SANDBOX]

    def _may_be_elsewhere(self, notification: PushNotification) -> bool:
        return not notification.device_environment and self.config.environment is not Environment.SANDBOX

    def _is_foreign(self, notification: PushNotification) -> bool:
        """Whether the device may be a production one, which a sandbox config can't know: no reason to give its token up."""
        return self.config.environment is Environment.SANDBOX and notification.device_environment != DEVELOPMENT

    def _elsewhere(
        self, notification: PushNotification, token: str, content: bytes, headers: Mapping[str, str]
    ) -> RecipientResult | None:
        """Try the development host; None where that has nothing to say on this device (a key limited to production)."""
        try:
            reply = self._post(self._host(DEVELOPMENT), token, content, headers, safe=False)
            found = self._judged(notification, reply)
        except (AuthenticationFailed, InvalidRequest):
            return None
        if found.state is not MessageState.SENT:
            return found
        detail = "this is a development build's device: register it with the environment sandbox"
        return replace(found, detail=detail)

    def _post(self, host: str, token: str, content: bytes, headers: Mapping[str, str], *, safe: bool) -> Reply:
        """Make the request; a provider token that Apple calls expired is replaced, and the request made once again."""
        bearer = self.tokens.access_token(self._mint)
        reply = self._request(host, token, content, headers, bearer, safe=safe)
        if reply.status == 403 and _reason(reply) == codes.EXPIRED_TOKEN:
            bearer = self.tokens.access_token(self._mint, rejected=bearer)
            reply = self._request(host, token, content, headers, bearer, safe=safe)
        return reply

    def _request(self, host: str, token: str, content: bytes, headers: Mapping[str, str], bearer: str, *, safe: bool) -> Reply:
        return self.http.request(
            "POST",
            f"{host}/3/device/{token}",
            operation="send" if not safe else "test",
            safe=safe,
            body=content,
            headers={**headers, "content-type": "application/json", "authorization": f"bearer {bearer}"},
        )

    def _mint(self) -> FetchedToken:
        config = self.config
        try:
            token = mint(team_id=str(config.team_id), key_id=str(config.key_id), pem=str(config.private_key), at=self.clock())
        except UnreadableKey as error:
            raise AuthenticationFailed(f"The signing key {error}.", provider=self._provider, attr="private_key") from None
        return FetchedToken(token, TOKEN_SECONDS)

    def _judged(self, notification: PushNotification, reply: Reply) -> RecipientResult:
        """Return what became of the device's notification; raise what concerns more than this device."""
        address = notification.target.address if notification.target else ""
        if reply.status == 200:
            ref = reply.headers.get("apns-id", "").lower()[:200] or payload.apns_id(notification)
            return RecipientResult(address, MessageState.SENT, provider_ref=ref, provider_code="200")
        reason = _reason(reply)
        if reply.status == 410 and reason not in codes.DEVICE:
            reason = codes.UNREGISTERED  # what the status alone says
        if reason in codes.DEVICE and reply.status in {400, 410}:
            detail, suppress = codes.DEVICE[reason]
            if reason == codes.BAD_DEVICE_TOKEN and self._is_foreign(notification):
                suppress = None
            gone = _timestamp(reply) if reply.status == 410 else None
            return RecipientResult(
                address, MessageState.FAILED, provider_code=reason, detail=detail, suppress=suppress, gone_since=gone
            )
        if reply.status == 429 and reason == codes.TOO_MANY_REQUESTS:
            wait = max(codes.DEVICE_WAIT, reply.retry_after or 0)
            detail = "too many notifications for this device in a row"
            return RecipientResult(
                address, MessageState.FAILED, provider_code=reason, detail=detail, retryable=True, retry_after=wait
            )
        raise self._error(reply, reason)

    def _error(self, reply: Reply, reason: str) -> ProviderError:
        """Return the error that a refusal of the whole request means."""
        provider, code = self._provider, reason or str(reply.status)
        if reason == codes.EXPIRED_TOKEN:
            text = "Apple calls a token made just now expired: the clock of this machine is wrong."
            return AuthenticationFailed(text, provider=provider, provider_code=code)
        if reply.status == 403:
            text = f"Apple refused the signing key, its Key ID or the Team ID: {code}."
            return AuthenticationFailed(text, provider=provider, provider_code=code)
        if reply.status == 429:
            least = codes.TOKEN_WAIT if reason == codes.TOO_MANY_TOKENS else 0.0
            wait = max(least, reply.retry_after or 0.0) or None
            return RateLimited(f"Apple asks to wait: {code}.", provider=provider, provider_code=code, retry_after=wait)
        if reason in codes.UNAVAILABLE and reply.status in {400, 503}:
            return ProviderUnavailable(f"Apple did not take it: {code}.", provider=provider, provider_code=code)
        if 400 <= reply.status < 500:
            attr = codes.REQUEST.get(reason)
            return InvalidRequest(f"Apple refused the request: {code}.", provider=provider, provider_code=code, attr=attr)
        text = f"Apple answered {reply.status}: it may have taken the notification."
        return OutcomeUnknown(text, provider=provider, provider_code=code)


def _reason(reply: Reply) -> str:
    """Return Apple's reason, '' where the answer has none."""
    try:
        found = reply.json().get("reason")
        return found.text(max_length=100) if found is not None else ""
    except WireError:
        return ""


def _timestamp(reply: Reply) -> datetime | None:
    """Return since when the token is dead; None where Apple does not say it readably."""
    try:
        found = reply.json().get("timestamp")
        return datetime.fromtimestamp(found.integer() / 1000, UTC) if found is not None else None
    except (WireError, ValueError, OverflowError, OSError):
        return None
