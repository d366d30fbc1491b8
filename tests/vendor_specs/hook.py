"""Holds every exchange of every test against the vendors' descriptions, at two places only: the client, the simulators."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from integrations.contracts.adapter import Reply
from integrations.http.client import HttpClient
from integrations.simulators import SimReply, SimRequest
from integrations.simulators.checks import add_answer_check, add_callback_check, remove_answer_check, remove_callback_check
from tests.vendor_specs.accepted import ACCEPTED, WEBHOOK_COMPONENTS
from tests.vendor_specs.loader import Description, SpecViolation, description_of, specs_folder

Lookup = Callable[[str], Description | None]


class Hook:
    """Installed once per run. `violations` is what was found, `checked` counts checked exchanges by provider."""

    def __init__(self, lookup: Lookup = description_of) -> None:
        self._lookup = lookup
        self._send: Any = None
        self.violations: list[str] = []
        self.checked: Counter[str] = Counter()

    def install(self) -> None:
        self._send = HttpClient._send
        hook, send = self, self._send

        def checked_send(client: HttpClient, prepared: requests.PreparedRequest, *args: Any) -> Reply:
            hook.on_request(client._provider, client._base_url, prepared)
            reply: Reply = send(client, prepared, *args)
            hook.on_reply(client._provider, client._base_url, prepared, reply)
            return reply

        HttpClient._send = checked_send  # type: ignore[method-assign]
        add_answer_check(self.on_answer)
        add_callback_check(self.on_callback)

    def remove(self) -> None:
        HttpClient._send = self._send  # type: ignore[method-assign]
        remove_answer_check(self.on_answer)
        remove_callback_check(self.on_callback)

    def on_request(self, slug: str, base_url: str, prepared: requests.PreparedRequest) -> None:
        """Before an adapter's request is sent."""
        body = prepared.body or b""
        content = body.encode() if isinstance(body, str) else bytes(body)
        kind = str(prepared.headers.get("Content-Type", ""))
        path, query = _target(base_url, prepared)
        self._judge(slug, lambda found: found.check_request(str(prepared.method), path, query, kind, content))

    def on_reply(self, slug: str, base_url: str, prepared: requests.PreparedRequest, reply: Reply) -> None:
        """When its answer is there."""
        path, _query = _target(base_url, prepared)
        kind = reply.headers.get("content-type", "")
        self._judge(slug, lambda found: found.check_answer(str(prepared.method), path, reply.status, kind, reply.body))

    def on_answer(self, slug: str, request: SimRequest, reply: SimReply) -> None:
        """Before a simulator's answer goes out."""
        kind = {name.lower(): value for name, value in reply.headers.items()}.get("content-type", "")
        self._judge(slug, lambda found: found.check_answer(request.method, request.path, reply.status, kind, reply.body))

    def on_callback(self, slug: str, _method: str, _url: str, _headers: Mapping[str, str], body: bytes) -> None:
        """Before a simulated webhook is sent."""
        component = WEBHOOK_COMPONENTS.get(slug)
        if component is None:
            return

        def check(found: Description) -> None:
            try:
                value = json.loads(body)
            except ValueError:
                raise SpecViolation(f"{slug} webhook: the body is not JSON") from None
            found.check_component(component, value)

        self._judge(slug, check)

    def _judge(self, slug: str, check: Callable[[Description], None]) -> None:
        found = self._lookup(slug)
        if found is None:
            return
        self.checked[slug] += 1
        try:
            check(found)
        except SpecViolation as violation:
            if any(each.covers(slug, violation) for each in ACCEPTED):
                return
            # Kept too: whoever called may well turn the exception into an ordinary failure, and the test would pass.
            self.violations.append(str(violation))
            raise

    def summary(self) -> str:
        """Return the line for the end of the run."""
        if specs_folder() is None:
            return "vendors' API descriptions: none found (set VENDOR_SPECS), nothing was held against them"
        held = ", ".join(f"{slug} ({count} checks)" for slug, count in sorted(self.checked.items()))
        return f"vendors' API descriptions in {specs_folder()}: {held or 'no exchange of this run has one'}"


def _target(base_url: str, prepared: requests.PreparedRequest) -> tuple[str, str]:
    """Return the provider's own path (without where it is mounted) and the query string."""
    parts = urlsplit(str(prepared.url))
    mount = urlsplit(base_url).path
    path = parts.path.removeprefix(mount) if parts.path.startswith(f"{mount}/") else parts.path
    return path, parts.query
