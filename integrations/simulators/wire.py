"""What a simulator is handed and what it hands back: requests, answers, refusals, accounts, phone screens. Plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from requests.structures import CaseInsensitiveDict

Json = dict[str, Any]


@dataclass(slots=True)
class SimRequest:
    """One request to a fake API. `path` is the provider's own path (the `/<slug>` mount is cut off), `body` raw bytes.

    `before_answer` collects ids of callbacks that are to be sent, and answered, before the reply goes out; `cut` asks to
    close the connection instead of replying, though everything was done.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: CaseInsensitiveDict[str]
    body: bytes
    operation: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    before_answer: list[int] = field(default_factory=list)
    cut: bool = False

    def text(self) -> str:
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Json:
        """Return the body as a JSON object; ValueError if it is anything else."""
        value = json.loads(self.body.decode("utf-8"))
        if not isinstance(value, dict):
            raise ValueError("the body is not a JSON object")
        return value

    def form(self) -> dict[str, str]:
        """Return the form-encoded body, empty values kept; of a repeated name the last value counts."""
        return dict(parse_qsl(self.text(), keep_blank_values=True))

    @property
    def content_type(self) -> str:
        """Return the media type in lower case without parameters, '' when the header is absent."""
        return self.headers.get("Content-Type", "").split(";")[0].strip().lower()

    def data(self) -> Json:
        """Return form fields or a JSON object, by content type; an empty body gives {}. ValueError if malformed."""
        if not self.body:
            return {}
        return dict(self.form()) if self.content_type == "application/x-www-form-urlencoded" else self.json()


@dataclass(slots=True)
class SimReply:
    """One answer. Use the constructors `of_json`, `of_text`, `of_html`, `redirect`."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, value: Any, status: int = 200, content_type: str = "application/json") -> SimReply:
        return cls(status, json.dumps(value).encode(), {"Content-Type": content_type})

    @classmethod
    def of_text(cls, text: str, status: int = 200) -> SimReply:
        return cls(status, text.encode(), {"Content-Type": "text/plain; charset=utf-8"})

    @classmethod
    def of_html(cls, html: str, status: int = 200) -> SimReply:
        headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
        return cls(status, html.encode(), headers)

    @classmethod
    def redirect(cls, location: str) -> SimReply:
        return cls(303, b"", {"Location": location})

    def json(self) -> Any:
        """Return the body parsed as JSON; ValueError if it is not JSON."""
        return json.loads(self.body.decode("utf-8"))


class Refusal(Exception):
    """Raised by a handler to answer `reply` and to undo everything the handler wrote."""

    def __init__(self, reply: SimReply) -> None:
        super().__init__(f"refused with {reply.status}")
        self.reply = reply


@dataclass(frozen=True, slots=True)
class CallbackReply:
    """What the receiver of a simulated webhook answered, body cut at 64 KiB."""

    status: int
    body: bytes

    def json(self) -> Json:
        """Return the body as a JSON object; ValueError if it is anything else."""
        value = json.loads(self.body.decode("utf-8"))
        if not isinstance(value, dict):
            raise ValueError("the answer is not a JSON object")
        return value


@dataclass(frozen=True, slots=True)
class DemoAccount:
    """Field values of a hub config (environment `simulator`) which the simulator accepts. `label` is stable."""

    label: str
    values: Mapping[str, Any]
    secrets: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A payment prompt on a phone. `amount` is in whole units of `currency`; times are epoch seconds."""

    id: str
    slug: str
    msisdn: str
    merchant: str
    account: str
    amount: int
    currency: str
    status: str
    created_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class Notice:
    """A text that the network itself puts on the phone (not one sent by the hub)."""

    number: str
    sender: str
    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that arrived at a simulator; `at` in epoch seconds."""

    sender: str
    to: str
    subject: str
    text: str
    state: str
    at: float


@dataclass(frozen=True, slots=True)
class FormField:
    """One input of a form on the phone page; with `choices` (value, label) it is a select."""

    name: str
    label: str
    value: str = ""
    required: bool = True
    inputmode: str = "text"
    choices: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CustomerForm:
    """Something a customer starts on the phone. Posted to `/control/<slug>/<name>` with the phone's number as `msisdn`."""

    name: str
    title: str
    button: str
    fields: tuple[FormField, ...]


@dataclass(frozen=True, slots=True)
class Magic:
    """One row of the magic values shown on the control page."""

    value: str
    effect: str


def digits(number: str) -> str:
    """Return the digits of a phone number alone, `07..`/`01..`/`7..` brought to `254..`; other numbers as they are."""
    found = "".join(char for char in number if char.isdigit())
    if len(found) == 10 and found.startswith("0"):
        return "254" + found[1:]
    if len(found) == 9 and found[0] in "17":
        return "254" + found
    return found
