"""The connections over which calls to providers go: kept open between calls, shared by all threads of the process.

What is shared is the connection alone. No cookies, credentials or headers belong to it; each request brings its own, and an
answer is never taken for another's: a connection on which anything arrived that nobody asked for is thrown away. Which address
a connection leads to was checked by the URL guard when it was dialled, so it can't be "rebound" while it is open; after
`LONGEST_LIFE` it is dialled anew all the same, so that a change of names is noticed.

A peer may close a connection that is idle, at the very moment when the next request goes out. Nobody can then tell whether the
request was read, so nothing is ever sent a second time here: a request with an effect whose connection breaks is
`OutcomeUnknown`, on a connection used before as on a fresh one. Instead this is made rare. Whoever has closed is noticed (the
end of the connection can be read before the request is written), so what is left is the span of one trip through the network
around the peer's own time-out. Connections idle for `IDLE_SECONDS` are not used again, which is less than the common time-outs
of servers (5 s and more); and before an effect no connection is used that was idle for `IDLE_BEFORE_EFFECT`, which is less than
the shortest ones in use (2 s). A question that meets the moment all the same is `ProviderUnavailable` and may be asked again.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import certifi
import requests
from urllib3.connectionpool import HTTPConnectionPool

from integrations.http import guard

IDLE_SECONDS = 4.0
IDLE_BEFORE_EFFECT = 1.5
LONGEST_LIFE = 300.0
"""Seconds after which a connection is dialled anew, however busy it is."""
HOSTS = 64
PER_HOST = 16
"""Hosts, and idle connections to each, that are kept at most. More may be open at once; they are closed after use."""
SWEEP_SECONDS = 5.0

_wanted = threading.local()


class _Aging:
    """Mixin of connections: knows when it was dialled, and since when nobody uses it (`time.monotonic`)."""

    born = 0.0
    idle_since = 0.0

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self.born = time.monotonic()


class _KeptHTTPConnection(_Aging, guard.GuardedHTTPConnection):
    pass


class _KeptHTTPSConnection(_Aging, guard.GuardedHTTPSConnection):
    pass


class _Keeping(HTTPConnectionPool):
    """Mixin of pools: hands out a connection that was idle for too long, or is too old, as a closed one, to be dialled anew."""

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection: Any = super()._get_conn(timeout)
        now = time.monotonic()
        idle = getattr(_wanted, "idle", IDLE_SECONDS)
        if not connection.is_closed and (now - connection.idle_since > idle or now - connection.born > LONGEST_LIFE):
            connection.close()
        return connection

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.idle_since = time.monotonic()
        super()._put_conn(conn)

    def close_idle(self, before: float) -> None:
        """Close those that nobody has used since; they stay in their places, to be dialled anew."""
        places: Any = self.pool
        if places is None:
            return
        with places.mutex:
            for connection in places.queue:
                if connection is not None and not connection.is_closed and connection.idle_since < before:
                    connection.close()


class _KeptHTTPPool(_Keeping, guard.GuardedHTTPPool):
    ConnectionCls = _KeptHTTPConnection


class _KeptHTTPSPool(_Keeping, guard.GuardedHTTPSPool):
    ConnectionCls = _KeptHTTPSConnection


class _Context(ssl.SSLContext):
    """Settings of TLS that many threads dial with: made once and not touched again, as urllib3 would for each connection."""

    _is_made = False

    def set_alpn_protocols(self, alpn_protocols: Any) -> None:
        if not self._is_made:
            super().set_alpn_protocols(alpn_protocols)


@lru_cache(maxsize=1)
def tls() -> ssl.SSLContext:
    """Return the settings of TLS for providers: certificates are verified, by the authorities that requests knows. Reading
    those takes longer than a call, so it is done once in a process."""
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    context._is_made = True
    return context


class SharedAdapter(guard.GuardedAdapter):
    """Transport of `requests` for all calls of the process; threads may share it."""

    def __init__(self) -> None:
        super().__init__(pool_connections=HOSTS, pool_maxsize=PER_HOST, max_retries=0)
        self._swept = time.monotonic()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _KeptHTTPPool, "https": _KeptHTTPSPool}

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: bool | str, cert: Any = None
    ) -> Any:
        host, options = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {**options, "ssl_context": tls()} if host["scheme"] == "https" else options

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the pool as it is: its settings have the authorities, and they are read anew for each connection otherwise."""

    def exchange(self, request: requests.PreparedRequest, *, timeout: tuple[float, float], effect: bool) -> requests.Response:
        """Send and return the answer, its body unread. `effect`: what is sent must not be lost in a closing connection."""
        _wanted.idle = IDLE_BEFORE_EFFECT if effect else IDLE_SECONDS
        self._sweep()
        return self.send(request, stream=True, timeout=timeout)

    def _sweep(self) -> None:
        """Close what was forgotten: its peers wait, or have gone and left half of a connection with us."""
        now = time.monotonic()
        if now - self._swept < SWEEP_SECONDS:
            return
        self._swept = now
        pools: Mapping[Any, Any] = self.poolmanager.pools
        for key in list(pools.keys()):
            pool = pools.get(key)
            if isinstance(pool, _Keeping):
                pool.close_idle(now - IDLE_SECONDS)


@lru_cache(maxsize=1)
def shared() -> SharedAdapter:
    """Return the transport of this process."""
    return SharedAdapter()


def forget() -> None:
    """Begin anew: in a process just forked, where the connections are its parent's, which goes on using them."""
    shared.cache_clear()


os.register_at_fork(after_in_child=forget)
