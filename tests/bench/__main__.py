"""`make bench`: every scenario once, against its own baseline; prints the ratios and writes var/bench.json."""

from __future__ import annotations

import json
import os
import platform
import sys
import time

from integrations_site.embedded.address import REPOSITORY
from tests.plugin_database import start_database, stop_database

FILE = REPOSITORY / "var" / "bench.json"


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "integrations_site.settings.test")
    os.environ.setdefault("LOG_LEVEL", "ERROR")
    start_database()
    try:
        return _run()
    finally:
        stop_database()


def _run() -> int:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from tests.bench import scenarios
    from tests.bench.receiver import ReceiverProcess

    began = time.monotonic()
    call_command("migrate", verbosity=0, interactive=False)
    with ReceiverProcess() as receiver:
        results = [scenarios.delivery(receiver.url), scenarios.isolation(receiver.url), *scenarios.publishing()]
    connections.close_all()
    for result in results:
        print(f"{result.name:<12} {result.ratio:5.2f}   {result.says}")
        for name, value in result.figures.items():
            print(f"{'':<20} {name} {value:,.3f}" if value < 10 else f"{'':<20} {name} {value:,.0f}")
    taken = time.monotonic() - began
    about = {"python": platform.python_version(), "machine": platform.machine(), "processors": os.cpu_count()}
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(
        json.dumps({"machine": about, "seconds": round(taken, 1), "results": [each.row() for each in results]}, indent=1)
        + "\n",
        encoding="utf-8",
    )
    print(f"{taken:.0f} s in all; written to {FILE.relative_to(REPOSITORY)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
