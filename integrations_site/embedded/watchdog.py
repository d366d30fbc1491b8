"""Ends a throw-away server when its user is gone, however it went.

Run as `python -m integrations_site.embedded.watchdog <folder>` with a pipe as standard input. When the pipe closes (the
user closed it, exited, or was killed) the server below the folder is stopped and the folder removed.
"""

import shutil
import signal
import sys
from pathlib import Path

from integrations_site.embedded.server import EmbeddedPostgres


def main(folder: Path) -> None:
    """Block until standard input ends, then remove the server of `folder` and `folder` itself."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while sys.stdin.buffer.read(1):
        pass
    try:
        EmbeddedPostgres(folder, durable=False).destroy()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
