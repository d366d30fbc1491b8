from __future__ import annotations

import time

import pytest

from integrations.messaging.email.html_text import LONGEST_CLEANED, clean, text_of


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("<!-- nothing -->", ""),
        ("<p>Dear&nbsp;{{ name }},</p><p>Fees &amp; books</p>", "Dear {{ name }},\n\nFees & books"),
        ("<ul><li>one</li><li>two</li></ul>", "  * one\n  * two"),
        ("<table><tr><td>Fees</td><td>100</td></tr><tr><td>Books</td><td>7</td></tr></table>", "Fees   100\nBooks  7"),
        ("<a href='https://x.ke/pay'>Pay</a> now", "Pay (https://x.ke/pay) now"),
        ("<a href='https://x.ke'>https://x.ke</a>", "https://x.ke"),
        ("<a href='mailto:a@x.ke'>a@x.ke</a>", "a@x.ke"),
        ("<a href='#top'>top</a>", "top"),
        ("<a href='https://x.ke'><img src='cid:logo'></a>", "(https://x.ke)"),
        ("<style>p { color: red }</style><script>x()</script><title>T</title><p>seen</p>", "seen"),
        ("<?xml version='1.0' encoding='utf-8'?><p>x</p>", "x"),
        ("<p>a</p><br><br><br><p>b</p>", "a\n\nb"),
        ("no html at all", "no html at all"),
        ("<p>caf\u00e9 \U0001f600</p>", "caf\u00e9 \U0001f600"),
    ],
)
def test_text_of(html: str, text: str) -> None:
    assert text_of(html) == text


def test_text_of_what_is_nested_too_deep_for_the_parser() -> None:
    assert text_of("<div>" * 2000 + "\u0130<STYLE>p{}</style>still <b>there</b>" + "</div>" * 2000) == "\u0130 still there"


@pytest.mark.parametrize("html", ["<!--" * 100_000, "<" * 200_000, "<p>" * 100_000, "<script>" * 100_000, "x@" * 100_000])
def test_text_of_nonsense_takes_no_time(html: str) -> None:
    begun = time.process_time()
    text_of(html)
    assert time.process_time() - begun < 5


def test_clean_keeps_what_an_e_mail_needs() -> None:
    kept = (
        '<h1 style="text-align:center">Fees</h1><p>Dear <b>Jane</b>,<br>please <i>pay</i></p><ul><li>a</li></ul>'
        '<table width="100%" cellpadding="4"><tbody><tr><td colspan="2">x</td></tr></tbody></table>'
        '<img src="https://x.ke/logo.png" alt="Logo" width="80"><img src="cid:logo">'
    )
    assert clean(kept) == kept
    links = clean('<a href="https://x.ke/{{ id }}">a</a><a href="mailto:a@x.ke">b</a><a href="{{ unsubscribe_url }}">c</a>')
    assert links.count(' rel="noopener noreferrer"') == 3
    assert [each in links for each in ("https://x.ke/{{ id }}", "mailto:a@x.ke", "{{ unsubscribe_url }}")] == [True] * 3


@pytest.mark.parametrize(
    "html",
    [
        "<script>alert(1)</script>",
        "<p onclick='alert(1)'>x</p>",
        "<a href='javascript:alert(1)'>x</a>",
        "<a href='JaVa\tscript:alert(1)'>x</a>",
        "<a href='data:text/html,alert(1)'>x</a>",
        "<a href='{{ alert }}'>x</a>",
        "<img src='data:image/svg+xml,alert(1)'>",
        "<img src='http://x.ke/alert'>",
        "<img src='//x.ke/alert'>",
        "<img src=x onerror=alert(1)>",
        "<svg onload=alert(1)><a href='javascript:alert(1)'>x</a></svg>",
        "<math><mtext><style><img src=x onerror=alert(1)></style></mtext></math>",
        "<p style='background:url(https://x.ke/alert)'>x</p>",
        "<p style='background-color: URL (alert)'>x</p>",
        "<p style='color:u\\72 l(alert)'>x</p>",
        "<p style='width: expression(alert(1))'>x</p>",
        "<style>@import 'alert'</style>",
        "<iframe src='alert'></iframe><object data=alert></object><embed src=alert>",
        "<form action=alert><input value=alert><button formaction=alert>x</button></form>",
        "<base href='alert'><meta http-equiv=refresh content='0;url=alert'><link rel=stylesheet href=alert>",
        "<!-- alert -->",
        "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
    ],
)
def test_clean_leaves_nothing_that_acts(html: str) -> None:
    assert "alert" not in clean(html)


def test_clean_covers_nothing_with_positions() -> None:
    assert clean("<div style='position:fixed;top:0;color:red'>x</div>") == '<div style="color:red">x</div>'


def test_clean_has_a_limit() -> None:
    with pytest.raises(ValueError, match="200000 characters"):
        clean("x" * (LONGEST_CLEANED + 1))
