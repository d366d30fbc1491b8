#!/usr/bin/env python
"""Django's command line. Without DJANGO_SETTINGS_MODULE it means production, so that a slip never runs with loose settings."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "integrations_site.settings.production")
    if sys.argv[1:2] == ["demo"]:
        # The demo makes its own keys before any settings are read.
        from integrations_site.demo.__main__ import main as demo

        sys.exit(demo(sys.argv[2:]))
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
