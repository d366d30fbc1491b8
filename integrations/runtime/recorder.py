"""Writes each exchange into the call log, before and after."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import structlog
from django.db import Error as DatabaseError  # InterfaceError, of a connection that is gone, is no django DatabaseError
from django.db import connection

from integrations.contracts.adapter import ConfigView
from integrations.http.client import Exchange
from integrations.models import CallLog, Direction, LogStatus
from integrations.runtime.jobs import Call

logger = structlog.get_logger(__name__)
T = TypeVar("T")


def best_effort(work: Callable[[], T], complaint: str) -> T | None:
    """Do bookkeeping beside a call; where the database fails, log `complaint` and return None.

    A connection that died during the call (the server was restarted) is replaced, and the work tried once more: an answer in
    hand must not be lost for the sake of its record.
    """
    for last in (False, True):
        try:
            return work()
        except DatabaseError as error:
            connection.close_if_unusable_or_obsolete()
            if last:
                logger.warning(complaint, error=type(error).__name__)
    return None


class CallRecorder:
    """The log of one call's exchanges. A database that fails here must not turn a sent call into a lost answer."""

    def __init__(self, *, tenant_id: int, view: ConfigView, call: Call, item_id: int | None) -> None:
        self._tenant_id = tenant_id
        self._view = view
        self._call = call
        self._item_id = item_id
        self.log_ids: list[int] = []

    def started(self, exchange: Exchange) -> None:
        context = structlog.contextvars.get_contextvars()
        row = best_effort(
            lambda: CallLog.unscoped.create(
                tenant_id=self._tenant_id,
                direction=Direction.OUTBOUND,
                provider=self._view.provider,
                config_id=self._view.id,
                operation=exchange.operation,
                status=LogStatus.PENDING,
                method=exchange.method,
                url=exchange.url,
                request_headers=exchange.request_headers,
                request_body=exchange.request_body.replace("\x00", ""),
                reference_type=self._call.reference[0],
                reference_id=self._call.reference[1],
                external_reference=self._call.external_reference[:200],
                request_id=str(context.get("request_id", ""))[:64],
                item_id=self._item_id,
            ),
            "call_not_logged",
        )
        if row is None:
            return
        exchange.log_id = row.pk
        self.log_ids.append(row.pk)

    def finished(self, exchange: Exchange) -> None:
        if exchange.timed_out:
            status = LogStatus.TIMEOUT
        elif exchange.status_code is None or exchange.status_code >= 400:
            status = LogStatus.FAILED
        else:
            status = LogStatus.SUCCESS
        logger.info(
            "provider_call",
            provider=self._view.provider,
            operation=exchange.operation,
            status=status.value,
            status_code=exchange.status_code,
            duration_ms=exchange.duration_ms,
        )
        if exchange.log_id is None:
            return
        row = CallLog.unscoped.filter(pk=exchange.log_id)
        best_effort(
            lambda: row.update(
                status=status,
                status_code=exchange.status_code,
                response_headers=exchange.response_headers,
                response_body=exchange.response_body.replace("\x00", ""),
                error=exchange.error,
                duration_ms=exchange.duration_ms,
            ),
            "answer_not_logged",
        )

    def judged(self, *, ok: bool, external_reference: str, detail: str) -> None:
        """Note what the adapter made of the last answer: a provider may refuse with status 200."""
        if not self.log_ids or (ok and not external_reference):
            return
        changes: dict[str, str] = {}
        if external_reference:
            changes["external_reference"] = external_reference[:200]
        if not ok:
            changes["error"] = detail
        last = CallLog.unscoped.filter(pk=self.log_ids[-1])

        def write() -> None:
            last.update(**changes)
            if not ok:
                last.filter(status=LogStatus.SUCCESS).update(status=LogStatus.FAILED)

        best_effort(write, "verdict_not_logged")
