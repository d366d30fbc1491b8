"""Tags of the portal's templates."""

from __future__ import annotations

from typing import Any

from django import template
from django.template import Context
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag(takes_context=True)
def portal_url(context: Context, name: str, *args: Any) -> str:
    """Return the address of a page as the visitor reaches it: by login, or through the link."""
    address: str = context["visitor"].url(name, *map(str, args))
    return address


@register.filter
def with_code(text: str) -> SafeString:
    """Return a description with what stands between backticks as code; all else in it is text."""
    parts = str(text).split("`")
    pieces = ((part, index % 2 == 1 and index < len(parts) - 1) for index, part in enumerate(parts))
    return format_html_join("", "{}", ((format_html("<code>{}</code>", part) if code else part,) for part, code in pieces))


@register.filter
def as_text(value: Any) -> str:
    """Return a header's value as text, whatever the log holds."""
    return value if isinstance(value, str) else str(value)
