"""The hosted page as HTML: what the payer owes, test cards, M-Pesa, and the way back."""

from __future__ import annotations

from html import escape

from integrations.providers.flutterwave.simulator.envelope import CARD, M_PESA, number
from integrations.providers.flutterwave.simulator.magic import CARDS, GOOD_CARD
from integrations.simulators.wire import Json

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">{head}
<title>{title}</title>
<style>body{{font:16px system-ui;max-width:26rem;margin:2rem auto;padding:0 1rem}}form{{margin:1rem 0}}
button{{font:inherit;padding:.5rem 1rem}}label{{display:block;margin:.5rem 0}}.problem{{color:#a00}}</style></head>
<body><h1>{title}</h1>{body}</body></html>"""


def checkout(session: Json, merchant: str, *, problem: str = "", waiting: bool = False) -> str:
    """Return the page of an open session; `waiting`: an M-Pesa prompt is on the phone."""
    amount = f"{session['currency']} {number(session['amount'], session['currency']):,}"
    parts = [f"<p>You pay <strong>{escape(amount)}</strong> to {escape(merchant)}.</p>"]
    if problem:
        parts.append(f'<p class="problem" role="alert">{escape(problem)}. You may try again.</p>')
    if waiting:
        parts.append('<p role="status">Check your phone and enter your M-Pesa PIN. This page goes on by itself.</p>')
    if CARD in session["options"]:
        parts.append(_card())
    if M_PESA in session["options"]:
        parts.append(_mpesa(session["customer"].get("phonenumber", "")))
    parts.append(_button("fail", "Fail this payment"))
    parts.append(_button("cancel", "Cancel and go back"))
    return _html(str(session["title"] or merchant), "".join(parts), refresh=waiting)


def closed(merchant: str) -> str:
    """Return the page of a session that takes no payment any more."""
    return _html(merchant, "<p>This payment link has expired.</p>")


def _card() -> str:
    options = "".join(
        f'<option value="{card.number}"{" selected" if card.number == GOOD_CARD else ""}>{card.brand} {card.number}'
        f"{' (declined)' if card.problem else ''}</option>"
        for card in CARDS.values()
    )
    return (
        '<form method="post"><input type="hidden" name="action" value="approve">'
        f'<label>Test card <select name="card">{options}</select></label><button>Pay by card</button></form>'
    )


def _mpesa(phone: str) -> str:
    return (
        '<form method="post"><input type="hidden" name="action" value="phone">'
        f'<label>M-Pesa number <input name="phone" inputmode="tel" value="{escape(str(phone))}"></label>'
        "<button>Pay by M-Pesa</button></form>"
    )


def _button(action: str, label: str) -> str:
    return f'<form method="post"><input type="hidden" name="action" value="{action}"><button>{label}</button></form>'


def _html(title: str, body: str, *, refresh: bool = False) -> str:
    return _PAGE.format(title=escape(title), body=body, head='<meta http-equiv="refresh" content="2">' if refresh else "")
