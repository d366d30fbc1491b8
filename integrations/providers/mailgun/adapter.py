"""Mailgun e-mail. Facts from documentation.mailgun.com and Mailgun's SDKs (2026-11) unless a comment says otherwise."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl, quote, urlsplit

from integrations.contracts.adapter import Clock, ConfigView, HttpPort, Registration, TestResult, TokenPort
from integrations.contracts.capabilities import Environment
from integrations.contracts.email import EmailAdapter, EmailMessage, Envelope, ListedAddress
from integrations.contracts.errors import (
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
)
from integrations.contracts.messaging import MessageState, RecipientResult, SendQuery, SendResult, Target
from integrations.contracts.wire import Wire, WireError
from integrations.providers.mailgun.bodies import fields_of, grouped
from integrations.providers.mailgun.calls import Calls
from integrations.providers.mailgun.codes import LISTS, QUEUED
from integrations.providers.mailgun.provider import SANDBOX_DOMAIN
from integrations.providers.mailgun.reading import Event, furthest, read
from integrations.providers.mailgun.registering import register

OF_ALL = frozenset({"from", "template", "subject", "attachments"})
"""Fields that all envelopes share: a refusal for these is one of the whole message."""

PATIENCE = timedelta(seconds=45)
"""No further call of a send begins after this: with the last one it stays below the two minutes of a worker's lease."""

PAGE = 300
PAGES = 10
LIST_PAGE = 1000
CLOCKS_APART = timedelta(minutes=10)
SEARCHED_BACK = timedelta(days=2)


class MailgunEmail(EmailAdapter):
    """Sends through the messages API, a batch of equal texts in one call, all others one call for each envelope.

    There is no idempotency key; a lost answer is looked up in the Events API by our Message-ID and note.
    """

    batch_size = 50
    recipient_limit = 1000
    # 25 MB for the whole message, in which files take a third more.
    attachment_limit = 18 * 1024 * 1024
    has_templates = True

    def __init__(self, *, config: ConfigView, http: HttpPort, tokens: TokenPort, clock: Clock) -> None:
        super().__init__(config=config, http=http, tokens=tokens, clock=clock)
        self._calls = Calls(config, http)
        self._domain = quote(str(config.domain), safe="")

    def send(self, message: EmailMessage) -> SendResult:
        """See `EmailAdapter`. Where several calls are needed, what one call met is told in its recipients' results.

        Raises `InvalidRequest`, `AuthenticationFailed`, `RateLimited`, `ProviderUnavailable`, and `OutcomeUnknown` or
        `BadReply` where it may have been sent; always for the whole message.
        """
        self._check(message)
        waiting = grouped(message)
        if len(waiting) == 1 and len(waiting[0]) == 1:
            results, ref = self._post(message, waiting[0])
            return SendResult(results, ref)
        outcomes: dict[int, tuple[RecipientResult, ...]] = {}
        refs: list[str] = []
        until = self.clock() + PATIENCE
        while waiting:
            if outcomes and self.clock() > until:
                outcomes |= _postponed(waiting, ProviderUnavailable("The calls before it took too long."))
                break
            group = waiting.pop(0)
            try:
                results, ref = self._post(message, group)
                refs.append(ref)
            except InvalidRequest as error:
                if error.attr in OF_ALL and not outcomes:
                    raise
                if len(group) > 1:
                    # One bad address fails the call for all; nothing was sent, so each is tried alone.
                    waiting = [[envelope] for envelope in group] + waiting
                    continue
                results = _all(group, MessageState.FAILED, error)
            except OutcomeUnknown as error:
                if not outcomes and not waiting:
                    raise
                results = _all(group, MessageState.UNKNOWN, error)
                outcomes |= _by_envelope(group, results)
                outcomes |= _postponed(waiting, error)
                break
            except ProviderError as error:
                if not outcomes:
                    raise
                outcomes |= _postponed([group, *waiting], error)
                break
            outcomes |= _by_envelope(group, results)
        ordered = tuple(result for envelope in message.envelopes for result in outcomes[id(envelope)])
        return SendResult(ordered, refs[0] if len(refs) == 1 else "")

    def find(self, query: SendQuery) -> RecipientResult | None:
        """Ask the Events API, by Message-ID and by our note. Events show up some seconds to minutes after the send, and are
        kept for days only (how many depends on the plan)."""
        target = query.target
        since = (query.sent_at or self.clock() - SEARCHED_BACK) - CLOCKS_APART
        ids = {each.strip("<>") for each in (query.provider_ref, query.message_id) if "@" in each}
        keys = [{"message-id": each} for each in sorted(ids)] + ([{}] if target.ref else [])
        for key in keys:
            matching: list[Event] = []
            # A rejection names no recipient, so it takes a search of its own, where nothing final was found.
            for search in ({"recipient": target.address}, {"event": "rejected"}):
                matching += [event for event in self._events({**key, **search}, since) if _is_about(event, target, ids)]
                found = furthest(matching)
                if found is not None and found.meaning.state is not MessageState.SENT:
                    break
            if matching:
                return _result(target, furthest(matching), matching)
        return None

    def suppressed(self, cursor: str = "") -> tuple[tuple[ListedAddress, ...], str]:
        """See `EmailAdapter`. The cursor names the list and the page of it: `bounces`, `complaints`, then `unsubscribes`."""
        name, _, page = cursor.partition("?")
        name = name or next(iter(LISTS))
        if name not in LISTS:
            raise InvalidRequest("The cursor is none of this provider's.", provider=self.config.provider, attr="cursor")
        query = dict(parse_qsl(page)) or {"page": "first", "limit": str(LIST_PAGE)}
        found = self._calls.get(f"/v3/{self._domain}/{name}", operation="suppressions", query=query)
        try:
            rows = [_listed(name, row) for row in found["items"].items()]
            follow = found["paging"]["next"].text() if rows else ""
        except WireError as error:
            raise self._calls.unreadable(error, sending=False) from None
        names = list(LISTS)
        # An empty page ends a list: `next` is there on the last page too. Only the query is taken from that address.
        rest = urlsplit(follow).query
        if rows and rest and dict(parse_qsl(rest)) != query:
            return tuple(rows), f"{name}?{rest}"
        after = names[names.index(name) + 1 :]
        return tuple(rows), f"{after[0]}?" if after else ""

    def unsuppress(self, address: str) -> None:
        """Take the address off all three lists."""
        for name in LISTS:
            self._calls.delete(f"/v3/{self._domain}/{name}/{quote(address, safe='@')}", operation="suppressions")

    def test_connection(self) -> TestResult:
        """Read the sending domain: it needs the right key, domain and region, and changes nothing."""
        domain = self._calls.get(f"/v4/domains/{self._domain}", operation="domain").get("domain")
        if domain is None:
            raise ProviderUnavailable("Mailgun's answer holds no domain.", provider=self.config.provider)
        state = domain.get("state")
        shown = self._calls.shown(state.text(max_length=60)) if state is not None else "unknown"
        disabled = domain.get("is_disabled")
        name, region = self.config.domain, str(self.config.get("region") or "us").upper()
        if disabled is not None and disabled.raw is True:
            return TestResult(ok=False, status="disabled", detail=f"Signed in, but Mailgun has disabled {name} ({region}).")
        if shown != "active":
            return TestResult(
                ok=False, status="unverified", detail=f"Signed in, but {name} ({region}) is {shown}: check its DNS records."
            )
        return TestResult(ok=True, status="ok", detail=f"Signed in; {name} ({region}) is active.")

    def register_webhooks(self, urls: Mapping[str, str]) -> Registration:
        return register(self._calls, self._domain, urls)

    def _check(self, message: EmailMessage) -> None:
        provider = self.config.provider
        if not message.envelopes or len(message.envelopes) > self.batch_size or not all(e.to for e in message.envelopes):
            raise InvalidRequest(f"Between 1 and {self.batch_size} e-mails, each to somebody.", provider=provider, attr="to")
        if len(message.recipients) > self.recipient_limit:
            raise InvalidRequest(f"At most {self.recipient_limit} recipients.", provider=provider, attr="to")
        if sum(len(media.content) for media in message.attachments) > self.attachment_limit:
            raise InvalidRequest("The attachments are too large.", provider=provider, attr="attachments")

    def _post(self, message: EmailMessage, group: Sequence[Envelope]) -> tuple[tuple[RecipientResult, ...], str]:
        """Make one call; return the recipients' results and Mailgun's id of the call."""
        answer = self._calls.send(f"/v3/{self._domain}/messages", fields_of(message, group, test_mode=self._is_test()))
        try:
            ref = answer["id"].text(max_length=255).strip("<> ")
            said = answer["message"].text()
        except WireError as error:
            raise self._calls.unreadable(error, sending=True) from None
        if not ref or not said.startswith(QUEUED):
            raise self._calls.unreadable(WireError("it does not say that the message is queued"), sending=True)
        results = tuple(
            # In a batch each has its own Message-ID, and that is what its events name.
            RecipientResult(
                target.address, MessageState.SENT, provider_ref=(envelope.message_id if len(group) > 1 else "") or ref
            )
            for envelope in group
            for target in envelope.recipients
        )
        return results, ref

    def _is_test(self) -> bool:
        """In the sandbox environment nothing goes out; the sandbox domain may, to those who have agreed."""
        is_own = re.fullmatch(SANDBOX_DOMAIN, str(self.config.domain)) is None
        return self.config.environment is Environment.SANDBOX and is_own

    def _events(self, search: Mapping[str, str], since: datetime) -> list[Event]:
        """Return the events that fit, oldest first. Pages go by time, which is in the described API."""
        found: list[Event] = []
        begin = since.timestamp()
        for _ in range(PAGES):
            query = {"begin": f"{begin:.6f}", "ascending": "yes", "limit": str(PAGE), **search}
            answer = self._calls.get(f"/v3/{self._domain}/events", operation="status", query=query)
            try:
                rows = list(answer["items"].items())
                page = [event for row in rows for event in read(row)]
                last = rows[-1]["timestamp"].decimal() if rows else None
            except WireError as error:
                raise self._calls.unreadable(error, sending=False) from None
            found += page
            if len(rows) < PAGE or last is None or float(last) <= begin:
                return found
            begin = float(last)
        raise ProviderUnavailable("Mailgun has too many events of that time to search.", provider=self.config.provider)


def _is_about(event: Event, target: Target, ids: set[str]) -> bool:
    if event.address.lower() != target.address.lower():
        return False
    return event.ref == target.ref if event.ref and target.ref else event.message_id in ids


def _result(target: Target, found: Event | None, matching: Sequence[Event]) -> RecipientResult:
    """Say what the events say; where only deferrals were found, it was taken at least."""
    event = found or matching[-1]
    state = event.meaning.state if found is not None else None
    return RecipientResult(
        address=target.address,
        state=state or MessageState.SENT,
        provider_ref=event.message_id,
        provider_code=event.code if state in (MessageState.FAILED, MessageState.BOUNCED) else "",
        detail=event.detail if state not in (MessageState.SENT, MessageState.DELIVERED) else "",
        suppress=event.meaning.suppress,
    )


def _listed(name: str, row: Wire) -> ListedAddress:
    error, made = row.get("error"), row.get("created_at")
    return ListedAddress(
        address=row["address"].text(max_length=320),
        reason=LISTS[name],
        since=_date(made.text(max_length=100)) if made is not None else None,
        detail=" ".join(error.text().split())[:300] if error is not None else "",
    )


def _date(text: str) -> datetime | None:
    """Read `Thu, 11 Dec 2025 01:49:40 UTC`."""
    try:
        found = parsedate_to_datetime(text.replace("UTC", "+0000"))
    except ValueError:
        return None
    return found if found.tzinfo else None


def _all(group: Sequence[Envelope], state: MessageState, error: ProviderError) -> tuple[RecipientResult, ...]:
    return tuple(
        RecipientResult(target.address, state, provider_code=error.provider_code, detail=error.message)
        for envelope in group
        for target in envelope.recipients
    )


def _by_envelope(group: Sequence[Envelope], results: Sequence[RecipientResult]) -> dict[int, tuple[RecipientResult, ...]]:
    rest = iter(results)
    return {id(envelope): tuple(next(rest) for _ in envelope.recipients) for envelope in group}


def _postponed(groups: Sequence[Sequence[Envelope]], error: ProviderError) -> dict[int, tuple[RecipientResult, ...]]:
    """The calls after one that ended badly are not made: nothing was sent to these."""
    return {
        id(envelope): tuple(
            RecipientResult(
                target.address,
                MessageState.FAILED,
                provider_code=error.provider_code,
                detail="not sent yet: the calls before it met a problem or took too long",
                retryable=True,
                retry_after=error.retry_after,
            )
            for target in envelope.recipients
        )
        for group in groups
        for envelope in group
    }
