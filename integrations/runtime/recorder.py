"""Writes each exchange into the call log, before and after."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from django.db import Error as DatabaseError  # InterfaceError, of a connection that is gone, is no django DatabaseError
from django.db import connection

from integrations.contracts import clock
from integrations.contracts.adapter import ConfigView
from integrations.http.client import Exchange
from integrations.models import CallLog, Direction, LogStatus
from integrations.runtime.jobs import Call
from integrations.runtime.statements import UNHURRIED, insert

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
    """The log of one call's exchanges. A database that fails here must not turn a sent call into a lost answer.

    An exchange costs two statements: its row before the first byte, and its end. The end is written once it is known what the
    adapter makes of the answer, or the next exchange begins; whoever dies before that leaves a row that says `pending`. It does
    not wait for the disk: what the caller then commits takes it along.
    """

    def __init__(self, *, tenant_id: int, view: ConfigView, call: Call, item_id: int | None) -> None:
        self._tenant_id = tenant_id
        self._view = view
        self._call = call
        self._item_id = item_id
        self._last: Exchange | None = None
        self._changes: dict[str, Any] = {}

    def started(self, exchange: Exchange) -> None:
        self.close()
        self._last = exchange
        exchange.log_id = best_effort(lambda: self._insert(exchange), "call_not_logged")

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
        self._last = exchange
        self._changes = {
            "status": status.value,
            "status_code": exchange.status_code,
            "response_headers": json.dumps(exchange.response_headers),
            "response_body": exchange.response_body.replace("\x00", ""),
            "error": exchange.error,
            "duration_ms": exchange.duration_ms,
        }

    def judged(self, *, ok: bool, external_reference: str, detail: str) -> None:
        """Note what the adapter made of the last answer: a provider may refuse with status 200."""
        if external_reference:
            self._changes["external_reference"] = external_reference[:200]
        if not ok:
            self._changes["error"] = detail
            if self._changes.get("status") == LogStatus.SUCCESS.value:
                self._changes["status"] = LogStatus.FAILED.value
        self.close()

    def close(self) -> None:
        """Write down how the last exchange ended, if that is not done yet."""
        changes, self._changes = self._changes, {}
        if self._last is None or self._last.log_id is None or not changes:
            return
        log_id = self._last.log_id
        best_effort(lambda: _update(log_id, changes), "answer_not_logged")

    def _insert(self, exchange: Exchange) -> int:
        context = structlog.contextvars.get_contextvars()
        number: int = insert(
            CallLog(
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
                created=clock.now(),
            ),
            returning=True,
        )
        return number


def _update(log_id: int, changes: dict[str, Any]) -> None:
    columns = ", ".join(f'"{name}" = %s' for name in changes)
    with connection.cursor() as cursor:
        cursor.execute(
            f'UPDATE "{CallLog._meta.db_table}" SET {columns} WHERE id = %s AND {UNHURRIED}',  # noqa: S608 names of our own
            [*changes.values(), log_id],
        )
