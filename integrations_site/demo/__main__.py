"""`python -m integrations_site.demo`: no Django settings are needed to start it, it makes those of its children."""

import argparse
import sys
from collections.abc import Sequence

from integrations_site.demo.runner import Demo
from integrations_site.embedded import default_var_dir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="end after the job; exit code 0 if every step was done")
    parser.add_argument("--port", type=int, default=8000, help="of the web server (default 8000)")
    parser.add_argument("--simulator-port", type=int, default=8900, help="of the simulators (default 8900)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; the exit code (see `Demo.run`)."""
    parser = argparse.ArgumentParser(prog="demo", description="Run the hub and its main job on this machine.")
    add_arguments(parser)
    options = parser.parse_args(arguments)
    demo = Demo(var_dir=default_var_dir(), port=options.port, simulator_port=options.simulator_port, once=options.once)
    return demo.run()


if __name__ == "__main__":
    sys.exit(main())
