"""`manage.py capability_matrix [--write | --check]`: the gateways' matrix in README.md and docs/gateways.md."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from payments.capability_matrix import NoMarkers, compact_table, full_page, inserted

README, PAGE = Path("README.md"), Path("docs/gateways.md")


class Command(BaseCommand):
    """Prints the compact table; `--write` brings both files up to date, `--check` fails where one is not."""

    help = "What each payment gateway can do, made from the gateways' own declarations."

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--write", action="store_true", help=f"write it into {README} and {PAGE}")
        what.add_argument("--check", action="store_true", help="fail if one of them says something else; change nothing")
        parser.add_argument("--root", type=Path, default=Path(settings.BASE_DIR), help="where the two files are")

    def handle(self, *args: Any, **options: Any) -> None:
        if not (options["write"] or options["check"]):
            self.stdout.write(compact_table())
            return
        stale = []
        for path, text in _wanted(options["root"]).items():
            if path.is_file() and path.read_text("utf-8") == text:
                continue
            stale.append(path.name)
            if options["write"]:
                path.write_text(text, "utf-8")
                self.stdout.write(f"written: {path.name}")
        if options["check"] and stale:
            raise CommandError(f"not up to date: {', '.join(stale)}; run `manage.py capability_matrix --write`")


def _wanted(root: Path) -> dict[Path, str]:
    try:
        readme = inserted((root / README).read_text("utf-8"))
    except (NoMarkers, OSError) as error:
        raise CommandError(f"{README}: {error}") from error
    return {root / README: readme, root / PAGE: full_page()}
