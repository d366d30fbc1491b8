"""Firebase Cloud Messaging as a push provider. Facts from firebase.google.com and the admin SDKs (2026-11)."""

from __future__ import annotations

from typing import NoReturn

from integrations.contracts.adapter import Clock, ConfigView, HttpPort, Reply, TestResult, TokenPort
from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import (
    AuthenticationFailed,
    BadReply,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    Undecided,
    UnsupportedOperation,
)
from integrations.contracts.messaging import MessageState, RecipientResult, SuppressReason
from integrations.contracts.push import PushAdapter, PushNotification
from integrations.contracts.wire import WireError
from integrations.providers.fcm import message
from integrations.providers.fcm.calls import GoogleApi
from integrations.providers.fcm.codes import Problem, read_problem, wait_of

BATCH = 1000
QUOTA_WAIT = 60.0
BUSY_WAIT = 10.0
TEST_TOPIC = "hub-connection-test"
# APNS_AUTH_ERROR is the same under its former name.
THIRD_PARTY = frozenset({"THIRD_PARTY_AUTH_ERROR", "APNS_AUTH_ERROR"})


class FcmPush(PushAdapter):
    """Sends through `messages:send`, one request for each device or topic; Firebase has no call for several devices.

    Nothing is reported back: SENT means that Firebase has taken the message. There is no idempotency key either; with a
    collapse key a repetition replaces the first on the device, so a lost answer is `Undecided` then. A config of the
    environment `sandbox` has Firebase check each message without sending it.
    """

    has_topics = True
    platforms = frozenset({"android", "ios", "web"})

    def __init__(self, *, config: ConfigView, http: HttpPort, tokens: TokenPort, clock: Clock) -> None:
        super().__init__(config=config, http=http, tokens=tokens, clock=clock)
        self._api = GoogleApi(config, http, tokens, clock)
        self._dry_run = config.environment is Environment.SANDBOX

    def send(self, notification: PushNotification) -> RecipientResult:
        """See `PushAdapter`. Raises `InvalidRequest`, `AuthenticationFailed` (this config's account, or the project's
        credentials at Apple and the browsers), `RateLimited`, `ProviderUnavailable`, and `Undecided` or `OutcomeUnknown`
        where it may have been sent."""
        message.check(notification)
        try:
            reply = self._submit(notification, validate_only=self._dry_run, operation="send")
        except OutcomeUnknown as error:
            raise self._lost(notification, error.message) from error
        address = notification.target.address if notification.target else notification.topic
        if reply.ok:
            return RecipientResult(
                address,
                MessageState.SENT,
                provider_ref=self._message_id(notification, reply),
                detail="Checked by Firebase and not sent: this is a sandbox config." if self._dry_run else "",
            )
        problem = read_problem(reply)
        result = _device_refused(address, problem) if notification.target else None
        return result or self._refused(notification, reply, problem)

    def follow(self, topic: str, tokens: tuple[str, ...]) -> dict[str, str]:
        """See `PushAdapter`. Doing it twice changes nothing, so a lost answer is `Undecided`."""
        return self._change_topic("follow", "/iid/v1:batchAdd", topic, tokens)

    def unfollow(self, topic: str, tokens: tuple[str, ...]) -> dict[str, str]:
        """See `follow`."""
        return self._change_topic("unfollow", "/iid/v1:batchRemove", topic, tokens)

    def test_connection(self) -> TestResult:
        """Fetch a new token with the key, and have a message to a topic checked (not sent): proves key, project and right."""
        account = self._api.account()
        self._api.renew_token()
        probe = PushNotification(message_id="", topic=TEST_TOPIC, title="Connection test")
        reply = self._submit(probe, validate_only=True, operation="test")
        if not reply.ok:
            self._refused(probe, reply, read_problem(reply), safe=True)
        return TestResult(
            ok=True, status="ok", detail=f"Signed in as {account.email}; may send for project {account.project_id}."
        )

    @property
    def _provider(self) -> str:
        return self.config.provider

    def _submit(self, notification: PushNotification, *, validate_only: bool, operation: str) -> Reply:
        channel = str(self.config.get("android_channel") or "")
        body = message.build(notification, now=self.clock(), android_channel=channel, validate_only=validate_only)
        path = f"/v1/projects/{self._api.account().project_id}/messages:send"
        # What is only checked has no effect, so repeating it is harmless.
        return self._api.post(path, body, operation=operation, safe=validate_only)

    def _message_id(self, notification: PushNotification, reply: Reply) -> str:
        try:
            name = reply.json()["name"].text(max_length=300)
        except WireError as error:
            raise self._lost(notification, f"Firebase's answer can't be read: {error}.", code="unreadable") from None
        _, mark, message_id = name.partition("/messages/")
        if not mark or not message_id:
            raise self._lost(notification, "Firebase's answer holds no message id.", code="unreadable")
        return message_id

    def _refused(self, notification: PushNotification, reply: Reply, problem: Problem, *, safe: bool = False) -> NoReturn:
        """Raise what a refusal of the whole request means."""
        self._raise_common(reply, problem)
        text, code = problem.message or f"HTTP {reply.status}", problem.shown_code
        if problem.code in THIRD_PARTY:
            raise AuthenticationFailed(
                f"Firebase could not sign in to Apple or the browser's push service: check the APNs key or web push "
                f"certificate in the Firebase console. {problem.message}".strip(),
                provider=self._provider,
                provider_code=code,
            )
        if reply.status == 404:
            raise AuthenticationFailed(
                f"Firebase does not know the project of this service account: {text}",
                provider=self._provider,
                provider_code=code,
            )
        if reply.status == 503 and "UNAVAILABLE" in (problem.code, problem.status):
            raise ProviderUnavailable(
                f"Firebase is overloaded and did not take the message: {text}",
                provider=self._provider,
                provider_code=code,
                retry_after=self._wait(reply, BUSY_WAIT),
            )
        if 400 <= reply.status < 500 and reply.status != 408:
            raise InvalidRequest(
                f"Firebase refused the message: {text}", provider=self._provider, provider_code=code, attr=problem.attr
            )
        wait = self._wait(reply, BUSY_WAIT)
        said = f"Firebase did not say whether it took the message: {text}"
        if safe:
            raise ProviderUnavailable(said, provider=self._provider, provider_code=code, retry_after=wait)
        raise self._lost(notification, said, code=code, retry_after=wait)

    def _raise_common(self, reply: Reply, problem: Problem) -> None:
        """Raise what a refusal means whatever was asked for: rate, rights."""
        text, code = problem.message or f"HTTP {reply.status}", problem.shown_code
        if reply.status == 429 or problem.code == "QUOTA_EXCEEDED":
            raise RateLimited(
                f"Firebase's quota is used up: {text}",
                provider=self._provider,
                provider_code=code,
                retry_after=self._wait(reply, QUOTA_WAIT),
            )
        if reply.status == 403:
            raise AuthenticationFailed(
                f"Firebase does not let this service account do that: {text}", provider=self._provider, provider_code=code
            )

    def _lost(
        self, notification: PushNotification, text: str, *, code: str = "", retry_after: float | None = None
    ) -> ProviderError:
        """Return the error for an answer that does not say whether the message was taken."""
        kind: type[ProviderError] = BadReply if code == "unreadable" else OutcomeUnknown
        if self._dry_run:
            kind = ProviderUnavailable
        elif notification.collapse_key:
            kind = Undecided
        return kind(text, provider=self._provider, provider_code=code, retry_after=retry_after)

    def _wait(self, reply: Reply, otherwise: float) -> float:
        told = wait_of(reply, self.clock())
        return otherwise if told is None else told

    # --- topics

    def _change_topic(self, operation: str, path: str, topic: str, tokens: tuple[str, ...]) -> dict[str, str]:
        message.check_topic(topic)
        if self._dry_run:
            raise UnsupportedOperation(
                "A sandbox config changes no topics: Firebase can't only check that.", provider=self._provider
            )
        distinct = list(dict.fromkeys(tokens))
        if not all(distinct):
            raise InvalidRequest("A device token is empty.", provider=self._provider, attr="to")
        problems: dict[str, str] = {}
        for start in range(0, len(distinct), BATCH):
            problems |= self._change_batch(operation, path, topic, distinct[start : start + BATCH])
        return problems

    def _change_batch(self, operation: str, path: str, topic: str, tokens: list[str]) -> dict[str, str]:
        body = {"to": f"/topics/{topic}", "registration_tokens": tokens}
        # Without this header the endpoint takes the token for a server key of old.
        headers = {"access_token_auth": "true"}
        url = f"{self._api.topics_url}{path}"
        try:
            reply = self._api.post(url, body, operation=operation, safe=False, headers=headers)
        except OutcomeUnknown as error:
            raise Undecided(error.message, provider=self._provider) from error
        if not reply.ok:
            problem = read_problem(reply)
            self._raise_common(reply, problem)
            text, code = problem.message or f"HTTP {reply.status}", problem.shown_code
            if 400 <= reply.status < 500 and reply.status != 408:
                raise InvalidRequest(
                    f"Google refused the change: {text}", provider=self._provider, provider_code=code, attr="topic"
                )
            wait = self._wait(reply, BUSY_WAIT)
            raise Undecided(
                f"Google did not say whether the topic was changed: {text}",
                provider=self._provider,
                provider_code=code,
                retry_after=wait,
            )
        try:
            results = [_topic_problem(each.raw) for each in reply.json()["results"].items()]
        except WireError as error:
            raise BadReply(f"Google's answer can't be read: {error}.", provider=self._provider) from None
        if len(results) != len(tokens):
            raise BadReply("Google's answer does not fit the devices asked for.", provider=self._provider)
        return {token: problem for token, problem in zip(tokens, results, strict=True) if problem}


def _device_refused(address: str, problem: Problem) -> RecipientResult | None:
    """Return the result where it is this device that can't be reached, None where the refusal is about something else."""
    suppress: SuppressReason | None = None
    detail = ""
    if problem.code == "UNREGISTERED":
        suppress, detail = SuppressReason.DEAD_TOKEN, "The app was removed from the device, or its token has changed."
    elif problem.code == "INVALID_ARGUMENT" and problem.apns == "Unregistered":
        suppress, detail = SuppressReason.DEAD_TOKEN, "Apple says that the app was removed from the device."
    elif problem.code == "SENDER_ID_MISMATCH":
        suppress, detail = SuppressReason.INVALID, "The token belongs to an app of another Firebase project."
    elif problem.blames_token:
        suppress, detail = SuppressReason.INVALID, "This is no registration token of Firebase."
    if suppress is None:
        return None
    return RecipientResult(address, MessageState.FAILED, provider_code=problem.code, detail=detail, suppress=suppress)


def _topic_problem(result: object) -> str:
    """Return the error of one device, '' where it succeeded; `WireError` for what is no result."""
    if not isinstance(result, dict):
        raise WireError("results holds something else than objects")
    return str(result.get("error") or "")[:100]
