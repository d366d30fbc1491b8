"""Tags of the console's own pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import template
from django.utils.safestring import SafeString

from integrations.adminbase.render import badge
from integrations_site.navigation import name_of
from integrations_site.overview import Overview, overview

register = template.Library()


@register.simple_tag(takes_context=True)
def hub_overview(context: dict[str, Any]) -> Overview:
    """Return the first page's content for the person who asks."""
    return overview(context["request"])


@register.simple_tag
def hub_badge(value: str) -> SafeString:
    return badge(value)


@register.filter
def hub_heading(part: Mapping[str, Any]) -> Any:
    """Return a page's heading (of `link` and `title`): a list is called as it is in the sidebar."""
    return name_of(str(part.get("link", ""))) or part["title"]
