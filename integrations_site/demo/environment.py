"""The environment of the demo's processes: generated keys, kept for the next run, and addresses on loopback."""

import base64
import os
import secrets
from pathlib import Path

from integrations_site.embedded.address import write_private

SETTINGS = "integrations_site.settings.demo"
FILE = "demo.env"


def prepare(var_dir: Path, *, port: int, simulator_port: int) -> dict[str, str]:
    """The variables of this process plus the demo's own. Makes the keys on the first run (file mode 0600).

    `DATABASE_URL` of this process is kept; without one it is set empty, so that a `.env` file meant for another
    installation can't lead the demo into that one's database.
    """
    return {
        **os.environ,
        **_keys(var_dir),
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "VAR_DIR": str(var_dir),
        "DATABASE_URL": os.environ.get("DATABASE_URL", ""),
        "PUBLIC_BASE_URL": f"http://127.0.0.1:{port}",
        "SIMULATOR_URL": f"http://127.0.0.1:{simulator_port}",
        "PYTHONUNBUFFERED": "1",
    }


def _keys(var_dir: Path) -> dict[str, str]:
    path = var_dir / FILE
    var_dir.mkdir(parents=True, exist_ok=True)
    known = _read(path)
    made = {
        "SECRET_KEY": secrets.token_urlsafe(64),
        "ENCRYPTION_KEYS": f"k1:{base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}",
    }
    keys = {**made, **known}
    if keys != known:
        write_private(path, "".join(f"{name}={value}\n" for name, value in keys.items()))
    return keys


def _read(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, sign, value in pairs if sign}
