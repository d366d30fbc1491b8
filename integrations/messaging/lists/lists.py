"""Messages to many: the rows of a file (or of a long call) are kept as a list, checked, and sent to, each by its columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import IO, Any

from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import InvalidRequest
from integrations.messaging.drafts import Draft
from integrations.messaging.email.emails import SENDER_FIELDS
from integrations.messaging.email.mailboxes import parse_mailbox
from integrations.messaging.lists.files import open_table
from integrations.messaging.lists.parts import keep_rows
from integrations.messaging.lists.rows import COLUMNS_KEY, BadRow, Columns, Reader, Sample, address_of, rows_of, variables
from integrations.messaging.models import Channel, Message, RecipientList, RecipientListPart
from integrations.messaging.sending import accept, find_by_key
from integrations.messaging.sms.segments import GSM7, count_segments
from integrations.messaging.templating import TemplateError, check_template, variables_of
from integrations.models import Tenant
from integrations.runtime.jobs import Call
from integrations.runtime.resolve import resolve

__all__ = [
    "BadRow",
    "Columns",
    "ListReport",
    "Sample",
    "check_list",
    "guess_columns",
    "send_list",
    "store_file",
    "variables",
]

BAD_SHOWN = 200
SAMPLES = 3
LONGEST_SENDER = 20
CHANNELS = (Channel.SMS, Channel.EMAIL, Channel.WHATSAPP)

_WORDS = {
    Channel.SMS: ("phone", "mobile", "msisdn", "cell", "simu", "telephone", "tel", "contact", "number", "whatsapp", "to"),
    Channel.EMAIL: ("email", "e mail", "mail", "baruapepe", "to"),
}
_NAMES = ("full name", "name", "parent", "guardian", "student", "customer", "recipient", "jina", "first name")


@dataclass(frozen=True, slots=True)
class ListReport:
    """What sending to a list would do. `good` are sent to; `duplicates` stand further up already; of `bad` the first
    `BAD_SHOWN` are in `bad_rows`. `segments` are those of the longest text, `total_segments` of all; 0 unless SMS."""

    rows: int
    good: int
    duplicates: int
    bad: int
    bad_rows: tuple[BadRow, ...]
    segments: int
    total_segments: int
    encoding: str
    unusual: tuple[str, ...]
    samples: tuple[Sample, ...]


# --- keeping


def store_file(*, tenant: Tenant, file: IO[bytes], filename: str, created_by: str = "") -> RecipientList:
    """Keep the rows of a CSV file or Excel workbook. Raises `InvalidRequest` (attr `file`); then nothing is kept."""
    table = open_table(file)
    return keep_rows(tenant, _shown_name(filename), table.headings, table.rows, created_by)


def _shown_name(filename: str) -> str:
    name = re.split(r"[\\/]", filename)[-1]
    return "".join(char for char in name if char.isprintable())[:200] or "list"


# --- columns


def guess_columns(recipient_list: RecipientList, channel: str) -> Columns:
    """Return the likely columns, by what stands in the first rows and by their headings; an empty `address` where none fits."""
    part = RecipientListPart.unscoped.filter(recipient_list=recipient_list).order_by("number").first()
    rows = [row for row in part.rows if row][:50] if part is not None else []
    headings: list[str] = recipient_list.columns
    ways = [Channel.EMAIL, Channel.SMS] if channel == Channel.EMAIL else [Channel.SMS, Channel.EMAIL]
    picked: dict[Channel, str] = {}
    for way in ways:
        rest = [each for each in headings if each not in picked.values()]
        best = max(rest, key=lambda each: _fitness(recipient_list, each, rows, way), default="")
        if best and _fitness(recipient_list, best, rows, way) >= 0.5:
            picked[way] = best
    own = picked.get(ways[0], "")
    named = [each for word in _NAMES for each in headings if word in _plain(each) and each not in picked.values()]
    others = {way.value: heading for way, heading in picked.items() if heading != own}
    return Columns(own, named[0] if named else "", others)


def _fitness(recipient_list: RecipientList, heading: str, rows: Sequence[list[str]], way: Channel) -> float:
    """Return the share of filled cells that are addresses; a fitting heading decides between equals."""
    place = recipient_list.columns.index(heading)
    cells = [row[place] for row in rows if len(row) > place and row[place]]
    if not cells:
        return 0.0
    share = sum(address_of(each, way, recipient_list.country)[0] != "" for each in cells) / len(cells)
    words = _WORDS[way]
    hint = next((len(words) - at for at, word in enumerate(words) if word in _plain(heading)), 0)
    return share + hint / 100 if share else 0.0


def _plain(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", heading.casefold()).strip()


def _check_columns(recipient_list: RecipientList, channel: str, columns: Columns) -> None:
    if channel not in CHANNELS:
        raise InvalidRequest("Lists are sent to by SMS, e-mail or WhatsApp.", attr="channel")
    if not recipient_list.filename:
        raise InvalidRequest("This is no uploaded list.", attr="list")
    if not columns.address:
        raise InvalidRequest("Say which column holds the addresses.", attr="columns")
    for heading in (columns.address, columns.name, *columns.alternatives.values()):
        if heading and heading not in recipient_list.columns:
            raise InvalidRequest(f"The list has no column {heading[:100]!r}.", attr="columns")
    for name in columns.alternatives:
        if name not in CHANNELS or name == channel:
            raise InvalidRequest(f"{name[:30]!r} is no other channel of a list.", attr="columns")


# --- checking and sending


def check_list(
    *,
    tenant: Tenant,
    recipient_list: RecipientList,
    channel: str,
    columns: Columns,
    body: str,
    subject: str = "",
    html: str = "",
    data: Mapping[str, Any] | None = None,
) -> ListReport:
    """Tell what sending these texts to the list would do. Raises `InvalidRequest` naming the field: `columns`, `channel`, a
    text (`message` for the body) that is empty or no good template, or `data` where nothing fills in one of their variables."""
    texts = {"subject": subject, "message": body, "html": html}
    for name, text in texts.items():
        try:
            check_template(text)
        except TemplateError as error:
            raise InvalidRequest(str(error), attr=name) from None
    if not (body.strip() or (channel == Channel.EMAIL and html.strip())):
        raise InvalidRequest("The message is empty.", attr="message")
    _check_columns(recipient_list, channel, columns)
    reader = Reader(recipient_list, channel, columns, (subject, body, html), data or {})
    if reader.missing:
        raise InvalidRequest(f"No column fills in: {', '.join(reader.missing)}.", attr="data")
    tally = _Tally(reader, sms=channel == Channel.SMS)
    parts = RecipientListPart.unscoped.filter(tenant=tenant, recipient_list=recipient_list).order_by("number")
    for part in parts.iterator(chunk_size=4):
        for number, row in rows_of(part):
            tally.add(number, row)
    return tally.report()


class _Tally:
    def __init__(self, reader: Reader, *, sms: bool) -> None:
        self._reader, self._sms = reader, sms
        self._seen: set[str] = set()
        self._rows = self._duplicates = self._bad = 0
        self._bad_rows: list[BadRow] = []
        self._samples: list[Sample] = []
        self._segments = self._total = self._last = 0
        self._encoding = GSM7 if sms else ""
        self._unusual: dict[str, None] = {}

    def add(self, number: int, row: Sequence[str]) -> None:
        self._rows += 1
        given = self._reader.read(number, row)
        if isinstance(given, BadRow):
            self._bad += 1
            if len(self._bad_rows) < BAD_SHOWN:
                self._bad_rows.append(given)
            return
        if given.to.address in self._seen:
            self._duplicates += 1
            return
        self._seen.add(given.to.address)
        sample = len(self._samples) < SAMPLES
        if sample:
            self._samples.append(given.words)
        if self._sms and (sample or self._reader.personal):
            self._count(given.words.body)
        self._total += self._last

    def _count(self, text: str) -> None:
        counted = count_segments(text)
        self._last = counted.count
        self._segments = max(self._segments, counted.count)
        if counted.unusual:
            self._encoding = counted.encoding
            self._unusual |= dict.fromkeys(counted.unusual)

    def report(self) -> ListReport:
        return ListReport(
            self._rows,
            len(self._seen),
            self._duplicates,
            self._bad,
            tuple(self._bad_rows),
            self._segments,
            self._total,
            self._encoding,
            tuple(islice(self._unusual, 50)),
            tuple(self._samples),
        )


def send_list(*, tenant: Tenant, recipient_list: RecipientList, columns: Columns, draft: Draft) -> Message:
    """Accept a message to the good rows of a list; they become recipients in the background, part by part.

    The draft's texts may use the list's variables. Raises as `check_list` and `sending.accept`, and `InvalidRequest` (attr
    `file`) where no row is good. With a `key` a second call returns the first call's message.
    """
    if (existing := find_by_key(tenant, draft.key)) is not None:
        return existing
    report = check_list(
        tenant=tenant,
        recipient_list=recipient_list,
        channel=draft.channel,
        columns=columns,
        body=draft.body,
        subject=draft.subject,
        html=draft.html,
        data=draft.data,
    )
    if not report.good:
        raise InvalidRequest("No row of the list can be sent to.", attr="file")
    whole = replace(
        draft,
        personal=bool(variables_of(draft.subject, draft.body, draft.html)),
        segments=report.segments,
        encoding=report.encoding,
        sender=_sender(tenant, draft),
        content={**draft.content, COLUMNS_KEY: {**asdict(columns), "alternatives": dict(columns.alternatives)}},
    )
    return accept(tenant=tenant, draft=whole, recipient_list=recipient_list, expected=report.good)


def _sender(tenant: Tenant, draft: Draft) -> str:
    """Return the sender; of an e-mail without one the account's own address, which it can't do without."""
    if draft.channel != Channel.EMAIL:
        if len(draft.sender) > LONGEST_SENDER:
            raise InvalidRequest(f"The sender has more than {LONGEST_SENDER} characters.", attr="sender")
        return draft.sender
    found = draft.sender
    if not found:
        view = resolve(Call(Capability.EMAIL, "send", config_id=draft.config_id, provider=draft.provider), tenant_id=tenant.pk)
        found = next((str(view.get(name)) for name in SENDER_FIELDS if view.get(name)), "")
    if not found:
        raise InvalidRequest("This account has no sender address of its own: name the sender.", attr="sender")
    return parse_mailbox(found, attr="sender").address
