"""Makes `.venv` from nothing but a Python: `python3 integrations_site/bootstrap.py [--dev]`.

Standard library only, and careful to load on Python 3.6, so that old ones get a message, not a traceback. Installs the
pinned requirements (hashes checked) when they changed since the last time; an interrupted run is repaired by the next.
"""

# ruff: noqa: S603, S607
# CONFIG: every command here is a constant, run without a shell; the programs are the machine's own, found by PATH.

import argparse
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator  # noqa: UP035 CONFIG: must import on Pythons too old to run the rest

REPOSITORY = Path(__file__).resolve().parent.parent
VENV = REPOSITORY / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed-requirements"
OLDEST = (3, 11)
CANDIDATES = ("python3.13", "python3.12", "python3.11", "python3.14", "python3")


class BootstrapError(Exception):
    """What is missing on this machine, in words for the person in front of it."""


def main() -> int:
    """Bring `.venv` up to date. 0 when it is, 1 with a message when this machine lacks something."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dev", action="store_true", help="also install what tests and lint need")
    parser.add_argument("--quiet", action="store_true", help="say nothing when there is nothing to do")
    options = parser.parse_args()
    if sys.version_info < OLDEST:
        return _run_with_newer_python()
    try:
        with _only_one():
            _update(dev=options.dev, quiet=options.quiet)
    except BootstrapError as error:
        sys.stderr.write(f"bootstrap: {error}\n")
        return 1
    return 0


def _version_of(program: str) -> int:
    try:
        code = "import sys; print(sys.version_info[0] * 1000 + sys.version_info[1])"
        output = subprocess.check_output([program, "-I", "-c", code], stderr=subprocess.DEVNULL)
        return int(output)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return 0


def _run_with_newer_python() -> int:
    for name in CANDIDATES:
        program = shutil.which(name)
        if program and _version_of(program) >= OLDEST[0] * 1000 + OLDEST[1]:
            return subprocess.call([program, str(Path(__file__).resolve()), *sys.argv[1:]])
    sys.stderr.write(
        "bootstrap: Python 3.11 or newer is needed; this one is {}.{} and none of {} is on the PATH.\n"
        "  Debian 12+, Ubuntu 24.04+: apt-get install python3 python3-venv\n"
        "  Ubuntu 22.04: apt-get install python3.11 python3.11-venv\n"
        "  macOS: brew install python@3.12\n".format(sys.version_info[0], sys.version_info[1], ", ".join(CANDIDATES))
    )
    return 1


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    import fcntl

    with (REPOSITORY / ".venv.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _update(*, dev: bool, quiet: bool) -> None:
    requirements = REPOSITORY / ("requirements-dev.txt" if dev else "requirements.txt")
    installed = STAMP.read_text(encoding="utf-8").split() if STAMP.exists() else []
    if _works() and (_wanted(requirements) in installed):
        if not quiet:
            _say(f"{VENV.name} is up to date")
        return
    if not _works():
        _create()
    # No stamp while pip works: what an interrupted installation left is completed by the next run.
    STAMP.unlink(missing_ok=True)
    _say(f"installing {requirements.name} (first time: a minute or two)")
    _pip("install", "--quiet", "--require-hashes", "-r", str(requirements))
    done = [_wanted(requirements)]
    if dev:
        # The development requirements contain the others.
        done.append(_wanted(REPOSITORY / "requirements.txt"))
    temporary = STAMP.with_suffix(".new")
    temporary.write_text("\n".join(done) + "\n", encoding="utf-8")
    temporary.replace(STAMP)


def _wanted(requirements: Path) -> str:
    """What the stamp must hold: the file, its content and the Python it was installed for."""
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    return f"{requirements.name}:{digest}:{_version_of(str(PYTHON))}"


def _works() -> bool:
    return PYTHON.exists() and _version_of(str(PYTHON)) >= OLDEST[0] * 1000 + OLDEST[1]


def _create() -> None:
    if VENV.exists():
        # Broken or half made: its Python is gone or does not start.
        shutil.rmtree(VENV)
    _say("creating {} with Python {}.{}".format(VENV.name, *sys.version_info[:2]))
    without_pip = not _has_ensurepip()
    if without_pip and not _has_pip():
        _install_venv_package()
        without_pip = False
    arguments = [sys.executable, "-m", "venv", *(["--without-pip"] if without_pip else []), str(VENV)]
    if subprocess.call(arguments) != 0:
        shutil.rmtree(VENV, ignore_errors=True)
        raise BootstrapError("`{}` failed, see above".format(" ".join(arguments)))


def _has_ensurepip() -> bool:
    # Debian ships the module's folder without its content unless python3-venv is installed; asking for a version
    # looks at the content.
    code = "import ensurepip, venv; ensurepip.version()"
    return subprocess.call([sys.executable, "-c", code], stderr=subprocess.DEVNULL) == 0


def _has_pip() -> bool:
    # `--python` came with pip 22.3.
    command = [sys.executable, "-m", "pip", "--python", sys.executable, "--version"]
    return subprocess.call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


def _install_venv_package() -> None:
    """On Debian and Ubuntu as root: install what is missing. Otherwise say what is."""
    package = "python{}.{}-venv".format(*sys.version_info[:2])
    command = f"apt-get install -y {package}"
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _say(f"this Python has no ensurepip; running `{command}`")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.call(["apt-get", "update", "-q"], env=environment, stdin=subprocess.DEVNULL)
        subprocess.call([*command.split(), "-q"], env=environment, stdin=subprocess.DEVNULL)
        if _has_ensurepip():
            return
    raise BootstrapError(
        f"this Python ({sys.executable}) can't make a virtual environment with pip. On Debian and Ubuntu: sudo {command}"
    )


def _pip(*arguments: str) -> None:
    own = subprocess.call([str(PYTHON), "-m", "pip", "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pip = [str(PYTHON), "-m", "pip"] if own == 0 else [sys.executable, "-m", "pip", "--python", str(PYTHON)]
    command = [*pip, "--disable-pip-version-check", "--no-input", *arguments]
    if subprocess.call(command, stdin=subprocess.DEVNULL) != 0:
        raise BootstrapError("pip failed, see above; run the same command again once its cause is gone")


def _say(text: str) -> None:
    sys.stdout.write("bootstrap: " + text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
