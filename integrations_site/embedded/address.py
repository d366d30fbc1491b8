"""Where the embedded server listens: a file written by its owner and read by settings."""

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote

ADDRESS_FILE = "address.json"
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Address:
    """All parts of a connection to the embedded server. `password` is a secret: the file has mode 0600."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)

    @property
    def url(self) -> str:
        """`postgresql://user:password@host:port/database`, every part percent-encoded."""
        return (
            f"postgresql://{quote(self.user, safe='')}:{quote(self.password, safe='')}"
            f"@{self.host}:{self.port}/{quote(self.database, safe='')}"
        )


def default_var_dir() -> Path:
    """The folder of all state kept on this machine: `VAR_DIR`, else `var/` in the repository. Absolute."""
    return Path(os.environ.get("VAR_DIR") or REPOSITORY / "var").absolute()


def postgres_dir(var_dir: Path) -> Path:
    """The folder below `var_dir` that belongs to the embedded server."""
    return var_dir / "postgres"


def read_address(var_dir: Path) -> Address | None:
    """The last written address, or None when there is none or the file is damaged. Never raises for those."""
    try:
        parts = json.loads((postgres_dir(var_dir) / ADDRESS_FILE).read_text(encoding="utf-8"))
        return Address(
            host=str(parts["host"]),
            port=int(parts["port"]),
            database=str(parts["database"]),
            user=str(parts["user"]),
            password=str(parts["password"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_address(var_dir: Path, address: Address) -> None:
    """Replace the address file in one step, mode 0600. A reader sees the old or the new one, never half."""
    write_private(postgres_dir(var_dir) / ADDRESS_FILE, json.dumps(asdict(address), indent=1) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write `text` to `path` in one step with mode 0600 (a secret never lies in a wider file, not even for a moment)."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def database_url(var_dir: Path | None = None) -> str | None:
    """The `DATABASE_URL` of the embedded server, or None if it was never started from `var_dir`.

    The address outlives a stop of the server (its port is kept), so a URL is no promise that somebody listens there.
    """
    address = read_address(default_var_dir() if var_dir is None else var_dir)
    return None if address is None else address.url
