"""Pauses between restarts: short after a single death, longer when it happens again and again."""


class Backoff:
    """0.25 s, doubled up to `cap` seconds; back to the start after a run of `stable` seconds."""

    def __init__(self, *, first: float = 0.25, cap: float = 10.0, stable: float = 30.0) -> None:
        self._first = first
        self._cap = cap
        self._stable = stable
        self._next = first

    def after_run_of(self, seconds: float) -> float:
        """The pause (seconds) before the next start, given how long the last run lasted."""
        if seconds >= self._stable:
            self._next = self._first
        pause = self._next
        self._next = min(self._next * 2, self._cap)
        return pause
