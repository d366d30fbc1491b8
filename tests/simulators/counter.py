"""A small provider for tests of the kit: it counts, and calls back. Run as a program it serves until it is killed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from integrations.simulators import (
    DemoAccount,
    Magic,
    Notice,
    Prompt,
    Refusal,
    SimReply,
    SimRequest,
    Simulator,
    action,
    control,
    derived,
    on_reply,
    route,
    serve,
)


class CounterSimulator(Simulator):
    slug = "counter"
    title = "Counter <b>&"
    secret_fields = frozenset({"password"})
    settings = {"step": 1, "label": "n", "strict": False}
    magic = (Magic("7", "lucky <i>"),)

    @classmethod
    def demo_accounts(cls, state_dir: Path) -> list[DemoAccount]:
        return [DemoAccount("one", {"name": "first"}, {"key": derived(state_dir, "counter one")})]

    def error_reply(self, status: int) -> SimReply:
        return SimReply.of_json({"counter_error": status}, status)

    def state(self) -> dict[str, Any]:
        return self.store.get(self.slug, "count", "n") or {"n": 0, "acks": []}

    def _add(self) -> dict[str, Any]:
        state = self.state()
        state["n"] += self.setting("step")
        self.store.put(self.slug, "count", "n", state, ref="254700000001")
        return state

    @route("POST", "/v1/add", operation="add")
    def add(self, request: SimRequest) -> SimReply:
        """{"callback_url"?, "delay"?}: count one up, and tell the URL about it."""
        data, state = request.json(), self._add()
        if data.get("callback_url"):
            early = request if self.take_fault(("added", "add"), "early_callback") else None
            self.callback(
                ("added", "add"), data["callback_url"], json.dumps({"n": state["n"]}), {"Content-Type": "application/json"},
                delay=data.get("delay", 0.0), early=early, reply_to="acked", context={"n": state["n"]},
                timeout=data.get("timeout", 5.0),
            )  # fmt: skip
        return SimReply.of_json({"n": state["n"]})

    @route("POST", "/v1/things/<thing>", operation="refused")
    def refused(self, request: SimRequest) -> SimReply:
        self._add()
        raise Refusal(SimReply.of_json({"no": request.params["thing"]}, 422))

    @route("POST", "/v1/bug", operation="bug")
    def bug(self, request: SimRequest) -> SimReply:
        self._add()
        raise RuntimeError("a bug of the simulator")

    @route("POST", "/v1/later", operation="later")
    def plan(self, request: SimRequest) -> SimReply:
        self.later("add_later", {}, request.json()["delay"])
        return SimReply.of_json({})

    @action("add_later")
    def add_later(self, context: dict[str, Any]) -> None:
        self._add()

    @on_reply("acked")
    def acked(self, context: dict[str, Any], reply: Any) -> None:
        state = self.state()
        state["acks"].append([context["n"], reply.status if reply else None])
        self.store.put(self.slug, "count", "n", state)

    @control("PUT", "/count/<n>")
    def set_count(self, request: SimRequest) -> dict[str, Any]:
        self.store.put(self.slug, "count", "n", {"n": int(request.params["n"]), "acks": []})
        return self.state()

    def prompts(self, number: str = "") -> list[Prompt]:
        now = self.clock.now()
        return (
            []
            if number not in ("", "254700000001")
            else [Prompt("p1", self.slug, "254700000001", "<Shop>", "A&B", 1500, "KES", "waiting", now, now + 60)]
        )

    def answer_prompt(self, prompt_id: str, action: str, pin: str) -> dict[str, Any]:
        if prompt_id != "p1":
            raise KeyError(prompt_id)
        return {"status": action, "pin": pin}

    def notices(self, number: str) -> list[Notice]:
        return [Notice(number, "NET", "<script>alert(1)</script>", self.clock.now())]


if __name__ == "__main__":
    sys.exit(serve([CounterSimulator], host="127.0.0.1", port=int(sys.argv[1]), state_dir=sys.argv[2]))
