"""Fetching a file from an address that a tenant has given: through the URL guard, no redirect followed, never inside of a
transaction, and no more of it than may go along with a message."""

from __future__ import annotations

import mimetypes
import re
import time
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import requests
import structlog
import urllib3.exceptions

from integrations.contracts.errors import InvalidRequest, ProviderUnavailable
from integrations.contracts.messaging import Media
from integrations.http.client import USER_AGENT, refuse_inside_transaction, session
from integrations.http.guard import BlockedAddress, blocked_cause, check_url
from integrations.models import CallLog, Direction, LogStatus
from integrations.runtime.recorder import best_effort

logger = structlog.get_logger(__name__)

LARGEST = 10 * 1024 * 1024
CONNECT_SECONDS, READ_SECONDS, WHOLE_SECONDS = 10.0, 20.0, 60.0
NAME = "attachment"
UNNAMED = "attachment"
BINARY = "application/octet-stream"
WEB_PAGES = frozenset({"text/html", "application/xhtml+xml"})
PASSING = frozenset({408, 425, 429})
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,58}")
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]+')


@dataclass(frozen=True, slots=True)
class About:
    """For the log of calls: whose file it is, and for which queue item."""

    tenant_id: int
    item_id: int | None = None


def check_address(url: str) -> None:
    """Raise `InvalidRequest` (attr `attachment_url`) unless the hub may call this, as far as the text says."""
    try:
        check_url(url)
    except BlockedAddress as error:
        raise InvalidRequest(f"The address is not allowed: {error}.", attr="attachment_url") from error


def fetch(url: str, *, name: str = "", about: About) -> Media:
    """Return the file; `name` is its file name, else the address tells one.

    Raises `InvalidRequest` for what another try can't mend (the address is not allowed, it redirects, it is not there, it is
    too large or empty, it is a web page where a file was meant: mostly a login), else `ProviderUnavailable`.
    """
    refuse_inside_transaction()
    check_address(url)
    begun = time.monotonic()
    row = best_effort(lambda: _begin_log(url, about), "call_not_logged")
    status, problem = None, ""
    try:
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
        request = requests.Request("GET", url, headers=headers)
        with session().send(
            request.prepare(), timeout=(CONNECT_SECONDS, READ_SECONDS), allow_redirects=False, stream=True
        ) as answer:
            status = answer.status_code
            _check_status(status)
            content = _read(answer, begun)
            media = _media(url, name, answer.headers.get("Content-Type", ""), content)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        blocked = blocked_cause(error)
        problem = str(blocked) if blocked else type(error).__name__
        if blocked:
            raise InvalidRequest("The attachment's address is not allowed.", attr="attachment_url") from error
        raise ProviderUnavailable(f"The attachment could not be fetched ({problem}).") from error
    except (InvalidRequest, ProviderUnavailable) as error:
        problem = error.message
        raise
    finally:
        took = int((time.monotonic() - begun) * 1000)
        logger.info("attachment_fetched", host=urlsplit(url).hostname, status_code=status, problem=problem, duration_ms=took)
        if row is not None:
            _end_log(row.pk, status, problem, took)
    return media


def _check_status(status: int) -> None:
    if 200 <= status < 300:
        return
    if status >= 500 or status in PASSING:
        raise ProviderUnavailable(f"The attachment could not be fetched: its server answered {status}.")
    how = "redirects elsewhere" if 300 <= status < 400 else f"is refused with {status}"
    raise InvalidRequest(f"The attachment's address {how}.", attr="attachment_url")


def _read(answer: requests.Response, begun: float) -> bytes:
    """Read what comes, as it comes: a peer that drips bytes must not hold a worker for as long as it likes."""
    chunks, size = [], 0
    while chunk := answer.raw.read1(65_536, decode_content=True):
        size += len(chunk)
        if size > LARGEST:
            raise InvalidRequest(f"The attachment is larger than {LARGEST // 1024 // 1024} MB.", attr="attachment_url")
        chunks.append(chunk)
        if time.monotonic() - begun > WHOLE_SECONDS:
            raise ProviderUnavailable("The attachment came too slowly.")
    promised = answer.headers.get("Content-Length", "")
    if promised.isdecimal() and int(promised) > size and not answer.headers.get("Content-Encoding"):
        raise ProviderUnavailable("The attachment broke off in the middle.")
    if not size:
        raise InvalidRequest("The attachment is empty.", attr="attachment_url")
    return b"".join(chunks)


def _media(url: str, name: str, said: str, content: bytes) -> Media:
    filename = _filename(url, name)
    meant = mimetypes.guess_type(filename)[0] or ""
    served = said.partition(";")[0].strip().lower()
    if not _TYPE.fullmatch(served):
        served = ""
    if served in WEB_PAGES and meant not in WEB_PAGES:
        raise InvalidRequest("A web page came where the attachment should be.", attr="attachment_url")
    if served in ("", BINARY):
        served = meant or BINARY
    return Media(filename, served, content=content)


def _filename(url: str, name: str) -> str:
    found = name or unquote(urlsplit(url).path).rpartition("/")[2]
    return _UNSAFE.sub("_", found).strip(" .")[:150] or UNNAMED


def _begin_log(url: str, about: About) -> CallLog:
    # Without query and fragment: where reports are fetched by a secret address, it mostly stands there.
    parts = urlsplit(url)
    created: CallLog = CallLog.unscoped.create(
        tenant_id=about.tenant_id,
        item_id=about.item_id,
        direction=Direction.OUTBOUND,
        provider=NAME,
        operation="fetch",
        status=LogStatus.PENDING,
        method="GET",
        url=f"{parts.scheme}://{parts.netloc}{parts.path}",
    )
    return created


def _end_log(pk: object, status: int | None, problem: str, took: int) -> None:
    ended = LogStatus.FAILED if problem or status is None else LogStatus.SUCCESS
    row = CallLog.unscoped.filter(pk=pk)
    best_effort(lambda: row.update(status=ended, status_code=status, error=problem, duration_ms=took), "answer_not_logged")
