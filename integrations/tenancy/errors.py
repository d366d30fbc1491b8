"""Errors as the API gives them: drf-standardized-errors' shape; provider failures say more. Never a traceback or a secret."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from drf_standardized_errors.formatter import ExceptionFormatter
from drf_standardized_errors.handler import ExceptionHandler
from rest_framework import exceptions
from rest_framework.response import Response

from integrations.contracts.errors import InvalidRequest, ProviderError
from integrations.contracts.schema import SchemaErrors


class ProviderFailure(exceptions.APIException):
    """A `ProviderError` on its way out."""

    def __init__(self, error: ProviderError) -> None:
        super().__init__(detail=error.message, code=error.code)
        self.error = error
        self.status_code = error.status_code
        self.wait = error.retry_after


class BodyTooLarge(exceptions.APIException):
    """The body is larger than `DATA_UPLOAD_MAX_MEMORY_SIZE` (routes that take files have limits of their own)."""

    status_code = 413
    default_code = "request_too_large"
    default_detail = "The body is too large."


class DatabaseAway(exceptions.APIException):
    """The database went away, or could not do it just now (no space, no connection, a lock or a statement that took too long).
    Whether anything was stored is not known: the same request with the same `Idempotency-Key` finds out."""

    status_code = 503
    default_code = "unavailable"
    default_detail = "This can't be done at the moment. Try again, with the same Idempotency-Key if you sent one."
    wait = 2


class HubExceptionHandler(ExceptionHandler):
    def convert_known_exceptions(self, exc: Exception) -> Exception:
        if isinstance(exc, InvalidRequest) and exc.attr and not exc.provider_code:
            return exceptions.ValidationError({exc.attr: [exc.message]}, code=exc.code)
        if isinstance(exc, ProviderError):
            return ProviderFailure(exc)
        if isinstance(exc, RequestDataTooBig):
            return BodyTooLarge()
        if isinstance(exc, SchemaErrors):
            return exceptions.ValidationError({name: [text] for name, text in exc.errors.items()})
        if isinstance(exc, OperationalError | InterfaceError):
            raised = DatabaseAway()
            raised.__cause__ = exc  # for the log: an operator wants to know which of these it was
            return raised
        converted: Exception = super().convert_known_exceptions(exc)
        return converted


class HubExceptionFormatter(ExceptionFormatter):
    def run(self) -> Any:
        body = super().run()
        if isinstance(self.exc, ProviderFailure):
            error = self.exc.error
            body["errors"][0]["attr"] = error.attr
            body |= {"provider": error.provider, "provider_code": error.provider_code, "retryable": error.retryable}
        return body


def exception_handler(exc: Exception, context: Any) -> Response | None:
    """The DRF exception handler of all views."""
    return HubExceptionHandler(exc, context).run()
