"""A second machine that only delivers: `python -m tests.processes.fleet N` keeps N engines alive, each a process of its own.

Everything is loaded once and the engines are forked from here, so that one which is killed has a successor within
milliseconds. It ends, engines and all, when its standard input does: with whoever started it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import NoReturn

SHIFT = 45.0


def _work() -> NoReturn:
    from webhooks.outbound.delivery.engine import run_shift

    while True:
        run_shift(lambda: False, time.monotonic() + SHIFT)


def _end_with_the_input(children: set[int]) -> None:
    sys.stdin.buffer.read()
    for pid in list(children):
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


def main(size: int) -> NoReturn:
    import django

    django.setup()
    from webhooks.outbound.delivery import engine

    assert engine  # loaded before anything is forked
    children: set[int] = set()
    # Engines are forked before there is a second thread, their successors beside one that only reads: it holds no lock.
    watcher = threading.Thread(target=_end_with_the_input, args=(children,), daemon=True)
    while True:
        while len(children) < size:
            pid = os.fork()
            if pid == 0:
                _work()
            children.add(pid)
        if not watcher.is_alive():
            watcher.start()
        children.discard(os.wait()[0])


if __name__ == "__main__":
    main(int(sys.argv[1]))
