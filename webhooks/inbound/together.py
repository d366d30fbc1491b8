"""Requests that come in at the same time are stored together: one statement and one commit for all that waited for the last.

Whoever comes first stores at once what there is, alone if it is alone: nobody waits for company. Whoever comes while that is on
its way waits for its end, and one of those stores all of them. So the busier a process, the less each request costs. Each is
answered only after the commit that holds it, and has a fate of its own: where a batch can't be stored its requests are stored
one by one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")

MOST = 64
"""Requests in one statement."""
PATIENCE = 0.5
"""Seconds after which a request that nobody has taken along is stored by itself: one that hangs in the database, because
what it refers to is being changed there, holds up those of its own batch alone."""


@dataclass(slots=True, eq=False)
class _Waiting(Generic[A, B]):
    asked: A
    turn: threading.Event = field(default_factory=threading.Event)
    leads: bool = False
    answer: B | None = None
    error: BaseException | None = None


class Together(Generic[A, B]):
    """`together(asked)` returns what `work` answers for it, or raises what it raised; `work` is given several at a time.

    `work` must do all of what it is given, or raise and do nothing: then it is asked again for each of them, unless the error
    `is_everybodys`.
    """

    def __init__(self, work: Callable[[Sequence[A]], Sequence[B]], is_everybodys: Callable[[Exception], bool]) -> None:
        self._work = work
        self._is_everybodys = is_everybodys
        self._lock = threading.Lock()
        self._waiting: list[_Waiting[A, B]] = []
        self._busy = False

    def __call__(self, asked: A) -> B:
        mine = _Waiting[A, B](asked)
        with self._lock:
            leads = not self._busy
            if leads:
                self._busy = True
            else:
                self._waiting.append(mine)
        if leads or self._called(mine):
            return self._lead(mine)
        if mine.error is not None:
            raise mine.error
        return mine.answer  # type: ignore[return-value] set before `turn`

    def _called(self, mine: _Waiting[A, B]) -> bool:
        """Wait until somebody has stored it, or it is its turn to; tell which."""
        if not mine.turn.wait(PATIENCE):
            with self._lock:
                alone = mine in self._waiting
                if alone:
                    self._waiting.remove(mine)
            if alone:
                (mine.answer,) = self._work([mine.asked])
                return False
            mine.turn.wait()
        return mine.leads

    def _lead(self, mine: _Waiting[A, B]) -> B:
        with self._lock:
            others, self._waiting = self._waiting[: MOST - 1], self._waiting[MOST - 1 :]
        try:
            answers = self._work([mine.asked, *(each.asked for each in others)])
            for each, answer in zip(others, answers[1:], strict=True):
                each.answer = answer
            return answers[0]
        except Exception as error:
            if not others:
                raise
            if self._is_everybodys(error):
                for each in others:
                    each.error = error
                raise
            for each in others:
                self._one(each)
            return self._work([mine.asked])[0]
        except BaseException as error:  # this thread is to end: nobody may be left waiting
            for each in others:
                each.error = error
            raise
        finally:
            self._hand_over(others)

    def _one(self, each: _Waiting[A, B]) -> None:
        try:
            (each.answer,) = self._work([each.asked])
        except Exception as error:  # noqa: BLE001 raised where it was asked for
            each.error = error

    def _hand_over(self, done: list[_Waiting[A, B]]) -> None:
        with self._lock:
            follower = self._waiting.pop(0) if self._waiting else None
            self._busy = follower is not None
        if follower is not None:
            follower.leads = True
            follower.turn.set()
        for each in done:
            each.turn.set()
