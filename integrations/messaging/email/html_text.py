"""HTML of e-mails: as plain text, and made harmless."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import nh3
from inscriptis import ParserError, get_text
from inscriptis.css_profiles import CSS_PROFILES
from inscriptis.model.config import ParserConfig
from inscriptis.model.tag import CustomHtmlTagHandlerMapping

LONGEST_CLEANED = 200_000
"""Characters that `clean` takes: its time grows with the square of how deep tags are nested."""
OWN_LINK = re.compile(r"\{\{\s*unsubscribe_url\s*\}\}")
SAFE_LINK = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)
SAFE_IMAGE = re.compile(r"(?:https://|cid:)", re.IGNORECASE)
SAID_TWICE = re.compile(r"(?<!\S)(\S{3,500}) \(\1\)")
"""A link that says its own address: once is enough."""
HIDDEN = re.compile(rb"<(script|style|title)\b")
UNSAFE_STYLE = re.compile(r"[\\@<>]|/\*|url\s*\(|expression\s*\(|javascript:", re.IGNORECASE)

_LAYOUT = {"align", "dir", "lang", "style"}
_CELL = {"colspan", "rowspan", "width", "height", "valign", "bgcolor"}
ATTRIBUTES = {
    "*": _LAYOUT,
    "a": {"href", "title"},
    "img": {"src", "alt", "title", "width", "height", "border"},
    "table": {"width", "border", "cellpadding", "cellspacing", "bgcolor"},
    "tr": {"valign", "bgcolor"},
    "td": _CELL,
    "th": _CELL,
    "col": {"span", "width"},
    "ol": {"start", "type"},
    "hr": {"width"},
}
TAGS = {
    "a", "abbr", "b", "blockquote", "br", "caption", "center", "code", "col", "colgroup", "dd", "del", "div", "dl", "dt", "em",
    "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "ins", "li", "ol", "p", "pre", "s", "small", "span", "strike",
    "strong", "sub", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul",
}  # fmt: skip
DROPPED = {
    "script",
    "style",
    "title",
    "head",
    "iframe",
    "object",
    "embed",
    "form",
    "noscript",
    "template",
    "textarea",
    "select",
}
STYLES = {
    "background-color", "border", "border-bottom", "border-collapse", "border-color", "border-left", "border-radius",
    "border-right", "border-spacing", "border-style", "border-top", "border-width", "color", "direction", "font-family",
    "font-size", "font-style", "font-weight", "height", "letter-spacing", "line-height", "list-style-type", "margin",
    "margin-bottom", "margin-left", "margin-right", "margin-top", "max-width", "padding", "padding-bottom", "padding-left",
    "padding-right", "padding-top", "text-align", "text-decoration", "text-indent", "text-transform", "vertical-align",
    "white-space", "width",
}  # fmt: skip


def text_of(html: str) -> str:
    """Return what an HTML text says, as plain text: lists and tables keep their shape, links show where they lead, as
    `the fees (https://...)`. Template variables stay as they are. Empty where it says nothing in words."""
    try:
        text = get_text(html, _CONFIG)
    except (ParserError, ValueError, RecursionError):
        text = ""
    if not text.strip():
        # The parser gives up on tags that are nested some hundred deep.
        text = _words_of(html)
    text = SAID_TWICE.sub(_once, text.replace("\0", ""))
    lines = [line.rstrip() for line in text.splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def clean(html: str) -> str:
    """Return HTML that people typed with only what an e-mail needs: no scripts, forms, frames or comments; links by http,
    https and mailto (or to `{{ unsubscribe_url }}`), pictures by https and cid, inline styles of a safe list.

    Raises ValueError for more than `LONGEST_CLEANED` characters.
    """
    if len(html) > LONGEST_CLEANED:
        raise ValueError(f"More than {LONGEST_CLEANED} characters of HTML.")
    return nh3.clean(
        html,
        tags=TAGS,
        clean_content_tags=DROPPED,
        attributes=ATTRIBUTES,
        attribute_filter=_filtered,
        url_schemes={"http", "https", "mailto", "cid"},
        filter_style_properties=STYLES,
        link_rel="noopener noreferrer",
        url_relative=lambda url: url if OWN_LINK.fullmatch(url) else None,
    )


def _filtered(tag: str, attribute: str, value: str) -> str | None:
    if attribute == "style":
        return None if UNSAFE_STYLE.search(value) else value
    if attribute == "href":
        return value.strip() if SAFE_LINK.match(value.strip()) or OWN_LINK.fullmatch(value) else None
    if attribute == "src":
        return value.strip() if SAFE_IMAGE.match(value.strip()) else None
    return value


def _begin_link(state: Any, attributes: Any) -> None:
    target = str(attributes.get("href", "")).strip()
    state.link_target = "" if target.startswith("#") else target


def _end_link(state: Any) -> None:
    if not state.link_target:
        return
    state.tags[-1].write(f" ({state.link_target.removeprefix('mailto:')})")
    state.link_target = ""


_CONFIG = ParserConfig(
    css=CSS_PROFILES["strict"],
    custom_html_tag_handler_mapping=CustomHtmlTagHandlerMapping({"a": _begin_link}, {"a": _end_link}),
)


def _once(found: re.Match[str]) -> str:
    return found[1] if "://" in found[1] or "@" in found[1] else found[0]


def _words_of(html: str) -> str:
    """Return the words of a text, and nothing of its shape. Goes through it once, whatever it is: callers may send anything."""
    raw = html.encode("utf-8", "replace")
    found, at, lowered = [], 0, raw.lower()
    while at < len(raw):
        begin = raw.find(b"<", at)
        found.append(raw[at:] if begin < 0 else raw[at:begin])
        if begin < 0:
            break
        hidden = HIDDEN.match(lowered, begin)
        mark = b"-->" if lowered.startswith(b"<!--", begin) else b"</" + hidden[1] if hidden else b">"
        end = lowered.find(mark, begin + 1)
        if end < 0:
            break
        at = end if hidden else end + len(mark)
    return " ".join(unescape(b" ".join(found).decode()).split())
