"""What the demo prints: steps with times, tables."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence


class StepFailedError(Exception):
    """A step did not do what it should; the text says what was seen instead."""


class Report:
    """Prints steps as they end: seconds since the start, OK or FAILED, what happened."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self.failed: list[str] = []

    def line(self, text: str = "") -> None:
        """One line, at once, so that it stands in the right place among other output."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[list[str]]:
        """Time one step. The body may append words to the list it gets: they are printed behind the title.

        An error is printed as FAILED with its text, remembered in `failed`, and raised as StepFailedError.
        """
        words: list[str] = []
        try:
            yield words
        except Exception as error:
            reason = str(error) if isinstance(error, StepFailedError) else f"{type(error).__name__}: {error}"
            self.failed.append(title)
            self.line(f"{self._clock() - self._began:7.1f} s  FAILED  {title}: {reason}")
            raise StepFailedError(f"{title}: {reason}") from error
        detail = f": {', '.join(words)}" if words else ""
        self.line(f"{self._clock() - self._began:7.1f} s  OK      {title}{detail}")

    def table(self, title: str, rows: Sequence[Sequence[str]]) -> None:
        """Rows of equal length as columns, the last one unlimited."""
        self.line()
        self.line(title)
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            self.line("  " + "  ".join(cells).rstrip())
