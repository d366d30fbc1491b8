"""What every adapter is given and what it must offer, whatever its capability."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import OutcomeUnknown
from integrations.contracts.wire import Wire


@dataclass(frozen=True, slots=True)
class ConfigView:
    """A config opened for one call. Attribute access reads plain values and secrets alike; `repr` shows no secret.

    `base_url` has no trailing slash and already follows the environment.
    """

    id: int | None
    tenant_id: int | None
    provider: str
    environment: Environment
    base_url: str
    values: Mapping[str, Any]
    secrets: Mapping[str, Any] = field(repr=False)
    label: str = ""
    limits: Mapping[str, Any] = field(default_factory=dict)
    """What the account has in place of its provider's declared limits."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in self.secrets:
            return self.secrets[name]
        if name in self.values:
            return self.values[name]
        raise AttributeError(f"config of {self.provider} has no value {name!r}")

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value or secret, `default` where an optional field was left empty."""
        return self.secrets.get(name, self.values.get(name, default))


@dataclass(frozen=True, slots=True)
class Reply:
    """A provider's HTTP answer, read whole up to the client's size limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    duration_ms: int

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def retry_after(self) -> float | None:
        """The seconds of `Retry-After` (RFC 9110, its number form); None where there is none that can be read."""
        value = next((text for name, text in self.headers.items() if name.lower() == "retry-after"), "").strip()
        return float(value) if re.fullmatch(r"[0-9]{1,6}", value) else None

    def text(self) -> str:
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Wire:
        """Return checked access to the parsed body; raise `WireError` where it is no JSON."""
        import json

        from integrations.contracts.wire import WireError

        try:
            return Wire(json.loads(self.body))
        except (ValueError, RecursionError):
            raise WireError("body is not JSON") from None


class HttpPort(Protocol):
    """The hub's one outbound client, bound to a config: timeouts, masking, recording and the URL guard are its business.

    `url` is absolute, or a path below the config's base URL. `safe=True` promises that repeating the request is harmless
    (a query, a token fetch): then a timeout is `ProviderUnavailable`; otherwise, once a byte may have been sent, it is
    `OutcomeUnknown`. An answer of any status is returned, not raised: the adapter knows what it means.
    `operation` names the exchange in the log. Nothing is retried and no redirect is followed.
    """

    def request(
        self,
        method: str,
        url: str,
        *,
        operation: str,
        safe: bool | None = None,
        query: Mapping[str, str] | None = None,
        json: Any = None,
        form: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: tuple[float, float] | None = None,
    ) -> Reply: ...


@dataclass(frozen=True, slots=True)
class MailServer:
    """A mail server to hand messages to. `security`: `tls` from the first byte, `starttls` (required, never optional), `none`.

    Without a `username` nobody logs in. `helo` is the name that the hub gives for itself.
    """

    host: str
    port: int
    security: str
    username: str = ""
    password: str = field(default="", repr=False)
    helo: str = "localhost.localdomain"


@dataclass(frozen=True, slots=True)
class MailReply:
    """One answer of a mail server: the three digits (RFC 5321) and its words on one line, capped."""

    code: int
    text: str

    @property
    def ok(self) -> bool:
        return 200 <= self.code < 300

    @property
    def enhanced(self) -> str:
        """Return the enhanced status code (RFC 3463, `5.1.1`) that the words begin with, '' where there is none."""
        found = re.match(r"[245]\.\d{1,3}\.\d{1,3}(?=\s|$)", self.text)
        return found[0] if found else ""

    def __str__(self) -> str:
        return f"{self.code} {self.text}".strip()


@dataclass(frozen=True, slots=True)
class MailOutcome:
    """What the server said to one message: to its sender, to each recipient in the order given (fewer, where it refused the
    sender or said goodbye), and to its text (None where it took nobody, so that no text was offered)."""

    sender: MailReply
    recipients: tuple[MailReply, ...] = ()
    text: MailReply | None = None


class AnswerLost(OutcomeUnknown):
    """A message's text was sent, and no answer came. `outcome` is what the server had said until then: recipients whom it had
    refused did certainly not get it."""

    def __init__(self, message: str, *, provider: str, outcome: MailOutcome) -> None:
        super().__init__(message, provider=provider)
        self.outcome = outcome


class MailSession(Protocol):
    """One connection to a mail server, greeted, secured and logged in; for several messages, one after the other."""

    def send(self, *, sender: str, recipients: Sequence[str], text: bytes, message_id: str) -> MailOutcome:
        """Hand over one message (`text` in wire form: CRLF, headers first) and return what the server said to each step.

        The text goes to those recipients whom the server took. A refusal is returned, not raised. Raises
        `ProviderUnavailable` (certainly not sent) and `AnswerLost` (broken off after the final dot); both end the
        session: what is sent after them is `ProviderUnavailable`.
        """
        ...

    def noop(self) -> MailReply:
        """Ask whether the server still listens."""
        ...


@runtime_checkable
class MailPort(Protocol):
    """The part of the hub's outbound client that speaks SMTP, under the same promises as `HttpPort`: guarded address, timeouts,
    masking, a record of each message (its text is not kept), and the mark that something is about to be sent."""

    def mail(self, server: MailServer, *, operation: str) -> AbstractContextManager[MailSession]:
        """Connect, with TLS and login as `server` says. Nothing is retried.

        Raises `ProviderUnavailable` (no connection, no TLS, an untrusted certificate, a server that is busy),
        `AuthenticationFailed`, `InvalidRequest` (the address is not allowed).
        """
        ...


@dataclass(frozen=True, slots=True)
class FetchedToken:
    """A token as a provider gave it; `expires_in` in seconds."""

    access_token: str = field(repr=False)
    expires_in: float


class TokenPort(Protocol):
    """Access tokens shared by all processes: cached, fetched by one caller at a time, sealed at rest."""

    def access_token(self, fetch: Callable[[], FetchedToken], *, rejected: str | None = None) -> str:
        """Return a valid token, calling `fetch` at most once. `rejected` is a token that the provider refused just now:
        it is dropped if it is still the stored one (else what another caller stored meanwhile is used)."""
        ...


class Clock(Protocol):
    def __call__(self) -> datetime:
        """Return the aware current time in UTC."""
        ...


@dataclass(frozen=True, slots=True)
class TestResult:
    """What a connection test found; `detail` is for the person who pressed the button and holds no secret."""

    __test__ = False  # pytest: not a test class

    ok: bool
    status: str
    detail: str


@dataclass(frozen=True, slots=True)
class Registration:
    """What registering our callback URLs brought. `detail` is for people and holds no secret; `values` and `secrets` are
    stored in the config under these field names (an endpoint's id, its signing secret)."""

    detail: str
    values: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Adapter(ABC):
    """One provider's way of doing one capability. Lives for one call; keeps no state, opens no transaction."""

    def __init__(self, *, config: ConfigView, http: HttpPort, tokens: TokenPort, clock: Clock) -> None:
        self.config = config
        self.http = http
        self.tokens = tokens
        self.clock = clock

    @abstractmethod
    def test_connection(self) -> TestResult:
        """Call the provider with this config's credentials, changing nothing there. Raise `ProviderError` as any call."""

    def register_webhooks(self, urls: Mapping[str, str]) -> Registration:
        """Tell the provider our callback URLs (purpose -> URL); done twice it changes nothing. Returns what to store.

        Raises `UnsupportedOperation` where that is done by hand in the provider's dashboard.
        """
        from integrations.contracts.errors import UnsupportedOperation

        raise UnsupportedOperation(
            "This provider has no API for registering webhooks: paste the URLs into its dashboard.",
            provider=self.config.provider,
        )
