"""The control page: what is simulated, faults to set, requests seen, webhooks sent, sinks. And the page of one sink."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import quote

from integrations.simulators.clock import iso
from integrations.simulators.control_api import Control
from integrations.simulators.kit import Simulator
from integrations.simulators.pages.html import badge, page, pretty, table
from integrations.simulators.scheduler import Scheduler
from integrations.simulators.sink import Sinks

ROWS = 40
STATE_COLOURS = {"done": "good", "failed": "bad", "lost": "bad", "interrupted": "bad"}


class ControlPage:
    """Renders `/`, its live part, and `/sink/<name>`."""

    def __init__(
        self,
        simulators: Mapping[str, Simulator],
        scheduler: Scheduler,
        control: Control,
        sinks: Sinks,
        violations: list[str],
        public_url: str,
    ) -> None:
        self._simulators = simulators
        self._scheduler = scheduler
        self._control = control
        self._sinks = sinks
        self._violations = violations
        self._public_url = public_url

    def page(self) -> str:
        cards = "".join(self._card(simulator) for simulator in self._simulators.values())
        reset = (
            '<form class="inline" method="post" action="/control/reset"><input type="hidden" name="keep_setup" value="1">'
            '<button class="quiet">Forget everything but the set-up</button></form>'
        )
        return page(
            "Simulators",
            f'<header><h1>Simulators</h1><span>{escape(self._public_url)}</span><nav><a href="/phone">Phone</a>'
            f'<a href="/sink/school">Sink</a></nav>{reset}</header><main><div class="cards">{cards}</div>'
            f'<div data-live="/live" style="display:contents">{self.live()}</div></main>',
            "control.css",
        )

    def live(self) -> str:
        """Return the part that changes by itself: active faults, requests, callbacks, sinks, violations."""
        parts = [self._violations_section()] if self._violations else []
        parts += [self._faults_section(), self._mail_section(), self._requests_section()]
        parts += [self._callbacks_section(), self._sinks_section()]
        return "".join(parts)

    def sink(self, name: str) -> str:
        """Return the page of one sink."""
        body = (
            f"<header><h1>Sink {escape(name)}</h1><span>what the hub posted to this stand-in system</span>"
            f'<nav><a href="/">Control page</a></nav></header><main data-live="/sink/{quote(name)}?live=1">'
            f"{self.sink_live(name)}</main>"
        )
        return page(f"Sink {name}", body, "control.css")

    def sink_live(self, name: str) -> str:
        config = self._sinks.config(name)
        events = self._sinks.events(name)[::-1]
        rows = [
            [
                escape(event["at"]),
                _verdict(event["verified"]),
                badge(str(event["answered"]), "good" if event["answered"] < 300 else "bad"),
                f"<code>{escape(_header(event, 'webhook-id'))}</code>",
                f"<details><summary>headers</summary><pre>{pretty(event['headers'])}</pre></details>"
                f"<pre>{pretty(event['body'])}</pre>",
            ]
            for event in events[:ROWS]
        ]
        signed = "signatures are checked" if config["secret"] else "no secret registered: nothing is checked"
        return (
            f"<section><h2>{len(events)} received</h2><p>{escape(signed)}; answers {config['status']}"
            f"{', next ' + str(config['fail_times']) + ' fail' if config['fail_times'] else ''}.</p>"
            + table(("At", "Signature", "Answered", "Webhook id", "Body"), rows, "Nothing received yet.")
            + "</section>"
        )

    def _card(self, simulator: Simulator) -> str:
        slug = escape(simulator.slug)
        operations = sorted({entry.operation for entry in simulator.routes} | simulator.extra_operations)
        choices = "".join(f"<option>{escape(name)}</option>" for name in ("*", "callback", *operations))
        faults = "".join(
            f'<option value="{escape(name)}">{escape(name)}: {escape(effect)}</option>'
            for name, effect in simulator.known_faults().items()
        )
        magic = table(("Value", "Effect"), ([escape(m.value), escape(m.effect)] for m in simulator.magic), "None.")
        values = simulator.all_settings().items()
        settings = table(
            ("Setting", "Value"),
            ([f"<code>{escape(name)}</code>", f"<code>{escape(str(value))}</code>"] for name, value in values),
            "None.",
        )
        return (
            f"<section><h2>{escape(simulator.title)} {badge(simulator.slug)}</h2>"
            f"<p>Base URL <code>{escape(self._public_url)}/{slug}</code></p><h3>Set a fault</h3>"
            f'<form class="row" method="post" data-fetch action="/control/{slug}/faults">'
            f'<label>Operation<select name="operation">{choices}</select></label>'
            f'<label style="flex:1 1 14rem;min-width:0">Fault<select name="fault" style="width:100%">{faults}</select></label>'
            '<label>Times (-1: always)<input type="number" name="times" value="1" min="-1"></label>'
            '<label>Seconds<input type="number" name="seconds" min="0" step="0.1"></label>'
            '<label>Retry after<input type="number" name="retry_after" min="0"></label>'
            '<button>Set</button><span class="note" data-note role="status"></span></form>'
            f"<h3>Magic values</h3><details><summary>{len(simulator.magic)} values choose an outcome</summary>{magic}</details>"
            f"<h3>Settings</h3><details><summary>change with PUT /control/{slug}/settings</summary>{settings}</details>"
            "</section>"
        )

    def _faults_section(self) -> str:
        rows = [
            [
                escape(slug),
                f"<code>{escape(row['operation'])}</code>",
                escape(row["fault"]),
                "until cleared" if row["times"] == -1 else f"{row['times']} more",
                f'<form class="inline" method="post" data-fetch action="/control/{escape(slug)}/faults/clear">'
                '<button class="quiet">Clear all of this simulator</button></form>',
            ]
            for slug, simulator in self._simulators.items()
            for row in simulator.faults.all(slug)
        ]
        heads = ("Simulator", "Operation", "Fault", "Fires", "")
        return "<section><h2>Active faults</h2>" + table(heads, rows, "None: everything answers as it should.") + "</section>"

    def _requests_section(self) -> str:
        seen = [(slug, row) for slug in self._simulators for row in self._control.requests(slug, {"limit": str(ROWS)})]
        seen = sorted(seen, key=lambda pair: pair[1]["id"], reverse=True)[:ROWS]
        rows = [
            [
                escape(row["at"][11:23]),
                escape(slug),
                escape(row["operation"] or "-"),
                f"<code>{escape(row['method'])} {escape(row['path'])}</code>",
                _status(row["status"]) + (" " + badge(row["fault"], "warn") if row["fault"] else ""),
                f"<details><summary>body</summary><pre>{pretty(row['body'])}</pre></details>",
            ]
            for slug, row in seen
        ]
        heads = ("At (UTC)", "Simulator", "Operation", "Request", "Answered", "")
        return "<section><h2>Requests seen</h2>" + table(heads, rows, "None yet.") + "</section>"

    def _mail_section(self) -> str:
        mails = [(slug, mail) for slug, simulator in self._simulators.items() for mail in simulator.mailbox()[:ROWS]]
        mails.sort(key=lambda pair: pair[1].at, reverse=True)
        rows = [
            [
                escape(iso(mail.at)[11:23]),
                escape(slug),
                escape(mail.sender),
                escape(mail.to),
                badge(mail.state, STATE_COLOURS.get(mail.state, "good")),
                f"<details><summary>{escape(mail.subject or '(no subject)')}</summary><pre>{escape(mail.text)}</pre></details>",
            ]
            for slug, mail in mails[:ROWS]
        ]
        heads = ("At (UTC)", "Simulator", "From", "To", "State", "Mail")
        return "<section><h2>Mail</h2>" + table(heads, rows, "None arrived yet.") + "</section>" if rows else ""

    def _callbacks_section(self) -> str:
        rows = [
            [
                escape(iso(job["due"])[11:23]),
                escape(job["slug"]),
                escape(job["name"]),
                badge(job["state"], STATE_COLOURS.get(job["state"], "warn"))
                + (f" {job['status']}" if job["status"] else ""),
                f"<code>{escape(job['payload']['url'])}</code> {escape(job['outcome'])}",
                f"<details><summary>body</summary><pre>{pretty(job['payload']['body'])}</pre></details>",
            ]
            for job in self._scheduler.jobs(limit=ROWS * 2)
            if job["kind"] == "callback"
        ]  # fmt: skip
        heads = ("Due (UTC)", "Simulator", "Callback", "State", "To", "")
        return "<section><h2>Callbacks</h2>" + table(heads, rows[:ROWS], "None planned or sent yet.") + "</section>"

    def _sinks_section(self) -> str:
        rows = [
            [f'<a href="/sink/{quote(name)}">{escape(name)}</a>', str(len(self._sinks.events(name)))]
            for name in self._sinks.names()
        ]
        return "<section><h2>Sinks</h2>" + table(("Name", "Received"), rows, "None yet: post to /sink/<name>.") + "</section>"

    def _violations_section(self) -> str:
        rows = [[escape(text)] for text in self._violations]
        return "<section><h2>Violations of a vendor's description</h2>" + table(("What",), rows, "") + "</section>"


def _status(status: int | None) -> str:
    return badge("connection cut", "bad") if status is None else badge(str(status), "good" if status < 400 else "bad")


def _verdict(verified: bool | None) -> str:
    return badge("not checked") if verified is None else badge("valid", "good") if verified else badge("wrong", "bad")


def _header(event: Mapping[str, Any], name: str) -> str:
    return next((value for key, value in event["headers"].items() if key.lower() == name), "")
