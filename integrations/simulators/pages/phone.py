"""The phone page: a customer's phone with payment prompts, the SMS inbox and what a customer can start."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from urllib.parse import quote

from integrations.simulators.control_api import WAITING, Control
from integrations.simulators.kit import Simulator
from integrations.simulators.pages.html import clock_time, page
from integrations.simulators.store import Store
from integrations.simulators.wire import CustomerForm, FormField, Prompt, digits

FIRST_NUMBER = "254712345678"
MESSAGES_SHOWN = 100


class PhonePage:
    """Renders one phone, chosen by number. The live part is one fragment, so page and polling share one renderer."""

    def __init__(self, simulators: Mapping[str, Simulator], store: Store, control: Control) -> None:
        self._simulators = simulators
        self._store = store
        self._control = control

    def page(self, number: str) -> str:
        """Return the whole page; without a number, the one last dealt with."""
        known = self._numbers()
        number = digits(number) or (known[0] if known else FIRST_NUMBER)
        options = "".join(f'<option value="{escape(each)}">' for each in dict.fromkeys([*known, FIRST_NUMBER]))
        bar = (
            '<form class="bar" action="/phone" method="get"><label>Phone number'
            f'<input name="number" list="numbers" inputmode="tel" value="{escape(number)}"></label>'
            f'<datalist id="numbers">{options}</datalist><button>Use this phone</button><a href="/">Control page</a></form>'
        )
        source = f"/phone/screen?number={quote(number)}"
        forms = "".join(
            self._customer_form(simulator, form, number)
            for simulator in self._simulators.values()
            for form in simulator.customer_forms()
        )
        dock = f'<div class="dock">{forms}</div>' if forms else ""
        screen = (
            '<div class="phone"><div class="screen"><div class="status"><span></span></div>'
            f'<div class="title"><h1>Messages</h1><p>+{escape(number)}</p></div>'
            f'<div style="display:contents" aria-live="polite" data-live="{escape(source)}">{self.screen(number)}</div>'
            f"{dock}</div></div>"
        )
        reload_hint = '<noscript><a href="">Reload to see what is new</a></noscript>'
        return page("Phone", bar + screen + reload_hint, "phone.css")

    def screen(self, number: str) -> str:
        """Return the live part: messages, and the oldest waiting prompt as a sheet over them."""
        number = digits(number)
        items = [
            (row["at"], row["sender"], row["text"], "")
            for row in self._store.rows("SELECT at, sender, text FROM inbox WHERE number = ? ORDER BY id", number)
        ]
        for simulator in self._simulators.values():
            items += [(note.at, note.sender, note.text, "net") for note in simulator.notices(number)]
        items = sorted(items, key=lambda item: item[0])[-MESSAGES_SHOWN:]
        bubbles = "".join(
            f'<div class="bubble {kind}"><b>{escape(sender)}</b>{escape(text)}<time>{clock_time(at)} UTC</time></div>'
            for at, sender, text, kind in items
        )
        messages = bubbles or '<p class="quiet-note">No messages yet.<br>A payment prompt or an SMS shows up here.</p>'
        waiting = [prompt for prompt in self._control.raw_prompts(number) if prompt.status == WAITING]
        sheet = self._sheet(waiting[-1], len(waiting)) if waiting else ""
        return f'<div class="messages">{messages}</div>{sheet}'

    def _sheet(self, prompt: Prompt, waiting: int) -> str:
        title = self._simulators[prompt.slug].title
        more = f" (1 of {waiting})" if waiting > 1 else ""
        return (
            '<div class="veil"><form class="sheet" method="post" data-fetch '
            f'action="/control/phone/prompts/{quote(prompt.id)}">'
            f'<h2>{escape(title)}{more}<span data-until="{prompt.expires_at:.0f}"></span></h2>'
            f'<p class="amount">{escape(prompt.currency)} {prompt.amount:,}</p>'
            f"<dl><dt>Pay to</dt><dd>{escape(prompt.merchant)}</dd><dt>Account</dt><dd>{escape(prompt.account)}</dd></dl>"
            f'<input type="hidden" name="next" value="/phone?number={quote(prompt.msisdn)}">'
            '<label>PIN (1234 is right on every phone)<input class="pin" type="password" name="pin" inputmode="numeric" '
            'autocomplete="off" maxlength="8"></label>'
            '<p class="note" data-note role="status"></p><button name="action" value="pin">Send</button>'
            '<div class="pair"><button class="quiet" name="action" value="cancel">Cancel</button>'
            '<button class="quiet" name="action" value="timeout">Let it time out</button></div></form></div>'
        )

    def _customer_form(self, simulator: Simulator, form: CustomerForm, number: str) -> str:
        fields = "".join(_field(field) for field in form.fields)
        return (
            f"<details><summary>{escape(form.title)}</summary>"
            f'<form method="post" data-fetch action="/control/{quote(simulator.slug)}/{quote(form.name)}">'
            f'<input type="hidden" name="msisdn" value="{escape(number)}">'
            f'<input type="hidden" name="next" value="/phone?number={quote(number)}">{fields}'
            f'<button>{escape(form.button)}</button><p class="note" data-note role="status"></p></form></details>'
        )

    def _numbers(self) -> list[str]:
        rows = self._store.rows("SELECT number FROM inbox GROUP BY number ORDER BY max(id) DESC LIMIT 50")
        found = [number for simulator in self._simulators.values() for number in simulator.phone_numbers()]
        return list(dict.fromkeys([*found, *(row["number"] for row in rows)]))


def _field(field: FormField) -> str:
    required = " required" if field.required else ""
    if field.choices:
        options = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in field.choices)
        box = f'<select name="{escape(field.name)}">{options}</select>'
    else:
        box = (
            f'<input name="{escape(field.name)}" value="{escape(field.value)}" inputmode="{escape(field.inputmode)}" '
            f'autocomplete="off"{required}>'
        )
    return f"<label>{escape(field.label)}{box}</label>"
