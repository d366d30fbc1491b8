"""The base of every simulator: routes, controls, later actions, callbacks with faults, and hooks for the phone page.

A simulator is a subclass of `Simulator` with a `slug` and, if it is large, a list of `Part`s. Methods of both are marked:

* `@route("POST", "/v1/x", operation="x")`  `(request) -> SimReply`: a path of the fake API, in one store transaction,
* `@control("PUT", "/accounts/<name>")`     `(request) -> JSON value`: a path below `/control/<slug>`,
* `@action("x")`                            `(context) -> None`: what `later("x", ...)` runs,
* `@on_reply("x")`                          `(context, reply | None) -> None`: a callback's answer; None if there was none.

All of them run inside a store transaction and so must be quick; none may use the network (`callback()` only plans it).
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from integrations.simulators.clock import Clock
from integrations.simulators.faults import CALLBACK_FAULTS, REQUEST_FAULTS, Fault, Faults
from integrations.simulators.scheduler import Scheduler
from integrations.simulators.store import REQUESTS_KEPT, Store
from integrations.simulators.wire import (
    CallbackReply,
    CustomerForm,
    DemoAccount,
    Json,
    Magic,
    Mail,
    Notice,
    Prompt,
    SimReply,
    SimRequest,
    digits,
)

F = TypeVar("F", bound=Callable[..., Any])
MARK = "_simulator_marks"
DEFAULT_DELAY = 10.0
PRUNE_EVERY = 500


@dataclass(frozen=True, slots=True)
class Route:
    """A path (with `<name>` parameters) and what stands behind it. `operation` is the name that faults use."""

    method: str
    path: str
    operation: str
    handler: Callable[[SimRequest], Any]

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """Return the path's parameters if this route serves it, None if not."""
        pattern = re.sub(r"<(\w+)>", r"(?P<\1>[^/]+)", self.path)
        found = re.fullmatch(pattern, path) if method == self.method else None
        return found.groupdict() if found else None


def _marked(kind: str, *details: str) -> Callable[[F], F]:
    def mark(function: F) -> F:
        setattr(function, MARK, [*getattr(function, MARK, []), (kind, *details)])
        return function

    return mark


def route(method: str, path: str, operation: str) -> Callable[[F], F]:
    """Serve a path of the fake API; several marks on one method are fine."""
    return _marked("route", method, path, operation)


def control(method: str, path: str) -> Callable[[F], F]:
    """Serve a path below `/control/<slug>`; the method returns a JSON value, ValueError becomes a 400, KeyError a 404."""
    return _marked("control", method, path, "control")


def action(name: str) -> Callable[[F], F]:
    """Run by `Simulator.later(name, ...)`."""
    return _marked("action", name)


def on_reply(name: str) -> Callable[[F], F]:
    """Run with the answer to a callback that was sent with `on_reply=name`."""
    return _marked("on_reply", name)


class Simulator(ABC):
    """A fake of one provider's API. `title` is for people; `secret_fields` are request fields masked in the request log,
    `extra_operations` names that faults use beside those of the routes."""

    slug: ClassVar[str] = ""
    title: ClassVar[str] = ""
    secret_fields: ClassVar[frozenset[str]] = frozenset()
    secret_headers: ClassVar[frozenset[str]] = frozenset({"authorization", "cookie"})
    settings: ClassVar[Mapping[str, int | float | str | bool]] = {}
    extra_faults: ClassVar[Mapping[str, str]] = {}
    extra_operations: ClassVar[frozenset[str]] = frozenset()
    magic: ClassVar[Sequence[Magic]] = ()

    def __init__(self, store: Store, clock: Clock, scheduler: Scheduler, public_url: str) -> None:
        self.store = store
        self.clock = clock
        self.scheduler = scheduler
        self.public_url = public_url
        self.faults = Faults(store)
        self.accounts = self.demo_accounts(store.state_dir)
        self.routes: list[Route] = []
        self.controls: list[Route] = []
        self._actions: dict[str, Callable[[Json], None]] = {}
        self._on_reply: dict[str, Callable[[Json, CallbackReply | None], None]] = {}
        marked: list[Simulator | Part] = [self, *self.parts()]
        for part in marked:
            self._collect(part)

    # --- what a provider's simulator overrides

    @classmethod
    @abstractmethod
    def demo_accounts(cls, state_dir: Path) -> list[DemoAccount]:
        """Return the accounts that exist at this provider; the same for all processes that use this state folder."""

    def parts(self) -> list[Part]:
        """Return the objects that hold further marked methods; called once, before the routes are collected."""
        return []

    def error_reply(self, status: int) -> SimReply:
        """Return the provider's own answer for 404 (path), 405 (method), 429 and 500."""
        return SimReply.of_json({"error": status}, status)

    def state(self) -> Json:
        """Return what the control API shows: no secrets."""
        return {}

    def prompts(self, number: str = "") -> list[Prompt]:
        """Return the newest payment prompts (of one phone, digits only, if given), newest first, settled ones included."""
        return []

    def answer_prompt(self, prompt_id: str, action: str, pin: str) -> Json:
        """Answer a waiting prompt (`pin`, `cancel` or `timeout`); KeyError if unknown, ValueError if not waiting."""
        raise KeyError(prompt_id)

    def notices(self, number: str) -> list[Notice]:
        """Return texts that the network itself puts on this phone (digits only)."""
        return []

    def phone_numbers(self) -> list[str]:
        """Return numbers (digits) that this simulator has dealt with, newest first."""
        return []

    def mailbox(self) -> list[Mail]:
        """Return mails that arrived here, newest first, for the control page."""
        return []

    def begin(self) -> None:  # noqa: B027 - most have nothing to begin
        """Called when the server starts: for a simulator that listens on more than the server's own port."""

    def end(self) -> None:  # noqa: B027 - nor to end
        """Called when the server stops, also where `begin` has failed or was never called."""

    def customer_forms(self) -> list[CustomerForm]:
        """Return what a customer can start on the phone."""
        return []

    def submit_form(self, name: str, data: Json) -> Json:
        """Do what a customer form asks; KeyError if there is no such form, ValueError if `data` is wrong."""
        raise KeyError(name)

    # --- what it uses

    def setting(self, name: str) -> Any:
        """Return a setting, its declared default if it was not changed."""
        return self.store.setting(self.slug, name, self.settings[name])

    def change_settings(self, data: Json) -> Json:
        """Change settings; return all. ValueError for an unknown name or a wrong type, and then nothing is changed."""
        with self.store.transaction():
            for name, value in data.items():
                default = self.settings.get(name)
                if default is None:
                    raise ValueError(f"unknown setting {name!r}: one of {', '.join(sorted(self.settings))}")
                if not _fits(value, default):
                    raise ValueError(f"setting {name!r} takes a value like {default!r}")
                self.store.set_setting(self.slug, name, value)
            return self.all_settings()

    def all_settings(self) -> Json:
        return {name: self.setting(name) for name in self.settings}

    def known_faults(self) -> dict[str, str]:
        """Return the faults that can be set here, with what each does."""
        return {**REQUEST_FAULTS, **CALLBACK_FAULTS, **self.extra_faults}

    def take_fault(self, operations: Sequence[str], *kinds: str) -> Fault | None:
        """Use up the oldest fault of these kinds for these operations; for callbacks, `callback` is always among them."""
        return self.faults.take(self.slug, (*operations, "callback"), kinds)

    def later(self, name: str, context: Json, delay: float) -> None:
        """Run the action `name` with `context` in `delay` seconds, also after a restart."""
        self.scheduler.add_action(self.slug, name, context, delay)

    def callback(
        self,
        operations: Sequence[str],
        url: str,
        body: str,
        headers: Mapping[str, str],
        *,
        delay: float = 0.0,
        timeout: float = 10.0,
        reply_to: str = "",
        context: Json | None = None,
        early: SimRequest | None = None,
        lost: bool = False,
        copies: int = 1,
    ) -> None:
        """Plan a webhook. `operations` name it for faults: its own name first, then the operation that caused it.

        With `early` it is sent and answered before that request's reply goes out. `lost` keeps a record but sends nothing;
        whoever waits for the answer (`reply_to`) is then told at once that there is none.
        """
        if self.take_fault(operations, "lose_callback"):
            lost = True
        if self.take_fault(operations, "duplicate_callback"):
            copies = 2
        late = self.take_fault(operations, "delay_callback")
        if late:
            delay += DEFAULT_DELAY if late.seconds is None else late.seconds
        state = "lost" if lost else "held" if early else "pending"
        for _ in range(copies):
            job = self.scheduler.add_callback(
                self.slug, operations[0], url, body, headers, delay=delay, timeout=timeout, on_reply=reply_to,
                context=context, state=state,
            )  # fmt: skip
            if early and not lost:
                early.before_answer.append(job)
        if lost and reply_to:
            self.run_on_reply(reply_to, context or {}, None)

    def to_phone(self, number: str, sender: str, text: str, message_id: str) -> None:
        """Put an SMS into a phone's inbox."""
        self.store.insert(
            "INSERT INTO inbox (slug, number, sender, text, message_id, at) VALUES (?, ?, ?, ?, ?, ?)",
            self.slug, digits(number), sender, text, message_id, self.clock.now(),
        )  # fmt: skip

    def record(self, request: SimRequest, status: int | None, fault: str) -> None:
        """Put a request and the status it was answered with (None: cut off) into the log of requests, credentials masked."""
        headers = {name: "••••" if name.lower() in self.secret_headers else value for name, value in request.headers.items()}
        number = self.store.insert(
            "INSERT INTO requests (slug, at, method, path, operation, query, headers, body, status, fault) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            self.slug, self.clock.now(), request.method, self.masked(request.path), request.operation,
            json.dumps(self.masked(dict(request.query))), json.dumps(headers), self.masked_body(request), status, fault,
        )  # fmt: skip
        if number % PRUNE_EVERY == 0:
            self.store.execute("DELETE FROM requests WHERE id <= ?", number - REQUESTS_KEPT)

    def run_action(self, name: str, context: Json) -> None:
        """Called by the scheduler."""
        self._actions[name](context)

    def run_on_reply(self, name: str, context: Json, reply: CallbackReply | None) -> None:
        """Called by the scheduler."""
        self._on_reply[name](context, reply)

    def masked(self, value: Any) -> Any:
        """Return JSON data with credentials masked: by field name at any depth, and by value inside strings."""
        if isinstance(value, dict):
            return {key: "••••" if key in self.secret_fields else self.masked(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.masked(item) for item in value]
        if isinstance(value, str):
            for account in self.accounts:
                for secret in account.secrets.values():
                    value = value.replace(secret, "••••") if secret else value
        return value

    def masked_body(self, request: SimRequest) -> str:
        """Return the request's body as JSON text (or plain text if it is neither JSON nor a form), credentials masked."""
        try:
            return json.dumps(self.masked(request.data()), ensure_ascii=False)
        except ValueError:
            return str(self.masked(request.text()))

    def find_route(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        return _first(self.routes, method, path)

    def find_control(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        return _first(self.controls, method, path)

    def serves_path(self, path: str) -> bool:
        """Return whether some method is served on this path (404 or 405 otherwise)."""
        return any(entry.match(entry.method, path) is not None for entry in self.routes)

    def _collect(self, part: Simulator | Part) -> None:
        for function in _marked_methods(part):
            for kind, *details in getattr(function, MARK):
                if kind == "route":
                    self.routes.append(Route(details[0], details[1], details[2], function))
                elif kind == "control":
                    self.controls.append(Route(details[0], details[1], details[2], function))
                elif kind == "action":
                    self._actions[details[0]] = function
                else:
                    self._on_reply[details[0]] = function


class Part:
    """A piece of a large simulator with marked methods of its own."""


def _marked_methods(part: object) -> Iterator[Callable[..., Any]]:
    for name in dir(type(part)):
        if hasattr(getattr(type(part), name, None), MARK):
            yield getattr(part, name)


def _fits(value: Any, default: int | float | str | bool) -> bool:
    if isinstance(default, bool | str):
        return type(value) is type(default)
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _first(routes: Sequence[Route], method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    for entry in routes:
        params = entry.match(method, path)
        if params is not None:
            return entry, params
    return None


def prompt_json(prompt: Prompt) -> Json:
    """Return a prompt as the control API shows it."""
    return asdict(prompt)
