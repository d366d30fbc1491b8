"""The one vocabulary of failure. The runtime acts on the class alone; see architecture.md, section 1."""

from __future__ import annotations


class ProviderError(Exception):
    """A call to a provider did not succeed.

    `code` is ours and stable; `provider_code` is the provider's own; `message` may be shown to the tenant and never holds a
    secret. `retryable` says whether the queue may run the same call again, `counts` whether the breaker counts it,
    `uses_attempt` whether a try was spent (nothing of the hub's own holding back spends one).
    """

    code = "provider_error"
    retryable = False
    counts = False
    uses_attempt = True
    status_code = 502

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        provider_code: str = "",
        attr: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.provider = provider
        self.provider_code = provider_code
        self.attr = attr
        self.retry_after = retry_after


class InvalidRequest(ProviderError, ValueError):
    """The request itself is wrong (ours or the caller's); `attr` names the field. Fails now, never retried."""

    code = "invalid_request"
    status_code = 400


class UnsupportedOperation(ProviderError):
    """The provider (or this config of it) can't do that; nothing was sent."""

    code = "unsupported_operation"
    status_code = 422


class NotFound(ProviderError):
    """The provider does not know the object asked for."""

    code = "provider_not_found"
    status_code = 404


class Conflict(ProviderError):
    """The provider's object is in a state that forbids this, or the same request was made before."""

    code = "provider_conflict"
    status_code = 409


class Declined(ProviderError):
    """The provider understood and said no (a declined payment, a blacklisted number). Final for this request."""

    code = "declined"
    status_code = 402


class AuthenticationFailed(ProviderError):
    """The config's credentials were refused: the config needs attention, retrying can't help."""

    code = "provider_authentication_failed"
    status_code = 502


class RateLimited(ProviderError):
    """Refused for its rate; nothing was done. `retry_after` in seconds when the provider said so."""

    code = "provider_rate_limited"
    retryable = True
    status_code = 503


class Throttled(RateLimited):
    """Held back by the hub's own rate limit of this config; nothing was sent."""

    code = "throttled"
    uses_attempt = False


class ProviderUnavailable(ProviderError):
    """Certainly nothing was done (no connection; or 5xx/timeout on an operation that is harmless to repeat)."""

    code = "provider_unavailable"
    retryable = True
    counts = True
    status_code = 503


class CircuitOpen(ProviderUnavailable):
    """Not sent: the breaker is open until `retry_after` seconds from now. Uses up no attempt."""

    code = "circuit_open"
    counts = False
    uses_attempt = False


class OutcomeUnknown(ProviderError):
    """Sent, and no trustworthy answer: it may have happened. NEVER resent; reconciled by asking the provider."""

    code = "outcome_unknown"
    counts = True
    status_code = 504


class Undecided(OutcomeUnknown):
    """Sent, no trustworthy answer, and the provider deduplicates our key: the very same request may be made again and tells.

    The queue repeats it while it may (attempts, `not_after`); after that it is an unknown outcome like any other.
    """

    retryable = True


class BadReply(OutcomeUnknown):
    """The provider answered something that this adapter can't read; for a safe call the http client downgrades it."""

    code = "bad_reply"


class NotConfigured(ProviderError):
    """No active config of the tenant serves this capability."""

    code = "not_configured"
    status_code = 422


class Expired(ProviderError):
    """The call's `not_after` passed before it could be made; nothing was sent."""

    code = "expired"
    status_code = 410
