"""Finding a message whose id we never learnt: Twilio keeps no note of ours, only recipient, time and text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from integrations.contracts.errors import ProviderUnavailable, UnsupportedOperation
from integrations.contracts.messaging import MessageState, RecipientResult, SendQuery
from integrations.contracts.wire import Wire, WireError
from integrations.providers.twilio.calls import TwilioAccount

EARLIER, LATER = timedelta(minutes=1), timedelta(minutes=10)
"""How far before and after the call a message may have been made, by Twilio's clock."""

DAY = timedelta(days=1)
# A trial account's texts begin so (unconfirmed).
TRIAL_PREFIX = "Sent from your Twilio trial account - "


def find(account: TwilioAccount, query: SendQuery, to: str, now: datetime) -> RecipientResult | None:
    """Return what became of a message: by its id, else of the one text to `to` (as Twilio writes it) that it can only be.

    UNKNOWN where there are several such texts. Raises `UnsupportedOperation` without id and text, and as any query.
    """
    address = query.target.address
    if query.provider_ref:
        return account.fetch(query.provider_ref, address)
    if not query.text:
        raise UnsupportedOperation("Without its text a message can't be searched for.", provider=account.config.provider)
    begin = (query.sent_at or now - DAY) - EARLIER
    end = (query.sent_at or now) + LATER
    day = (begin - DAY).astimezone(UTC).date().isoformat()
    dated, whole = account.listed({"To": to, "DateSent>": day})
    if not whole:
        raise ProviderUnavailable("There are too many messages to this number to search.", provider=account.config.provider)
    # What waits in a queue has no sending date yet: the newest are looked through without one. Also where the first search
    # found something: that may be an earlier message with the same text.
    newest, _whole = account.listed({"To": to}, most_pages=1)
    matching = _matching([*dated, *newest], to, query.text, begin, end)
    if not matching:
        return None
    results = {result.provider_ref: result for result in (account.result(each, address) for each in matching)}
    if len(results) > 1:
        detail = f"Twilio has {len(results)} messages with this text to this number: which is meant, nobody can tell"
        return RecipientResult(address, MessageState.UNKNOWN, detail=detail)
    return next(iter(results.values()))


def _bare(text: str) -> str:
    return text.removeprefix(TRIAL_PREFIX).strip()


def _matching(messages: list[Wire], to: str, text: str, begin: datetime, end: datetime) -> list[Wire]:
    return [each for each in messages if _fits(each, to, text, begin, end)]


def _fits(message: Wire, to: str, text: str, begin: datetime, end: datetime) -> bool:
    try:
        made = parsedate_to_datetime(message["date_created"].text(max_length=60))
        body, direction = message["body"].text(max_length=10_000), message["direction"].text()
        same = message["to"].text() == to and direction.startswith("outbound") and _bare(body) == _bare(text)
    except (WireError, ValueError):
        return False
    return same and begin <= made.replace(tzinfo=made.tzinfo or UTC) <= end
