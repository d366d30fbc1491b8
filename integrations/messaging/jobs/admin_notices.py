"""The queue's jobs that mail a notice to a tenant's admins: through its own e-mail account, else the hub's mail server."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from django.core.mail import EmailMessage
from django.db import transaction

from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import NotConfigured, OutcomeUnknown, ProviderError
from integrations.http.smtp import one_line
from integrations.messaging.email.emails import Personalization, send_email
from integrations.messaging.rules.admin_notices import KIND, REFERENCE, admins_addresses, folded
from integrations.messaging.safety.categories import OPERATIONAL
from integrations.models import QueueItem, QueueState
from integrations.runtime import mailer
from integrations.runtime.jobs import Call, EffectJob, LocalJob
from integrations.runtime.mail_log import send_logged
from integrations.runtime.queue import enqueue

logger = structlog.get_logger(__name__)

MAIL_KIND = "admin_notice.mail"
OPERATION = "admin_notice"


class AdminNoticeJob(LocalJob):
    """Decides how a notice goes out, and queues it for each admin. Without any way to mail, the alert in the console is all
    there is."""

    kind = KIND

    def run(self, item: QueueItem) -> None:
        addresses = admins_addresses(item.tenant_id)
        if not addresses:
            logger.info("admin_notice_without_address", key=item.reference_id)
            return
        if _by_own_account(item, addresses):
            return
        if not mailer.is_set_up():
            logger.info("admin_notice_not_mailed", key=item.reference_id, reason="no way to send mail")
            return
        for address in addresses:
            enqueue(
                tenant_id=item.tenant_id,
                kind=MAIL_KIND,
                payload={**item.payload, "to": address},
                reference=(REFERENCE, item.reference_id),
                key=folded(f"{item.reference_id}:{address}"),
                priority=4,
            )


def _by_own_account(item: QueueItem, addresses: list[str]) -> bool:
    """Accept the mail for the tenant's own e-mail account; False where it has none that takes it."""
    single = len(addresses) == 1
    try:
        with transaction.atomic():
            send_email(
                tenant=item.tenant,
                to=addresses if single else (),
                personalizations=() if single else [Personalization(to=[each]) for each in addresses],
                subject=item.payload["subject"],
                text=item.payload["text"],
                category=OPERATIONAL,
                reference=(REFERENCE, item.reference_id),
                key=f"{KIND}:{item.reference_id}",
                created_by="hub",
            )
    except NotConfigured:
        return False
    except ProviderError as error:
        logger.warning("admin_notice_refused", key=item.reference_id, error=type(error).__name__)
        return False
    return True


class AdminNoticeMailJob(EffectJob):
    """Mails a notice to one admin, at most once: where nobody can tell whether it went, it is not sent again."""

    kind = MAIL_KIND
    max_attempts = 20
    """With the queue's back-off about half a day: a mail server may be down over night."""
    lease_seconds = 180.0
    """A conversation with a slow mail server has many steps, each with its own timeout."""

    def prepare(self, item: QueueItem) -> Call | None:
        return Call(Capability.EMAIL, OPERATION, reference=(item.reference_type, item.reference_id))

    def perform(self, item: QueueItem, begin: Callable[[], None]) -> str:
        message = EmailMessage(
            subject=one_line(item.payload["subject"]),
            body=item.payload["text"],
            from_email=mailer.sender("Integrations Hub"),
            to=[item.payload["to"]],
            headers={
                "Message-ID": f"<{item.key}@{mailer.sender_address().rpartition('@')[2] or 'localhost'}>",
                "Auto-Submitted": "auto-generated",
            },
        )
        return send_logged(message, begin, item=item, operation=OPERATION, reference=(item.reference_type, item.reference_id))

    def succeeded(self, item: QueueItem, result: str) -> None:
        return

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        """The queue keeps why; what the notice was about stands in an alert of its own."""
        return

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        return QueueState.NEEDS_REVIEW
