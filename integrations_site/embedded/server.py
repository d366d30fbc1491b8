"""The embedded PostgreSQL server: start, stop, adopt, restart."""

import contextlib
import fcntl
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from integrations_site.embedded.address import Address, postgres_dir, read_address, write_address, write_private
from integrations_site.embedded.places import SHARED_PLACE, EmbeddedError, Place, find_place
from integrations_site.embedded.postmaster import PID_FILE, Postmaster, clear_remains, find_postmaster

HOST = "127.0.0.1"
DATABASE = "integrations_hub"
USER = "hub"
# Below the ephemeral range of Linux (32768-) and macOS (49152-): while the server is down, no outgoing connection can
# be given this port, nor can a client that keeps trying connect to itself.
PORTS = range(20000, 30000)
MAX_CONNECTIONS = 200
_LOG_LIMIT = 10_000_000

_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # the path of a socket may have about 100 characters, a clone's folder may have more
    "max_connections": str(MAX_CONNECTIONS),
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "datestyle": "iso, ymd",
    "lc_messages": "C",
    "default_text_search_config": "pg_catalog.simple",
    "log_line_prefix": "%m [%p] ",
    "shared_buffers": "128MB",
    "jit": "off",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True, kw_only=True)
class ServerStatus:
    """What is known about the server. `address` is None before the first start; it holds a secret."""

    running: bool
    ready: bool
    pid: int | None
    address: Address | None
    data_directory: Path
    log: Path


class EmbeddedPostgres:
    """One server, its data below `var_dir` (or where `places.find_place` had to put them).

    Any number of objects and processes may refer to one `var_dir`: starting and stopping are serialised by a lock, and
    a server that runs already is adopted. `durable=False` trades safety against power loss for speed: tests only.
    """

    def __init__(self, var_dir: Path, durable: bool = True) -> None:
        self.var_dir = var_dir.absolute()
        self.durable = durable
        self._place: Place | None = None

    @property
    def place(self) -> Place:
        if self._place is None:
            self._place = find_place(self.var_dir)
        return self._place

    @property
    def url(self) -> str:
        """The URL of the last start. Raises EmbeddedError before the first one."""
        address = read_address(self.var_dir)
        if address is None:
            raise EmbeddedError("the embedded database was never started here: run `manage.py database start`")
        return address.url

    def running(self) -> bool:
        """True while the server process lives and accepts connections. Cheap: one small file, one process looked at."""
        server = find_postmaster(self.place.data)
        return server is not None and server.ready

    def status(self) -> ServerStatus:
        server = find_postmaster(self.place.data)
        return ServerStatus(
            running=server is not None,
            ready=server is not None and server.ready,
            pid=server.pid if server else None,
            address=read_address(self.var_dir),
            data_directory=self.place.data,
            log=self.place.log,
        )

    def start(self, timeout: float = 60.0) -> str:
        """Start the server, or adopt the one that runs. Returns the database URL, once it accepts connections.

        Raises EmbeddedError with the end of the server's log when it does not come up in `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        with self._lock(deadline):
            while True:
                found = find_postmaster(self.place.data)
                try:
                    return self._adopt(found, deadline) if found else self._start_new(deadline)
                except EmbeddedError:
                    # A server that was killed a moment ago can still look alive; one that we started ourselves can't.
                    if found is None or time.monotonic() > deadline:
                        raise
                time.sleep(0.1)

    def _start_new(self, deadline: float) -> str:
        clear_remains(self.place.data)
        self._create_data()
        return self._adopt(self._launch(deadline), deadline)

    def _adopt(self, server: Postmaster, deadline: float) -> str:
        address = self._publish(self._wait_until_ready(server, deadline))
        _create_database(address)
        return address.url

    def stop(self, timeout: float = 30.0) -> bool:
        """Stop the server (clients are disconnected). False if none ran. Raises EmbeddedError if it can't be ended."""
        with self._lock(time.monotonic() + timeout):
            if find_postmaster(self.place.data) is None:
                return False
            output = ""
            for mode, patience in (("fast", timeout), ("immediate", 10.0)):
                arguments = ["stop", "-D", str(self.place.data), "-m", mode, "-w", "-t", str(max(1, int(patience)))]
                output = self.place.run([self._program("pg_ctl"), *arguments], timeout=patience + 10).stdout
                if find_postmaster(self.place.data) is None:
                    return True
            raise EmbeddedError(f"the embedded database does not stop: {output.strip()}\n{self.log_tail()}")

    def restart(self, timeout: float = 60.0) -> str:
        self.stop()
        return self.start(timeout)

    def ensure_running(self, deadline: float = 120.0) -> str:
        """Start the server if it doesn't run, again and again with growing pauses for `deadline` seconds.

        Returns the URL. It is the old one unless another program took the port meanwhile. Raises the last EmbeddedError.
        """
        end = time.monotonic() + deadline
        pause = 0.2
        while True:
            try:
                return self.start(timeout=min(60.0, max(5.0, end - time.monotonic())))
            except EmbeddedError:
                if time.monotonic() + pause > end:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, 5.0)

    def destroy(self) -> None:
        """Stop the server and remove its data, wherever they are. Only for servers of tests."""
        self.stop()
        own = postgres_dir(self.var_dir)
        home = self.place.home
        shutil.rmtree(own, ignore_errors=True)
        if home != own and home.parent == SHARED_PLACE:
            shutil.rmtree(home, ignore_errors=True)
        self._place = None

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of the server's log, or a sentence that there is none."""
        try:
            text = self.place.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return f"(no log at {self.place.log})"
        return "\n".join(text.splitlines()[-lines:])

    @contextlib.contextmanager
    def _lock(self, deadline: float) -> Iterator[None]:
        folder = postgres_dir(self.var_dir)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("a") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise EmbeddedError("another process is starting or stopping the embedded database") from error
                    time.sleep(0.05)
            yield

    def _program(self, name: str) -> str:
        return str(self.place.programs / name)

    def _create_data(self) -> None:
        """initdb into a folder beside, renamed when complete: an interrupted first start leaves nothing half done."""
        if self.place.data.exists():
            return
        self.place.home.mkdir(parents=True, exist_ok=True)
        new = self.place.home / "data.new"
        password_for_initdb = self.place.home / "password.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        password = secrets.token_urlsafe(32)
        try:
            write_private(password_for_initdb, password)
            self._give(new)
            self._give(password_for_initdb)
            done = self.place.run(
                [
                    *(self._program("initdb"), "-D", str(new), "-U", USER, f"--pwfile={password_for_initdb}"),
                    *("--encoding=UTF8", "--locale=C", "--auth-host=scram-sha-256", "--auth-local=reject"),
                    *(() if self.durable else ("--no-sync",)),
                ],
                timeout=120,
            )
        finally:
            password_for_initdb.unlink(missing_ok=True)
        if done.returncode != 0:
            raise EmbeddedError(f"initdb failed in {new}:\n{done.stdout.strip()}")
        write_private(self.place.password_file, password)
        new.rename(self.place.data)

    def _give(self, path: Path) -> None:
        if self.place.account is not None:
            os.chown(path, self.place.account.uid, self.place.account.gid)

    def _write_settings(self, port: int) -> None:
        settings = {**_SETTINGS, "port": str(port), **({} if self.durable else _NOT_DURABLE)}
        text = "# Written at each start of the embedded server; changes here are lost.\n"
        text += "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        target = self.place.data / "postgresql.conf"
        write_private(target, text)
        self._give(target)

    def _launch(self, deadline: float) -> Postmaster:
        if self.place.log.exists() and self.place.log.stat().st_size > _LOG_LIMIT:
            self.place.log.replace(self.place.log.with_suffix(".log.1"))
        previous = read_address(self.var_dir)
        port = previous.port if previous and port_is_free(previous.port) else _free_port()
        output = ""
        for _ in range(4):
            self._write_settings(port)
            wait = max(1, int(deadline - time.monotonic()))
            arguments = ["start", "-D", str(self.place.data), "-w", "-t", str(wait), "-l", str(self.place.log), "-s"]
            output = self.place.run([self._program("pg_ctl"), *arguments], timeout=wait + 10).stdout
            server = find_postmaster(self.place.data)
            if server is not None:
                return server
            if port_is_free(port):
                break
            # Between our look and the server's bind somebody took the port.
            port = _free_port()
        raise EmbeddedError(f"the embedded database does not start: {output.strip()}\n{self.log_tail()}")

    def _wait_until_ready(self, server: Postmaster, deadline: float) -> Postmaster:
        current: Postmaster | None = server
        while current is not None and not current.ready:
            if time.monotonic() > deadline:
                raise EmbeddedError(f"the embedded database is not ready in time\n{self.log_tail()}")
            time.sleep(0.05)
            current = find_postmaster(self.place.data)
        if current is None:
            raise EmbeddedError(f"the embedded database died while it started\n{self.log_tail()}")
        return current

    def _publish(self, server: Postmaster) -> Address:
        if server.port is None:
            raise EmbeddedError(f"the running server names no port in {self.place.data / PID_FILE}")
        try:
            password = self.place.password_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise EmbeddedError(f"the password of the embedded database is gone: {error}") from error
        address = Address(host=HOST, port=server.port, database=DATABASE, user=USER, password=password)
        if read_address(self.var_dir) != address:
            write_address(self.var_dir, address)
        return address


def port_is_free(port: int, host: str = HOST) -> bool:
    """True if a server could listen on `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do it: a port whose old connections are still closing is free, one with a listener is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    for _ in range(200):
        port = secrets.choice(PORTS)
        if port_is_free(port):
            return port
    raise EmbeddedError(f"no free port between {PORTS.start} and {PORTS.stop}")


def _create_database(address: Address) -> None:
    """Create the hub's database if the server has none yet. Raises EmbeddedError if it can't be reached."""
    import psycopg  # here, because settings import this package and should not load a driver for a file

    try:
        with psycopg.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password,
            dbname="postgres",
            connect_timeout=10,
            autocommit=True,
        ) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (address.database,)).fetchone()
            if known is None:
                connection.execute(f'CREATE DATABASE "{address.database}"')
    except psycopg.Error as error:
        raise EmbeddedError(f"the embedded database answers with an error: {error}") from error
