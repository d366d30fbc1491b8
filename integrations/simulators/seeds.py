"""Secrets of demo accounts: random per state folder, the same in every process that reads this folder."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

_to_disk = os.fsync


def default_state_dir() -> Path:
    """Return `SIMULATOR_STATE_DIR`, else `simulators` below `VAR_DIR`, else `var/simulators` of this checkout."""
    own = os.environ.get("SIMULATOR_STATE_DIR")
    if own:
        return Path(own)
    var = os.environ.get("VAR_DIR")
    return (Path(var) if var else Path(__file__).resolve().parents[2] / "var") / "simulators"


def once(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return the content of `path`, written by `make` (mode 0600) if absent. Of racing processes one wins, all read its."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(make())
                file.flush()
                _to_disk(file.fileno())
            # A link fails if the name exists, so nobody ever sees a half-written file or a second winner.
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            os.unlink(draft)
    return path.read_bytes()


def derived(state_dir: Path, label: str, length: int = 32) -> str:
    """Return `length` (at most 64) hexadecimal characters derived from the folder's seed and `label`."""
    seed = once(state_dir / "seed", lambda: secrets.token_bytes(32))
    return hmac.new(seed, label.encode(), hashlib.sha256).hexdigest()[:length]
