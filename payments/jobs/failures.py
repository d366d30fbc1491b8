"""A call's final error in the vocabulary of payments."""

from __future__ import annotations

from dataclasses import replace

from integrations.contracts.errors import (
    AuthenticationFailed,
    Conflict,
    Declined,
    Expired,
    InvalidRequest,
    NotConfigured,
    NotFound,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    UnsupportedOperation,
)
from integrations.contracts.failures import Failure

_CODES: tuple[tuple[type[ProviderError], str], ...] = (
    (InvalidRequest, "invalid_request"),
    (UnsupportedOperation, "unsupported_operation"),
    (NotFound, "not_found"),
    (Conflict, "invalid_state"),
    (Declined, "declined"),
    (AuthenticationFailed, "credentials_refused"),
    (RateLimited, "provider_busy"),
    (ProviderUnavailable, "gateway_unavailable"),
    (NotConfigured, "not_configured"),
    (Expired, "expired"),
)


def failure_of(error: ProviderError) -> Failure:
    """Return the failure that an error with certainly no effect stands for; `code` stays the error's own where that is older
    than the vocabulary, so that callers who know it still do."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), "gateway_refused")
    return replace(Failure.of(code, error.message, provider_code=error.provider_code), code=error.code)
