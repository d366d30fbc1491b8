"""What a scenario hands back, and how its runs are taken: in turns, the median of three, never for ever."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from statistics import median, quantiles
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")
logger = logging.getLogger(__name__)

TIMES = 3
"""How often each run is made; what counts is the median."""
LONGEST = 60.0
"""Seconds that one measured stretch may take; one that takes longer is a failure, not a figure."""


class TooLong(Exception):
    """A stretch, or a whole scenario, took longer than it may."""


@dataclass(frozen=True)
class Goal:
    """A bound that is to be met: `figure` names one of the figures, or `ratio`."""

    figure: str
    bound: float
    at_least: bool = True

    def met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound

    def words(self, value: float) -> str:
        sign = ">=" if self.at_least else "<="
        name = "" if self.figure == "ratio" else f"{self.figure} "
        return f"{name}{sign} {self.bound:g}: {'met' if self.met(value) else 'MISSED'}"


@dataclass(frozen=True)
class Result:
    """`ratio` is measured / baseline (1.0: the same); `figures` are what it was made of, `goals` what they are held against."""

    name: str
    says: str
    ratio: float
    figures: dict[str, float] = field(default_factory=dict)
    goals: tuple[Goal, ...] = ()

    def row(self) -> dict[str, Any]:
        return {**asdict(self), "goals": [{**asdict(each), "met": each.met(self.value(each))} for each in self.goals]}

    def value(self, goal: Goal) -> float:
        return self.ratio if goal.figure == "ratio" else self.figures[goal.figure]

    def lines(self) -> Iterator[str]:
        """Return what is printed of it: the ratio, each goal, each figure."""
        goals = "".join(f"   [{each.words(self.value(each))}]" for each in self.goals)
        yield f"{self.name:<22} {self.ratio:7.2f}   {self.says}{goals}"
        for name, value in self.figures.items():
            yield f"{'':<33} {name} {value:,.3f}" if abs(value) < 10 else f"{'':<33} {name} {value:,.0f}"


def told(results: Iterable[Result]) -> tuple[str, int]:
    """Return in words how many goals were met and which were not, and how many were not."""
    held = [(each, goal, each.value(goal)) for each in results for goal in each.goals]
    missed = [f"{each.name} {value:,.2f}, {goal.words(value)}" for each, goal, value in held if not goal.met(value)]
    return "\n".join([f"{len(held) - len(missed)} of {len(held)} goals met, {len(missed)} MISSED", *missed]), len(missed)


def code(missed: int) -> int:
    """Return the exit code of a bench that went through: figures are figures, unless `STRICT=1` asks for its goals."""
    return 2 if missed and os.environ.get("STRICT") == "1" else 0


def in_turns(runs: Mapping[str, Callable[[], T]], times: int | None = None) -> dict[str, list[T]]:
    """Make each run `times` times (`TIMES`), one after the other, over again: what the machine does beside hits all."""
    found: dict[str, list[T]] = {name: [] for name in runs}
    for _ in range(TIMES if times is None else times):
        for name, run in runs.items():
            began = time.monotonic()
            found[name].append(run())
            logger.info("%s: %s (%.1f s)", name, _short(found[name][-1]), time.monotonic() - began)
    return found


def _short(figure: object) -> str:
    return f"{figure:,.2f}" if isinstance(figure, float) else type(figure).__name__


def medians(runs: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """Return the median of each run's figures, taken `in_turns`."""
    return {name: median(figures) for name, figures in in_turns(runs).items()}


def percentile(values: list[float], percent: int) -> float:
    """Return the percentile of at least one value; of few values the nearest that there is."""
    if len(values) < 2:
        return values[0]
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def wait_until(look: Callable[[], bool], what: str, seconds: float = LONGEST, every: float = 0.01) -> None:
    """Return as soon as `look` is true; raise `TooLong` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            raise TooLong(f"waited {seconds:.0f} s for {what}")
        time.sleep(every)


@contextmanager
def within(seconds: float, what: str) -> Iterator[None]:
    """Raise `TooLong` in the main thread where the block takes longer than `seconds`."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TooLong(f"{what}: more than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
