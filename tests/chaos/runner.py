"""One run: bring the hub up, ask it for everything, break everything, wait, and account for every item."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos import books, faults, load, logs
from tests.chaos.audit import Account, audit
from tests.chaos.hub import Hub, SmallDisk
from tests.chaos.settling import Settled, settle

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """What kind of run it is to be. `seconds` is how long items are asked for; `settle` how long it may take afterwards."""

    items: int = 20_000
    seconds: float = 420.0
    settle: float = 420.0
    answers: float = 90.0
    seed: int = 0
    small: bool = False


@dataclass
class Result:
    """How it went. `report` is what is written down."""

    account: Account
    report: dict[str, Any]

    @property
    def failed(self) -> bool:
        return bool(self.account.faults())


def run(
    wish: Wish, folder: Path, provider_books: Path, disk: SmallDisk | None, say: Say, keep_logs: Path | None = None
) -> Result:
    rng = random.Random(wish.seed)
    items = load.plan(wish.items, wish.seconds, rng)
    with_disk = disk is not None and not disk.why_not
    cards = faults.small_plan(rng) if wish.small else faults.plan(rng, with_disk=with_disk)
    hub = Hub(folder, provider_books, wish.seed)
    try:
        began = time.monotonic()
        hub.start()
        say(f"the hub is up after {time.monotonic() - began:.0f} s: {hub.api}, providers {hub.simulator}")
        return _harm(wish, hub, items, cards, disk if with_disk else None, say)
    finally:
        if keep_logs is not None:
            shutil.copytree(folder / "log", keep_logs, dirs_exist_ok=True)
        hub.stop()


def _harm(
    wish: Wish, hub: Hub, items: list[load.Item], cards: Sequence[faults.Fault], disk: SmallDisk | None, say: Say
) -> Result:
    asking = load.Load(hub, items)
    saboteur = faults.Saboteur(hub, cards, disk)
    began = time.monotonic()
    asking.start()
    saboteur.start()
    _watch(asking, saboteur, began, wish.seconds * 3, say)
    if wish.small:
        saboteur.join(60)
    asked = time.monotonic() - began
    saboteur.finish()
    say(f"asked for {len(items)} things in {asked:.0f} s; {len(saboteur.played)} faults; now everything is put right")
    asking.no_more()
    in_time = asking.end(wish.answers)
    settled = settle(hub, limit=wish.settle)
    whole = _whole_again(hub)
    say(
        f"quiet after {settled.seconds:.0f} s, clocks turned on by {settled.turned:.0f} s"
        + ("" if settled.quiet else ": NOT QUIET")
    )
    written = books.read(hub)
    house = books.state_of_the_house(hub)
    account = audit(items, written, hub.receivers, house)
    _what_else(account, asking, settled, in_time, whole)
    report = _report(wish, hub, items, asked, saboteur, settled, house, account, disk)
    return Result(account, report)


def _watch(asking: load.Load, saboteur: faults.Saboteur, began: float, longest: float, say: Say) -> None:
    told = began
    while asking.running() and time.monotonic() - began < longest:
        time.sleep(0.5)
        if time.monotonic() - told >= 15:
            told = time.monotonic()
            last = saboteur.played[-1] if saboteur.played else None
            words = f"; last: {last.kind} {last.what} ({last.note})" if last else ""
            say(f"{told - began:4.0f} s  {asking.answered} items asked for, {len(saboteur.played)} faults{words}")


def _whole_again(hub: Hub) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if hub.whole():
            return True
        time.sleep(0.5)
    return False


def _what_else(account: Account, asking: load.Load, settled: Settled, in_time: bool, whole: bool) -> None:
    if not in_time:
        account.stuck.append("some clients had no answer long after everything was put right")
    if not settled.quiet:
        account.stuck.append(f"it did not become quiet: {settled.left}")
    if not whole:
        account.stuck.append("the hub's processes were not whole again")
    account.stuck.extend(f"broken client: {each}" for each in asking.broken)


def _report(
    wish: Wish,
    hub: Hub,
    items: Sequence[load.Item],
    asked: float,
    saboteur: faults.Saboteur,
    settled: Settled,
    house: dict[str, Any],
    account: Account,
    disk: SmallDisk | None,
) -> dict[str, Any]:
    played = Counter(f"{each.kind} {each.what}" + ("" if each.done else " (passed over)") for each in saboteur.played)
    totals = {
        "wanted": sum(item.size for item in items),
        "asked": sum(item.size for item in items if item.tries),
        "accepted": sum(item.size for item in items if item.accepted),
        "never asked for, since it took too long": sum(item.size for item in items if not item.tries),
        "refused": sum(item.size for item in items if item.refused),
        "gone away without an answer": sum(
            item.size for item in items if item.tries and not item.accepted and not item.refused
        ),
        "requests": sum(item.tries for item in items),
        "copies at receivers": sum(len(each.copies) for each in hub.receivers),
        "connections cut": hub.providers.cuts + sum(each.proxy.cuts for each in hub.receivers),
    }
    return {
        "wish": asdict(wish),
        "totals": totals,
        "ends": {kind: dict(counts) for kind, counts in sorted(account.ends.items())},
        "faults found": {name: {"count": len(found), "first": found[:50]} for name, found in account.faults().items()},
        "copies too many, by the attempt that was cut off": dict(account.copies_too_many),
        "for a person": dict(account.for_a_person),
        "house": house,
        "settled": asdict(settled),
        "asked for during (s)": round(asked, 1),
        "disk": "" if disk is not None else "there was no full disk in this run",
        "faults played": dict(sorted(played.items())),
        "plan": saboteur.report(),
        "complaints": logs.complaints(hub.var_dir / "log"),
        "database log": _database_complaints(hub),
    }


def _database_complaints(hub: Hub) -> dict[str, int]:
    """What PostgreSQL itself called an error, by its words without names and numbers."""
    found: Counter[str] = Counter()
    try:
        text = hub.database.status().log.read_text(encoding="utf-8", errors="replace")
    except (OSError, psycopg.Error):
        return {}
    for line in text.splitlines():
        for level in ("ERROR:", "PANIC:", "FATAL:"):
            if level in line:
                found[level + line.split(level, 1)[1][:110]] += 1
    return dict(found.most_common(40))
