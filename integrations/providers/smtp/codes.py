"""What a mail server's answer means: by its enhanced code (RFC 3463) where it has one, else by its first digit.

Enhanced Mail System Status Codes registry of IANA and RFC 5321, 4.2.3 (read 2026-11).
"""

from __future__ import annotations

from dataclasses import dataclass

from integrations.contracts.adapter import MailReply
from integrations.contracts.messaging import SuppressReason

AUTHENTICATION = frozenset({530, 534, 535, 538})
"""The server wants a login, or does not take ours (RFC 4954, 6)."""

NO_SUCH_MAILBOX = {
    "5.1.1": SuppressReason.HARD_BOUNCE,  # no such mailbox
    "5.1.3": SuppressReason.INVALID,  # no address at all
    "5.1.10": SuppressReason.HARD_BOUNCE,  # null MX: the domain takes no mail (RFC 7505)
}
TAKES_NO_MAIL = frozenset({521, 551, 556})
"""This host or domain takes no mail for the address (RFC 5321, 3.4; RFC 7504)."""

MINUTE = 60.0
WAITS = {"4.2.2": 60 * MINUTE, "4.3.1": 5 * MINUTE}
"""Full mailboxes and full disks do not empty within a minute."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """`accepted`, else `temporary` (to be tried again after `retry_after` seconds) or final, perhaps with `suppress`."""

    accepted: bool = False
    temporary: bool = False
    retry_after: float | None = None
    suppress: SuppressReason | None = None


def code_of(reply: MailReply) -> str:
    """Return the code under which a reply is filed."""
    return reply.enhanced or str(reply.code)


def meaning_of(reply: MailReply) -> Meaning:
    """Read one answer. Policy, spam and DMARC (5.7.x) say nothing about the address: it is not suppressed for them."""
    if reply.ok:
        return Meaning(accepted=True)
    code = code_of(reply)
    # A code of neither class (a stray 3xx) has promised nothing: certainly not sent.
    if not code.startswith("5"):
        return Meaning(temporary=True, retry_after=WAITS.get(code, MINUTE))
    suppress = NO_SUCH_MAILBOX.get(code)
    if suppress is None and reply.code in TAKES_NO_MAIL:
        suppress = SuppressReason.HARD_BOUNCE
    return Meaning(suppress=suppress)


def bounce_suppression(status: str) -> SuppressReason | None:
    """Return whether, and why, a failed delivery report with this status (`5.1.1`) means: never again."""
    return NO_SUCH_MAILBOX.get(status)
