"""Tries to mail something, in the one log of calls. Neither the text nor an attachment is kept."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from django.conf import settings
from django.core.mail import EmailMessage

from integrations.contracts.errors import ProviderError
from integrations.models import CallLog, Direction, LogStatus, QueueItem
from integrations.runtime import mailer
from integrations.runtime.recorder import best_effort


def send_logged(
    message: EmailMessage, begin: Callable[[], None], *, item: QueueItem, operation: str, reference: tuple[str, str]
) -> str:
    """`mailer.send`, with a row in the log of calls that says how it went. A log that fails does not stop the mail."""
    context = structlog.contextvars.get_contextvars()
    row = best_effort(
        lambda: CallLog.unscoped.create(
            tenant_id=item.tenant_id,
            item=item,
            direction=Direction.OUTBOUND,
            provider=mailer.NAME,
            operation=operation,
            method="MAIL",
            url=_server(),
            request_headers={
                "From": message.from_email,
                "To": ", ".join(message.to),
                "Message-ID": str(message.extra_headers.get("Message-ID", "")),
            },
            reference_type=reference[0],
            reference_id=reference[1],
            request_id=str(context.get("request_id", ""))[:64],
        ),
        "call_not_logged",
    )
    begun = time.monotonic()

    def ended(status: LogStatus, *, answer: str = "", error: str = "") -> None:
        took = int((time.monotonic() - begun) * 1000)
        if row is not None:
            mine = CallLog.unscoped.filter(pk=row.pk)
            best_effort(
                lambda: mine.update(status=status, response_body=answer, error=error, duration_ms=took), "answer_not_logged"
            )

    try:
        answer = mailer.send(message, begin)
    except Exception as error:
        ended(LogStatus.FAILED, error=error.message if isinstance(error, ProviderError) else type(error).__name__)
        raise
    ended(LogStatus.SUCCESS, answer=answer)
    return answer


def _server() -> str:
    """Return where mail goes: the server's address, or the name of another of Django's backends."""
    backend: str = settings.EMAIL_BACKEND
    if backend.endswith(".smtp.EmailBackend"):
        return f"smtp://{settings.EMAIL_HOST}:{settings.EMAIL_PORT}"
    return backend
