"""The URL guard: which addresses the hub may dial, decided on the address itself at the moment of dialling.

A check of the URL's text alone can't be trusted: a name may resolve to a private address, change between check and dial
(DNS rebinding), or be a number in disguise (`0x7f.1`). So `resolve` checks every address that a name has, and
`GuardedAdapter` (requests) and `guarded_connector` (aiohttp) dial exactly what was checked; the host name stays what it was
for the Host header, SNI and certificate. `check_url` is the early, friendly refusal on top of that.

`settings.OUTBOUND_ALLOWED_NETWORKS` opens networks that are closed otherwise, `settings.OUTBOUND_HTTPS_ONLY` closes plain http.
Both are read at each use.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import requests
import requests.adapters
import urllib3.connection
import urllib3.connectionpool
import urllib3.exceptions
from aiohttp import TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_URL_LENGTH = 2000

RESOLVER_THREADS = 128
LOOKUP_SECONDS = 4.0
"""What the system's resolver gets for one name; its thread goes on until it returns, whatever came of the look-up."""
THREAD_SECONDS = 0.5
"""How long a look-up waits for a thread of ours. With the look-up that is less than the webhooks' time for connecting."""
REFUSED_SECONDS = 30.0
"""How long a name that did not answer in time takes no thread again."""

# IANA IPv4 Special-Purpose Address Registry, multicast and class E included (read 2026-08). `is_global` of the standard
# library is not enough: on Python 3.11 it calls 224.1.2.3 and 192.88.99.3 global. 168.63.129.16 is public space, but inside
# Azure it is the host's own wire server.
_DENIED_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# IPv6 is closed but for global unicast, less its special parts (IANA IPv6 Special-Purpose Address Registry, read 2026-08).
# What is outside 2000::/3 needs no line of its own: ::1, IPv4-compatible, NAT64 64:ff9b::/96, 100::/64, fc00::/7, fe80::/10,
# fec0::/10, ff00::/8, 5f00::/16.
_OPEN_V6 = ipaddress.IPv6Network("2000::/3")
_DENIED_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address inside
        "2620:4f:8000::/48",
        "3ffe::/16",
        "3fff::/20",
    )
)

# Ports on which something other than a web server listens: "bad ports" of the Fetch standard (read 2026-08), and data stores
# that act on a line of text wherever it stands in the request.
# fmt: off
_BAD_PORTS = frozenset({
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110, 111,
    113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554,
    556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666,
    6667, 6668, 6669, 6679, 6697, 10080,
    2379, 3306, 5432, 6379, 11211, 27017,
})
# fmt: on

_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)


class BlockedAddress(Exception):
    """This URL or address is not to be called. The text may be shown to whoever set the URL."""


class NameTimeout(OSError):
    """The name did not answer in time."""


class ResolverBusy(OSError):
    """No thread of ours was free to look the name up: that says nothing about the name."""


class _BlockedDial(BlockedAddress, PermissionError):
    """The same, in the shape in which aiohttp carries an error of dialling (as `os_error` of its own)."""


@lru_cache(maxsize=8)
def _parse_networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(text.strip()) for text in texts if text.strip())
    except ValueError as error:
        raise ImproperlyConfigured(f"OUTBOUND_ALLOWED_NETWORKS: {error}") from error


def _allowed_networks() -> tuple[Network, ...]:
    return _parse_networks(tuple(settings.OUTBOUND_ALLOWED_NETWORKS))


def _unmapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv4-mapped IPv6 address stands for: that is what the kernel dials."""
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


def is_allowed_address(ip_str: str) -> bool:
    """Tell whether the hub may dial this address: public unicast, or inside an allowed network. No IP address: False."""
    try:
        parsed = ipaddress.ip_address(ip_str)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.scope_id is not None:
        return False
    address = _unmapped(parsed)
    if any(address.version == network.version and address in network for network in _allowed_networks()):
        return True
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _DENIED_V4)
    return address in _OPEN_V6 and not any(address in network for network in _DENIED_V6)


def _literal(host: str) -> str | None:
    """Return the address that `host` writes out, None for a name; raise `BlockedAddress` for a number in disguise.

    The system's resolver takes `2130706433`, `0x7f.1`, `017700000001` and `127.1` for addresses: nobody writes these honestly.
    """
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not host.isascii() or not _HOST.fullmatch(host) or len(host) > 254:
        raise BlockedAddress("the host is not a plain ASCII host name (write an international name in its xn-- form)")
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        raise BlockedAddress("the host is a number, but no dotted IPv4 address")
    return None


def check_url(url: str) -> None:
    """Raise `BlockedAddress` unless `url` may be called as far as its text says: scheme, host, port, no user info.

    Names are not resolved here; that happens when they are dialled. An address written out is checked at once.
    """
    if len(url) > MAX_URL_LENGTH:
        raise BlockedAddress(f"the URL is longer than {MAX_URL_LENGTH} characters")
    # urlsplit drops tabs and line breaks silently, and parsers disagree on backslashes: nothing of this may get through.
    if any(character <= " " or character == "\x7f" or character == "\\" for character in url):
        raise BlockedAddress("the URL holds a space, a control character or a backslash")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise BlockedAddress("the URL can't be read") from error
    https_only = settings.OUTBOUND_HTTPS_ONLY
    if parts.scheme not in ({"https"} if https_only else {"http", "https"}):
        raise BlockedAddress("the URL must begin with https://" + ("" if https_only else " or http://"))
    if "@" in parts.netloc:
        raise BlockedAddress("the URL must not hold a user name or password")
    if not host:
        raise BlockedAddress("the URL has no host")
    if port in _BAD_PORTS:
        raise BlockedAddress(f"port {port} is not allowed")
    address = _literal(host)
    if address is not None and not is_allowed_address(address):
        raise BlockedAddress("the address is not public, and not in an allowed network")


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of `host`, in the resolver's order, each of them allowed.

    Raises `BlockedAddress` if one of them is not (a name with one good and one bad address is refused whole), `OSError`
    if the name has none.
    """
    host = host.strip("[]")
    address = _literal(host)
    if address is not None:
        found = [address]
    else:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError as error:  # a label that is empty or too long
            raise BlockedAddress("the host is not a valid name") from error
        found = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
    if not found:
        raise OSError(f"no address for {host}")
    if not all(is_allowed_address(one) for one in found):
        raise BlockedAddress("the host has an address that is not public, and not in an allowed network")
    return found


# --- requests -----------------------------------------------------------------------------------------------------------


def _dial(connection: urllib3.connection.HTTPConnection) -> socket.socket:
    """Return a socket connected to a checked address of the connection's host; errors are urllib3's own."""
    port = connection.port or connection.default_port
    try:
        addresses = resolve(connection.host, port)
    except socket.gaierror as error:
        raise urllib3.exceptions.NameResolutionError(connection.host, connection, error) from error
    failure: OSError | None = None
    for address in addresses:
        try:
            return urllib3.util.connection.create_connection(
                (address, port),
                connection.timeout,
                source_address=connection.source_address,
                socket_options=connection.socket_options,
            )
        except OSError as error:
            failure = error
    if isinstance(failure, TimeoutError):
        raise urllib3.exceptions.ConnectTimeoutError(connection, "connecting timed out") from failure
    raise urllib3.exceptions.NewConnectionError(connection, f"no connection: {failure}") from failure


class GuardedHTTPConnection(urllib3.connection.HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _dial(self)


class GuardedHTTPSConnection(urllib3.connection.HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _dial(self)


class GuardedHTTPPool(urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = GuardedHTTPConnection


class GuardedHTTPSPool(urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = GuardedHTTPSConnection


class GuardedAdapter(requests.adapters.HTTPAdapter):
    """Transport of `requests` that dials checked addresses only, on each hop, and never through a proxy.

    A refusal is `requests.exceptions.InvalidURL` with the `BlockedAddress` as its cause. Use it with
    `session.trust_env = False`, mounted for both schemes.
    """

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": GuardedHTTPPool, "https": GuardedHTTPSPool}

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send; `proxies` is ignored: behind a proxy the address dialled is not ours to check."""
        try:
            check_url(request.url or "")
            return super().send(request, stream=stream, timeout=timeout, verify=verify, cert=cert, proxies=None)
        except BlockedAddress as error:
            raise requests.exceptions.InvalidURL(f"blocked: {error}", request=request) from error


# --- aiohttp ------------------------------------------------------------------------------------------------------------


class GuardedResolver(AbstractResolver):
    """Resolver of aiohttp over `resolve`, in threads of its own: a slow name must not hold up the loop's other threads.

    Names that hang must not hold up other names either: `NameTimeout` for one that does, at once while it is refused;
    `ResolverBusy` where all threads hang.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=RESOLVER_THREADS, thread_name_prefix="resolve")
        self._free = asyncio.Semaphore(RESOLVER_THREADS)
        self._lookups: set[asyncio.Future[list[str]]] = set()
        self._refused: dict[str, float] = {}

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self._look_up(host, port)
        ]

    async def _look_up(self, host: str, port: int) -> list[str]:
        if self._refused.get(host, 0.0) > monotonic():
            raise NameTimeout("the name did not answer in time")
        try:
            async with asyncio.timeout(THREAD_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            raise ResolverBusy("all look-ups of names are busy") from None
        lookup = asyncio.get_running_loop().run_in_executor(self._threads, resolve, host, port)
        self._lookups.add(lookup)
        lookup.add_done_callback(self._ended)
        await asyncio.wait({lookup}, timeout=LOOKUP_SECONDS)  # unlike `wait_for` it leaves the thread's future alone
        if lookup.done():
            return lookup.result()
        now = monotonic()
        self._refused = {name: until for name, until in self._refused.items() if until > now}
        self._refused[host] = now + REFUSED_SECONDS
        raise NameTimeout("the name did not answer in time")

    def _ended(self, lookup: asyncio.Future[list[str]]) -> None:
        self._lookups.discard(lookup)
        self._free.release()
        if not lookup.cancelled():
            lookup.exception()  # nobody may be waiting for it any more

    async def close(self) -> None:
        for lookup in list(self._lookups):
            lookup.cancel()  # its thread may end when this loop is no more
        self._threads.shutdown(wait=False, cancel_futures=True)


def _checked_socket(address: AddrInfoType) -> socket.socket:
    """Make the socket for one dial. aiohttp asks no resolver about an address written out in the URL: caught here."""
    if not is_allowed_address(str(address[4][0])):
        raise _BlockedDial("the address is not public, and not in an allowed network")
    return socket.socket(family=address[0], type=address[1], proto=address[2])


class _GuardedConnector(TCPConnector):
    """Owns its resolver: closing the connector closes that too."""

    def __init__(self, **options: Any) -> None:
        self._guarded_resolver = GuardedResolver()
        super().__init__(resolver=self._guarded_resolver, socket_factory=_checked_socket, **options)

    async def close(self, *, abort_ssl: bool = False) -> None:
        await super().close(abort_ssl=abort_ssl)
        await self._guarded_resolver.close()


def guarded_connector(*, limit: int = 100, limit_per_host: int = 0, keepalive_seconds: float = 15.0) -> TCPConnector:
    """Return a connector for `aiohttp.ClientSession(..., trust_env=False)` that dials checked addresses only.

    Call it inside the running loop. TLS certificates are verified. A refusal surfaces as `BlockedAddress`, or as aiohttp's
    own error around one: ask `blocked_cause`. Send with `allow_redirects=False`, or check each hop with `check_url`.
    """
    return _GuardedConnector(
        limit=limit,
        limit_per_host=limit_per_host,
        keepalive_timeout=keepalive_seconds,
        ttl_dns_cache=10,
    )


def blocked_cause(error: BaseException) -> BlockedAddress | None:
    """Return the `BlockedAddress` that `error` is or carries, None where it is about something else."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        if isinstance(current, BlockedAddress):
            return current
        seen.add(id(current))
        carried = getattr(current, "os_error", None)
        current = carried if isinstance(carried, BaseException) else current.__cause__ or current.__context__
    return None
