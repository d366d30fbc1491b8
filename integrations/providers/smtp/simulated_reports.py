"""Mail about mail as the simulator's fake receiving servers send it: delivery reports, complaints, automatic replies."""

from __future__ import annotations

from email.utils import formatdate

REPORTER = "mx.example.net"
ACTIONS = {"failed": "5.1.1", "delayed": "4.4.1", "delivered": "2.0.0", "relayed": "2.0.0", "expanded": "2.0.0"}
"""What a delivery report may say, each with the status that it has where no other is asked for."""


def delivery_report(*, back: str, to: str, message_id: str, action: str, status: str, words: str, at: float) -> str:
    """Return a delivery status notification (RFC 3464) to the return address `back`; `at` in epoch seconds."""
    date = formatdate(at)
    return _mail(
        f"""\
From: Mail Delivery System <MAILER-DAEMON@{REPORTER}>
To: {back}
Subject: Delivery Status Notification ({action})
Date: {date}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="=_report"

--=_report
Content-Type: text/plain; charset=us-ascii

This is the mail system at {REPORTER}. Your message to {to}: {action}.

--=_report
Content-Type: message/delivery-status

Reporting-MTA: dns; {REPORTER}
Arrival-Date: {date}

Final-Recipient: rfc822; {to}
Action: {action}
Status: {status}
Diagnostic-Code: smtp; {words}
Last-Attempt-Date: {date}

--=_report
Content-Type: text/rfc822-headers

Message-ID: {message_id}
To: {to}

--=_report--
"""
    )


def complaint(*, back: str, to: str, message_id: str, at: float) -> str:
    """Return a complaint in the Abuse Reporting Format (RFC 5965)."""
    date = formatdate(at)
    return _mail(
        f"""\
From: Feedback <feedback@{REPORTER}>
To: {back}
Subject: Complaint about a message
Date: {date}
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="=_report"

--=_report
Content-Type: text/plain; charset=us-ascii

This is an email abuse report.

--=_report
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: simulator/1
Version: 1
Original-Rcpt-To: {to}
Arrival-Date: {date}

--=_report
Content-Type: text/rfc822-headers

Message-ID: {message_id}
To: {to}

--=_report--
"""
    )


def automatic_reply(*, back: str, to: str, at: float) -> str:
    """Return an out-of-office note: it comes to the return address too, and is no bounce."""
    return _mail(
        f"""\
From: {to}
To: {back}
Subject: Out of office
Date: {formatdate(at)}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii

I am away until Monday.
"""
    )


def _mail(text: str) -> str:
    return text.replace("\n", "\r\n")
