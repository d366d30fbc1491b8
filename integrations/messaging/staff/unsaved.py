"""The words of a form that came too late: nobody is logged in any more, so nothing of it is kept or sent, only shown again."""

from __future__ import annotations

from django.http import HttpRequest

from integrations.messaging.email import html_text

FIELDS = {"to": "To", "cc": "Copy (Cc)", "bcc": "Blind copy (Bcc)", "subject": "Subject", "text": "Text", "plain": "Text"}
WRITTEN = ("subject", "text", "plain", "html")
LONGEST_READ = 50_000
"""Longer HTML is shown as it came: whoever posts this need not be anybody we know."""


def words_of(request: HttpRequest) -> list[tuple[str, str]]:
    """Return (what, words) of a posted form for writing, to be copied by its author; nothing where no words were posted."""
    if not any(request.POST.get(name, "").strip() for name in WRITTEN):
        return []
    found = [(label, request.POST.get(name, "")) for name, label in FIELDS.items()]
    html = request.POST.get("html", "")
    found.append(("Text", html_text.text_of(html) if len(html) <= LONGEST_READ else html))
    return [(label, words) for label, words in found if words.strip()]
