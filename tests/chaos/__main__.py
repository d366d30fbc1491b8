"""`make chaos`: harms a whole hub for some minutes and accounts for every item; exit code 1 if anything was lost or doubled."""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from integrations_site.embedded.address import REPOSITORY

FILE = REPOSITORY / "var" / "chaos.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=420.0, help="for so long items are asked for")
    parser.add_argument("--settle", type=float, default=420.0, help="so long it may take until all is quiet")
    parser.add_argument("--seed", type=int, default=None, help="of the plan of faults and of the items; chosen if left out")
    parser.add_argument("--file", type=Path, default=FILE, help="where the report goes (default: %(default)s)")
    parser.add_argument("--keep-logs", type=Path, default=None, help="copy the hub's logs there")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**31)
    began = time.monotonic()
    # Whoever ends us must not leave a hub behind.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    print(f"seed {seed}: repeat the plan with SEED={seed}", flush=True)

    from tests.chaos.hub import small_disk
    from tests.chaos.reporting import show
    from tests.chaos.runner import Wish, run
    from tests.processes.stack import var_folder

    wish = Wish(items=options.items, seconds=options.seconds, settle=options.settle, seed=seed)
    with tempfile.TemporaryDirectory(prefix="chaos-books-") as name, var_folder() as folder, small_disk(folder) as disk:
        if disk.why_not:
            print(f"no full disk in this run: {disk.why_not}", flush=True)
        result = run(wish, folder, Path(name), disk, lambda words: print(words, flush=True), options.keep_logs)
    result.report["seconds"] = round(time.monotonic() - began, 1)
    options.file.parent.mkdir(parents=True, exist_ok=True)
    options.file.write_text(json.dumps(result.report, indent=1, default=str) + "\n", encoding="utf-8")
    show(result)
    print(f"{result.report['seconds']:.0f} s in all; written to {options.file}")
    return 1 if result.failed else 0


if __name__ == "__main__":
    sys.exit(main())
