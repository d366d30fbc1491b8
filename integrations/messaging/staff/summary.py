"""What is shown of a message before it is sent: how many get it, in how many parts, for how much, and its words."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from integrations.messaging.email import html_text
from integrations.messaging.models import Channel, RecipientList
from integrations.messaging.safety import spending
from integrations.messaging.safety.spending import Estimate
from integrations.messaging.sms.segments import UCS2, count_segments
from integrations.messaging.staff.forms import EmailForm, SmsForm, WriteForm
from integrations.messaging.staff.reading import Typed
from integrations.models import Tenant


@dataclass(frozen=True, slots=True)
class Unusual:
    """A character that no ordinary text message can carry."""

    char: str
    name: str


@dataclass(frozen=True, slots=True)
class Summary:
    """`recipients` of a list are its rows, until its columns are known. `cost` is text, empty where nobody told a price."""

    channel: str
    recipients: int
    typed: Typed
    recipient_list: RecipientList | None
    names: tuple[str, ...]
    subject: str
    body: str
    html: str
    segments: int
    total_segments: int
    remaining: int
    encoding: str
    unusual: tuple[Unusual, ...]
    cost: str
    send_at: datetime | None

    @property
    def is_ucs2(self) -> bool:
        return self.encoding == UCS2

    @property
    def sees_each_other(self) -> bool:
        """Whether the recipients of this e-mail read each other's addresses."""
        return self.channel == Channel.EMAIL and self.recipient_list is None and self.recipients > 1


def summarise(form: WriteForm) -> Summary:
    """Return what a bound form would send; it need not be valid."""
    typed, recipient_list = form.typed(), form.recipient_list
    recipients = recipient_list.rows if recipient_list is not None else len(typed.good)
    subject, html, body = "", "", form.words()[-1]
    if isinstance(form, EmailForm):
        subject = form.words()[0]
        html = letter(form.written_html())
        body = html_text.text_of(html)
    counted = count_segments(body if isinstance(form, SmsForm) else "")
    return Summary(
        channel=form.channel,
        recipients=recipients,
        typed=typed,
        recipient_list=recipient_list,
        names=tuple(form.names),
        subject=subject,
        body=body,
        html=html,
        segments=counted.count,
        total_segments=counted.count * recipients,
        remaining=counted.remaining,
        encoding=counted.encoding,
        unusual=unusual(counted.unusual),
        cost=cost(form.desk.tenant, form.channel, segments=counted.count, recipients=recipients),
        send_at=getattr(form, "cleaned_data", {}).get("moment"),
    )


def letter(html: str) -> str:
    """Return an e-mail's HTML made harmless, to be shown; empty where it is too long for that."""
    return html_text.clean(html) if len(html) <= html_text.LONGEST_CLEANED else ""


def unusual(chars: tuple[str, ...]) -> tuple[Unusual, ...]:
    """Return characters with the names by which a person finds them in the text."""
    return tuple(Unusual(each, unicodedata.name(each, f"U+{ord(each):04X}").lower()) for each in chars)


def cost(tenant: Tenant, channel: str, *, segments: int, recipients: int) -> str:
    """Return what so many messages are expected to cost, as people write it; empty where no price is known."""
    expected: Estimate = spending.estimate(spending.policy_of(tenant.pk, channel), segments=segments, recipients=recipients)
    return "" if expected.total is None else money(expected.total, expected.currency)


def money(amount: Decimal, currency: str) -> str:
    """Return an amount in major units; fractions of a cent only where nothing else would be left."""
    places = 2 if amount == 0 or amount >= Decimal("0.01") else 4
    return f"{currency} {amount:,.{places}f}"
