"""Are our ports free, and if not, who has them?"""

import contextlib

import psutil

from integrations_site.embedded.server import port_is_free


class PortTakenError(RuntimeError):
    """A port that the hub was told to use has a listener; the text names port, purpose and, if known, the program."""


def require_free(port: int, purpose: str, *, option: str) -> None:
    """Raise PortTakenError unless `port` is free on 127.0.0.1. `option` is how another port is chosen."""
    if port_is_free(port):
        return
    owner = _listener(port)
    by = f" by {owner}" if owner else ""
    raise PortTakenError(f"port {port} for {purpose} is taken{by}; stop that program or choose another port: {option}")


def _listener(port: int) -> str | None:
    # Not every system lets us see other users' sockets; then the message says less.
    with contextlib.suppress(psutil.Error, OSError, RuntimeError):
        for connection in psutil.net_connections(kind="tcp"):
            taken = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if taken and connection.pid:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return None
