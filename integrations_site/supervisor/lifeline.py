"""Runs a command in a process group of its own that can't outlive its starter.

Run as a plain file (`python -I -S lifeline.py command ...`), standard library only, so that it starts in milliseconds.
Whoever starts it makes it leader of a new session and gives it a pipe as standard input. When that pipe closes (the
starter exited or was killed), the whole group is killed. SIGTERM, SIGINT and SIGHUP are passed on to the command. When
the command ends by itself, so does this process, with its exit code (128 + n after signal n); what the command left
behind in the group is the starter's to kill: the group has this process' id.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(command: list[str]) -> int:
    """Run `command` to its end and return its exit code; never return if the lifeline is cut."""
    if os.getpgrp() != os.getpid():
        # Killing a group that is not ours alone would hit the starter.
        sys.stderr.write("lifeline: must be started as leader of a new session\n")
        return 2
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for number in (*_PASSED_ON, signal.SIGCHLD):
        signal.signal(number, lambda _number, _frame: None)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 (the starter's own command)
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        while True:
            code = child.poll()
            if code is not None:
                return 128 - code if code < 0 else code
            for key, _events in selector.select():
                if key.fd == 0:
                    if not os.read(0, 4096):
                        os.killpg(os.getpgrp(), signal.SIGKILL)
                else:
                    _pass_on(os.read(wake_read, 4096), child)


def _pass_on(numbers: bytes, child: subprocess.Popen[bytes]) -> None:
    for number in numbers:
        if number in _PASSED_ON:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
