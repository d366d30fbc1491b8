"""`make bench`: every scenario against its own baseline; prints the ratios and writes var/bench.json.

`ONLY=drain,paced` runs some of them, `DURABLE=0` takes a database that does not wait for the disk,
`VERBOSE=1` says what each run gave, `STRICT=1` ends with exit code 2 where a goal was missed.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from integrations_site.embedded.address import REPOSITORY
from tests.bench.database import own_database
from tests.bench.results import Result, code, told, within

if TYPE_CHECKING:
    from tests.bench.peer import Peer

FILE = REPOSITORY / "var" / "bench.json"
LONGEST_SCENARIO = 180.0
Scenario = Callable[[], Result | Sequence[Result]]


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.bench.settings")
    os.environ.setdefault("LOG_LEVEL", "ERROR")
    durable = os.environ.get("DURABLE", "1") != "0"
    with own_database(durable=durable):
        return _run(durable)


def _run(durable: bool) -> int:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from tests.bench import jobs

    jobs.register()
    if os.environ.get("VERBOSE"):
        _show_each_run()
    began = time.monotonic()
    call_command("migrate", verbosity=0, interactive=False)
    results: list[Result] = []
    notes: list[str] = []
    only = {name for name in os.environ.get("ONLY", "").split(",") if name}
    with ExitStack() as stack:
        for name, scenario in _scenarios(stack, notes, lambda name: not only or name in only):
            try:
                with within(LONGEST_SCENARIO, name):
                    found = scenario()
            except Exception as error:  # noqa: BLE001 one that broke must not cost the figures of all others
                traceback.print_exc()
                notes.append(f"{name} FAILED: {type(error).__name__}: {error}")
                continue
            results += [found] if isinstance(found, Result) else found
            for result in [found] if isinstance(found, Result) else found:
                print("\n".join(result.lines()), flush=True)
    connections.close_all()
    taken = time.monotonic() - began
    _write(results, notes, taken, durable)
    print("\n".join(notes))
    words, missed = told(results)
    print(words)
    print(f"{taken:.0f} s in all; written to {FILE.relative_to(REPOSITORY)}")
    return 1 if any("FAILED" in note for note in notes) else code(missed)


def _scenarios(stack: ExitStack, notes: list[str], wanted: Callable[[str], bool]) -> Iterator[tuple[str, Scenario]]:
    """Start what the scenarios share, as late as it is needed, and return them in order."""
    from tests.bench import depth, outbound, scenarios
    from tests.bench.receiver import ReceiverProcess
    from tests.bench.sides import Bare, Hub, bare, engine

    receiver = stack.enter_context(ReceiverProcess())
    engines = [stack.enter_context(engine()) for _ in range(2)]
    hub, both = Hub(receiver, engines[:1]), Hub(receiver, engines)
    if any(wanted(name) for name in ("drain", "live", "paced", "slow")):
        other = Bare(receiver, stack.enter_context(bare()))
        peer = _peer(stack, notes, receiver)
        if wanted("drain"):
            yield "drain", lambda: outbound.drain(hub, both, other, peer)
        if wanted("live"):
            from tests.bench.web import Web

            with Web() as web:
                yield "live", lambda: outbound.live(hub, other, peer, web.url)
        if wanted("paced"):
            yield "paced", lambda: outbound.paced(hub, other, peer)
        if wanted("slow"):
            yield "slow", lambda: outbound.slow_receiver(hub, other, peer)
    rest: dict[str, Scenario] = {
        "two": lambda: [outbound.two_shifts(receiver, engines), depth.two_queue_shifts(receiver, engines)],
        "depth": depth.cost_of_depth,
        "fairness": lambda: depth.fairness(receiver, engines),
        "isolation": lambda: scenarios.isolation(receiver.url),
        "publishing": scenarios.publishing,
        "inbound": _from("inbound"),
        "calls": _from("calls"),
    }
    yield from ((name, scenario) for name, scenario in rest.items() if wanted(name))


def _peer(stack: ExitStack, notes: list[str], receiver: Any) -> Peer | None:
    """Return django-webhook with Celery, running; None, with a note, where it can't be had."""
    from tests.bench import installing, peer

    reason = installing.install_peer()
    if not reason:
        try:
            return stack.enter_context(peer.Peer(receiver))
        except Exception as error:  # noqa: BLE001 whatever keeps it from starting: the bench goes on without
            reason = f"it does not start: {type(error).__name__}: {error}"
    notes.append(f"without django-webhook + Celery: {reason}")
    return None


def _from(name: str) -> Scenario:
    """Return the scenario `name` of the module `name`."""

    def scenario() -> Sequence[Result]:
        found: Sequence[Result] = getattr(importlib.import_module(f"tests.bench.{name}"), name)()
        return found

    return scenario


def _show_each_run() -> None:
    shown = logging.StreamHandler()
    shown.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    found = logging.getLogger("tests.bench")
    found.addHandler(shown)
    found.setLevel(logging.INFO)
    found.propagate = False


def _write(results: list[Result], notes: list[str], taken: float, durable: bool) -> None:
    about = {"python": platform.python_version(), "machine": platform.machine(), "processors": os.cpu_count()}
    found = {
        "machine": {**about, "durable_database": durable},
        "seconds": round(taken, 1),
        "results": [each.row() for each in results],
        "notes": notes,
    }
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
