"""The simulators' HTTP server: mounts fake APIs, control API, phone, sinks and pages; for tests in-process, or blocking."""

from __future__ import annotations

import errno
import fcntl
import logging
import selectors
import signal
import socket
import struct
import sys
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from requests.structures import CaseInsensitiveDict

from integrations.simulators.clock import Clock, SystemClock
from integrations.simulators.control_api import Control
from integrations.simulators.dispatch import Dispatcher
from integrations.simulators.http2 import PREFACE_LINE, Asked, Conversation
from integrations.simulators.kit import Simulator
from integrations.simulators.pages.control import ControlPage
from integrations.simulators.pages.phone import PhonePage
from integrations.simulators.scheduler import Scheduler
from integrations.simulators.sink import Sinks
from integrations.simulators.store import Store
from integrations.simulators.wire import SimReply, SimRequest

log = logging.getLogger("integrations.simulators")
BODY_LIMIT = 4 * 1024 * 1024
RESERVED = {"", "control", "phone", "sink", "healthz", "live"}
LINGER_ZERO = struct.pack("ii", 1, 0)
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class BadRequest(Exception):
    """The request can't be read; `status` is the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class PortTaken(OSError):
    """The address is in use."""


class StateInUse(RuntimeError):
    """Another server works on the same state folder."""


class running_simulators:  # noqa: N801 - used like a function: `with running_simulators([...], state_dir=...) as running:`
    """Serve simulators from this process: `url`, `simulator(slug)`, `violations`, `store`, `scheduler`, `clock`.

    Port 0 picks a free one. A server started on the state folder of one that was killed takes up its work.
    PortTaken if the address is in use, StateInUse if another process serves the same folder.
    """

    def __init__(
        self,
        simulators: Sequence[type[Simulator]],
        *,
        state_dir: str | Path,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self.violations: list[str] = []
        self.clock = clock or SystemClock()
        self._classes = list(simulators)
        self._state_dir = Path(state_dir)
        self._address = (host, port)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        try:
            self._server = _Server(self._address, _Handler)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                raise PortTaken(error.errno, f"{self._address[0]}:{self._address[1]} is not free") from error
            raise
        try:
            self._lock = _locked(self._state_dir)
        except BaseException:
            self._server.server_close()
            raise
        host, port = self._server.server_address[0], self._server.server_address[1]
        self.url = f"http://{host if isinstance(host, str) else host.decode()}:{port}"
        self.store = Store(self._state_dir)
        self.scheduler = Scheduler(self.store, self.clock, self.violations)
        self.simulators: dict[str, Simulator] = {}
        for each in self._classes:
            if each.slug in RESERVED or each.slug in self.simulators:
                raise ValueError(f"simulator slug {each.slug!r} is reserved or taken")
            simulator = each(self.store, self.clock, self.scheduler, self.url)
            self.simulators[each.slug] = simulator
            self.scheduler.attach(simulator)
        self._server.app = _App(self)
        try:
            for simulator in self.simulators.values():
                simulator.begin()
        except BaseException:
            self._let_go()
            raise
        self.scheduler.start()
        self._thread = threading.Thread(target=self._server.serve, name="simulator-server", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving; callbacks in hand are finished, later ones stay for the next start."""
        self._server.end()
        self._thread.join()
        self._server.server_close()
        self.scheduler.stop()
        self._let_go()

    def _let_go(self) -> None:
        for simulator in self.simulators.values():
            simulator.end()
        self._server.server_close()
        self.store.close()
        self._lock.close()

    def simulator(self, slug: str) -> Simulator:
        """Return a running simulator; KeyError if it is not served."""
        return self.simulators[slug]


def serve(simulators: Sequence[type[Simulator]], *, host: str, port: int, state_dir: str | Path) -> int:
    """Serve until SIGTERM or SIGINT; return 0, or 2 (with a message on stderr) if the port or the folder is in use."""
    running = running_simulators(simulators, state_dir=state_dir, host=host, port=port)
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    # Before the first request can be answered: whoever sees it answer may end it in the next moment.
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        running.start()
    except (PortTaken, StateInUse) as error:
        hint = "another program listens there; choose another with --port" if isinstance(error, PortTaken) else ""
        print(f"simulators cannot start: {error.args[-1]}{'; ' + hint if hint else ''}", file=sys.stderr, flush=True)
        _restore(before)
        return 2
    print(f"simulators on {running.url}  control page {running.url}/  phone {running.url}/phone", flush=True)
    for simulator in running.simulators.values():
        print(f"  {simulator.slug:<16} {running.url}/{simulator.slug}  {simulator.title}", flush=True)
    try:
        stop.wait()
    finally:
        running.stop()
        _restore(before)
    print("simulators stopped", flush=True)
    return 0


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _locked(state_dir: Path) -> IO[str]:
    state_dir.mkdir(parents=True, exist_ok=True)
    handle = (state_dir / "lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise StateInUse(f"another simulator server works on {state_dir}") from error
    return handle


class _App:
    """Chooses what serves a request, by the first part of its path."""

    def __init__(self, running: running_simulators) -> None:
        self.simulators = running.simulators
        self.dispatcher = Dispatcher(running.store, running.clock, running.scheduler, running.violations)
        self.sinks = Sinks(running.store, running.clock)
        self.control = Control(running.simulators, running.store, running.scheduler, self.sinks, running.violations)
        self.phone = PhonePage(running.simulators, running.store, self.control)
        self.pages = ControlPage(
            running.simulators, running.scheduler, self.control, self.sinks, running.violations, running.url
        )

    def answer(self, handler: Asked) -> SimReply | None:
        """Return the reply, None to cut the connection."""
        target = urlsplit(handler.path)
        path = unquote(target.path)
        query = dict(parse_qsl(target.query, keep_blank_values=True))
        headers = CaseInsensitiveDict(dict(handler.headers.items()))
        first, _, rest = path.lstrip("/").partition("/")
        method = handler.command
        if first in self.simulators:
            return self.dispatcher.answer(self.simulators[first], method, "/" + rest, query, headers, handler.read_body)
        request = SimRequest(method, rest, query, headers, handler.read_body())
        if first == "sink" and rest and method not in SAFE_METHODS:
            return self.sinks.receive(rest, request)
        if method not in SAFE_METHODS and _foreign(headers):
            return SimReply.of_text("refused: the request comes from another site", 403)
        if first == "control":
            return self.control.handle(request)
        if method not in SAFE_METHODS:
            return SimReply.of_text("method not allowed", 405)
        return self._page(first, rest, query)

    def _page(self, first: str, rest: str, query: dict[str, str]) -> SimReply:
        match (first, rest):
            case ("", ""):
                return SimReply.of_html(self.pages.page())
            case ("live", ""):
                return SimReply.of_html(self.pages.live())
            case ("healthz", ""):
                return SimReply.of_json({"status": "ok", "simulators": sorted(self.simulators)})
            case ("phone", ""):
                return SimReply.of_html(self.phone.page(query.get("number", "")))
            case ("phone", "screen"):
                return SimReply.of_html(self.phone.screen(query.get("number", "")))
            case ("sink", name) if name:
                return SimReply.of_html(self.pages.sink_live(name) if "live" in query else self.pages.sink(name))
            case _:
                return SimReply.of_text("nothing is served here", 404)


def _foreign(headers: CaseInsensitiveDict[str]) -> bool:
    """Return whether a browser says that another site's page sent this."""
    origin = headers.get("Origin")
    if origin and origin != "null" and urlsplit(origin).netloc != headers.get("Host", ""):
        return True
    return headers.get("Sec-Fetch-Site", "same-origin") == "cross-site"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024
    app: _App

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._ended, self._ending = socket.socketpair()
        try:
            super().__init__(address, handler)
        except BaseException:
            self._ended.close()
            self._ending.close()
            raise

    def serve(self) -> None:
        """Take connections until `end()`, and end in that moment: `serve_forever` would look for it by the clock."""
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            selector.register(self._ended, selectors.EVENT_READ)
            while all(key.fileobj is not self._ended for key, _events in selector.select()):
                self._handle_request_noblock()

    def end(self) -> None:
        self._ending.send(b"\0")

    def server_close(self) -> None:
        super().server_close()
        self._ended.close()
        self._ending.close()

    def shutdown_request(self, request: Any) -> None:
        """Close; but a connection that is to be cut gets no orderly end first."""
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(LINGER_ZERO)) == LINGER_ZERO:
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are normal here; anything else is logged."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            log.exception("simulator connection failed")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "simulator"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 60
    server: _Server
    raw_requestline: bytes

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding"):
            raise BadRequest(411, "send a Content-Length")
        text = self.headers.get("Content-Length") or "0"
        if not text.isdigit():
            raise BadRequest(400, "bad Content-Length")
        if int(text) > BODY_LIMIT:
            raise BadRequest(413, "the body is too large")
        return self.rfile.read(int(text))

    def parse_request(self) -> bool:
        """Read a request's head; a client that speaks HTTP/2 is served here to its end."""
        if self.raw_requestline != PREFACE_LINE:
            return super().parse_request()
        self.close_connection = True
        if Conversation(self.connection, self.rfile, self.answered, BODY_LIMIT).run():
            self._cut()
        return False

    def answered(self, asked: Asked) -> SimReply | None:
        try:
            return self.server.app.answer(asked)
        except BadRequest as error:
            self.close_connection = True
            return SimReply.of_text(str(error), error.status)
        except Exception:
            log.exception("simulator server failed on %s %s", asked.command, asked.path)
            return SimReply.of_text("simulator server failed, see its log", 500)

    def serve(self) -> None:
        reply = self.answered(self)
        if reply is None:
            self._cut()
            return
        self.send_response(reply.status, "Violation" if reply.status == 599 else None)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)
        self.wfile.flush()

    do_GET = do_HEAD = do_OPTIONS = do_POST = do_PUT = do_PATCH = do_DELETE = serve  # noqa: N815 - http.server's names

    def _cut(self) -> None:
        """Reset the connection, so that the client sees neither a status line nor an orderly end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: requests are on the control page."""
