"""The control API: what the fakes received, faults, settings, the phone and the sinks, as JSON (or by HTML form)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from integrations.simulators.clock import iso
from integrations.simulators.kit import Simulator, prompt_json
from integrations.simulators.scheduler import Scheduler
from integrations.simulators.sink import Sinks
from integrations.simulators.store import Store
from integrations.simulators.wire import Json, Prompt, SimReply, SimRequest, digits

WAITING = "waiting"
DEFAULT_LIMIT = 500


class Control:
    """Everything below `/control/`. A ValueError becomes a 400, a KeyError a 404, each with `{"error": text}`."""

    def __init__(
        self,
        simulators: Mapping[str, Simulator],
        store: Store,
        scheduler: Scheduler,
        sinks: Sinks,
        violations: list[str],
    ) -> None:
        self._simulators = simulators
        self._store = store
        self._scheduler = scheduler
        self._sinks = sinks
        self._violations = violations

    def handle(self, request: SimRequest) -> SimReply:
        """Serve a request whose path begins after `/control/`."""
        by_form = request.content_type == "application/x-www-form-urlencoded"
        try:
            data = request.data()
            back = str(data.pop("next", "/")) if by_form else "/"
            value = self._route(request, [part for part in request.path.split("/") if part], data)
        except ValueError as error:
            return SimReply.of_json({"error": str(error)}, 400)
        except KeyError as error:
            return SimReply.of_json({"error": f"unknown: {error.args[0] if error.args else request.path}"}, 404)
        if by_form:
            return SimReply.redirect(back if back.startswith("/") and not back.startswith("//") else "/")
        return SimReply.of_json(value)

    def _route(self, request: SimRequest, parts: list[str], data: Json) -> Any:
        match (request.method, *parts):
            case ("POST", "reset"):
                keep = data.get("keep_setup") in (True, "true", "1", "on")
                self._store.reset(keep_setup=keep)
                return {"reset": True, "keep_setup": keep}
            case ("GET", "violations"):
                return list(self._violations)
            case ("GET", "phone", "prompts"):
                return self.prompts(request.query.get("msisdn", ""), everything="all" in request.query)
            case ("POST", "phone", "prompts", prompt_id):
                return self.answer_prompt(prompt_id, data)
            case ("GET", "phone", "inbox"):
                return self.inbox(request.query.get("number", ""))
            case ("GET", "sink", name):
                return self._sinks.events(name)
            case ("PUT", "sink", name):
                return self._sinks.configure(name, data)
            case ("DELETE", "sink", name):
                return {"cleared": self._sinks.clear(name)}
            case (_, slug, *rest) if slug in self._simulators:
                return self._of_simulator(self._simulators[slug], request, rest, data)
            case _:
                raise KeyError("/".join(("control", *parts)))

    def _of_simulator(self, simulator: Simulator, request: SimRequest, rest: list[str], data: Json) -> Any:
        slug = simulator.slug
        match (request.method, *rest):
            case ("GET", "requests"):
                return self.requests(slug, request.query)
            case ("GET", "state"):
                return simulator.state()
            case ("GET", "settings"):
                return simulator.all_settings()
            case ("PUT" | "POST", "settings"):
                return simulator.change_settings(data)
            case ("GET", "faults"):
                return simulator.faults.all(slug)
            case ("POST", "faults"):
                return simulator.faults.add(slug, data, simulator.known_faults())
            case ("DELETE", "faults") | ("POST", "faults", "clear"):
                return {"cleared": simulator.faults.clear(slug)}
            case ("GET", "callbacks"):
                return self.callbacks(slug)
        found = simulator.find_control(request.method, "/" + "/".join(rest))
        with self._store.transaction():
            if found:
                handler: Callable[[SimRequest], Any] = found[0].handler
                request.params = found[1]
                return handler(request)
            if request.method == "POST" and len(rest) == 1:
                return simulator.submit_form(rest[0], data)
        raise KeyError("/".join(("control", slug, *rest)))

    # --- also used by the pages

    def requests(self, slug: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return what a fake API received, oldest first, credentials masked. `?operation=` filters, `?limit=` newest n."""
        operation = query.get("operation", "")
        rows = self._store.rows(
            "SELECT * FROM requests WHERE slug = ? AND (? = '' OR operation = ?) ORDER BY id DESC LIMIT ?",
            slug, operation, operation, int(query.get("limit", DEFAULT_LIMIT)),
        )  # fmt: skip
        for row in rows:
            row["at"] = iso(row["at"])
            row["query"], row["headers"] = json.loads(row["query"]), json.loads(row["headers"])
            with suppress(ValueError):
                row["body"] = json.loads(row["body"])
            del row["slug"]
        return rows[::-1]

    def callbacks(self, slug: str) -> list[dict[str, Any]]:
        """Return planned and past webhooks, newest first: id, name, url, body, due, state, outcome, status."""
        return [
            {
                "id": job["id"],
                "name": job["name"],
                "url": job["payload"]["url"],
                "body": job["payload"]["body"],
                "due": iso(job["due"]),
                "state": job["state"],
                "outcome": job["outcome"],
                "status": job["status"],
            }
            for job in self._scheduler.jobs(slug)
            if job["kind"] == "callback"
        ]

    def prompts(self, msisdn: str = "", *, everything: bool = False) -> list[Json]:
        """Return prompts on a phone (any phone if ''), newest first: those that wait, or with `everything` all."""
        return [
            {**prompt_json(prompt), "created_at": iso(prompt.created_at), "expires_at": iso(prompt.expires_at)}
            for prompt in self.raw_prompts(msisdn)
            if everything or prompt.status == WAITING
        ]

    def raw_prompts(self, msisdn: str) -> list[Prompt]:
        wanted = digits(msisdn)
        found = [prompt for simulator in self._simulators.values() for prompt in simulator.prompts(wanted)]
        return sorted(found, key=lambda prompt: prompt.created_at, reverse=True)

    def answer_prompt(self, prompt_id: str, data: Json) -> Json:
        """Answer a waiting prompt. KeyError if unknown; ValueError if settled already or the action is none of the three."""
        action = str(data.get("action", ""))
        if action not in ("pin", "cancel", "timeout"):
            raise ValueError("action is one of pin, cancel, timeout")
        for simulator in self._simulators.values():
            try:
                with self._store.transaction():
                    return simulator.answer_prompt(prompt_id, action, str(data.get("pin", "")))
            except KeyError:
                continue
        raise KeyError(prompt_id)

    def inbox(self, number: str) -> list[Json]:
        """Return the SMS on a phone (all phones if ''), oldest first."""
        wanted = digits(number)
        rows = self._store.rows("SELECT * FROM inbox WHERE ? = '' OR number = ? ORDER BY id", wanted, wanted)
        return [{**row, "number": f"+{row['number']}", "at": iso(row["at"])} for row in rows]
