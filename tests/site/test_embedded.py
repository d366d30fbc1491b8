"""The embedded PostgreSQL with real servers: start, adopt, race, kill, strange places."""

import contextlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from integrations_site.embedded import EmbeddedPostgres, database_url
from integrations_site.embedded import places as places_module
from integrations_site.embedded.address import ADDRESS_FILE, read_address
from integrations_site.embedded.places import SHARED_PLACE, find_place
from integrations_site.embedded.postmaster import PID_FILE, find_postmaster

REPOSITORY = Path(__file__).resolve().parents[2]
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as another user")


def make_server(folder: Path) -> Iterator[EmbeddedPostgres]:
    folder.mkdir()
    folder.chmod(0o711)
    server = EmbeddedPostgres(folder, durable=False)
    try:
        yield server
    finally:
        server.destroy()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    # A folder with a space and more characters than a socket path may have.
    yield from make_server(tmp_path / ("long name " + "x" * 110))


def ask(url: str, question: str) -> object:
    with psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
        row = connection.execute(question).fetchone()
    assert row is not None
    return row[0]


def pid_of(server: EmbeddedPostgres) -> int:
    pid = server.status().pid
    assert pid is not None
    return pid


def test_start_gives_a_url_that_settings_find_and_stop_ends_the_server(server: EmbeddedPostgres) -> None:
    assert database_url(server.var_dir) is None
    assert not server.running()

    url = server.start()

    assert database_url(server.var_dir) == url == server.url
    assert server.running()
    assert ask(url, "SELECT current_database()") == "integrations_hub"
    assert ask(url, "SHOW timezone") == "UTC"
    assert ask(url, "SHOW server_encoding") == "UTF8"
    assert ask(url, "SHOW unix_socket_directories") == ""
    assert ask(url, "SHOW listen_addresses") == "127.0.0.1"
    assert ask(url, "SELECT datcollate FROM pg_database WHERE datname = current_database()") == "C"

    pid = pid_of(server)
    assert server.stop() is True
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert server.stop() is False
    assert server.start() == url, "the port and the password are kept"


def test_only_the_test_server_is_fast_instead_of_safe(tmp_path: Path, server: EmbeddedPostgres) -> None:
    url = server.start()
    assert [ask(url, f"SHOW {name}") for name in ("fsync", "synchronous_commit", "full_page_writes")] == ["off"] * 3
    server.stop()
    url = EmbeddedPostgres(server.var_dir).start()
    assert [ask(url, f"SHOW {name}") for name in ("fsync", "synchronous_commit", "full_page_writes")] == ["on"] * 3


def test_the_password_is_needed_and_private(server: EmbeddedPostgres) -> None:
    url = server.start()
    address = read_address(server.var_dir)
    assert address is not None
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        ask(url.replace(address.password, "wrong"), "SELECT 1")
    for path in (server.var_dir / "postgres" / ADDRESS_FILE, server.place.password_file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert address.password not in repr(server.status())


def test_a_running_server_is_adopted_not_doubled(server: EmbeddedPostgres) -> None:
    url = server.start()
    pid = pid_of(server)
    other = EmbeddedPostgres(server.var_dir, durable=False)
    (server.var_dir / "postgres" / ADDRESS_FILE).unlink()
    assert other.start() == url
    assert pid_of(other) == pid


def test_a_server_that_survived_its_owner_is_adopted(server: EmbeddedPostgres) -> None:
    code = (
        "import os, sys, pathlib; from integrations_site.embedded import EmbeddedPostgres;"
        "print(EmbeddedPostgres(pathlib.Path(sys.argv[1]), durable=False).start(), flush=True); os.kill(os.getpid(), 9)"
    )
    owner = subprocess.run(
        [sys.executable, "-c", code, str(server.var_dir)], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    assert owner.returncode == -9
    pid = pid_of(server)
    assert server.start() == owner.stdout.strip()
    assert pid_of(server) == pid


def test_two_starters_at_once_make_one_server(server: EmbeddedPostgres) -> None:
    code = (
        "import sys, pathlib; from integrations_site.embedded import EmbeddedPostgres;"
        "s = EmbeddedPostgres(pathlib.Path(sys.argv[1]), durable=False); print(s.start(), s.status().pid)"
    )
    command = [sys.executable, "-c", code, str(server.var_dir)]
    starters = [subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {starter.communicate(timeout=60)[0] for starter in starters}
    assert [starter.returncode for starter in starters] == [0, 0, 0]
    assert answers == {f"{server.url} {pid_of(server)}\n"}


@pytest.mark.parametrize("whose", ["dead", "another program's"])
def test_a_stale_pid_file_does_not_prevent_the_start(server: EmbeddedPostgres, whose: str) -> None:
    url = server.start()
    before = (server.place.data / PID_FILE).read_text(encoding="utf-8").splitlines()
    server.stop()
    sleeper = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        if whose == "dead":
            sleeper.kill()
            sleeper.wait()
        stale = server.place.data / PID_FILE
        stale.write_text("\n".join([str(sleeper.pid), *before[1:]]) + "\n", encoding="utf-8")
        account = server.place.account
        if account is not None:
            os.chown(stale, account.uid, account.gid)

        assert not server.running()
        assert server.start() == url
        assert pid_of(server) != sleeper.pid
        assert whose == "dead" or sleeper.poll() is None, "the other program must be left alone"
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_killed_server_is_started_again_with_its_data_and_port(server: EmbeddedPostgres) -> None:
    server.durable = True
    url = server.start()
    pid = pid_of(server)
    with contextlib.closing(psycopg.connect(url, autocommit=True)) as busy:
        busy.execute("CREATE TABLE kept (n int)")
        busy.execute("INSERT INTO kept VALUES (7)")
        backend = busy.info.backend_pid
        psutil.Process(pid).kill()

        assert server.ensure_running(deadline=30) == url

    assert pid_of(server) != pid
    assert not psutil.pid_exists(backend) or psutil.Process(backend).status() == psutil.STATUS_ZOMBIE
    assert ask(url, "SELECT n FROM kept") == 7


@pytest.mark.slow
@pytest.mark.alone
def test_a_backend_that_does_not_notice_the_death_of_its_server_is_ended(server: EmbeddedPostgres) -> None:
    url = server.start()
    with contextlib.closing(psycopg.connect(url, autocommit=True)) as stuck:
        backend = psutil.Process(stuck.info.backend_pid)
        backend.suspend()
        try:
            psutil.Process(pid_of(server)).kill()
            assert server.start() == url
        finally:
            gone = not backend.is_running() or backend.status() == psutil.STATUS_ZOMBIE
            if not gone:
                backend.kill()
    assert gone
    assert ask(url, "SELECT 1") == 1


def test_when_the_port_was_taken_meanwhile_another_one_is_used(server: EmbeddedPostgres) -> None:
    import socket

    first = server.start()
    address = read_address(server.var_dir)
    assert address is not None
    server.stop()
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", address.port))
        squatter.listen()
        second = server.start()
    assert second != first
    assert database_url(server.var_dir) == second
    assert ask(second, "SELECT 1") == 1


def test_an_interrupted_first_start_is_repaired(server: EmbeddedPostgres) -> None:
    home = find_place(server.var_dir).home
    (home / "data.new").mkdir(parents=True)
    (home / "data.new" / "PG_VERSION").write_text("16\n", encoding="utf-8")
    assert ask(server.start(), "SELECT 1") == 1
    assert not (home / "data.new").exists()


def test_a_damaged_address_file_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    file = tmp_path / "postgres" / ADDRESS_FILE
    for content in ("", "{", "[]", json.dumps({"host": "127.0.0.1"})):
        file.write_text(content, encoding="utf-8")
        assert database_url(tmp_path) is None


@root_only
def test_below_a_private_folder_data_move_to_a_place_of_their_own(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    private.chmod(0o700)
    for server in make_server(private / "var"):
        url = server.start()
        home = server.place.home
        assert home.parent == SHARED_PLACE
        assert ask(url, "SELECT 1") == 1
        assert psutil.Process(pid_of(server)).uids().effective != 0
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert EmbeddedPostgres(server.var_dir).place.home == home, "remembered, not chosen anew"
    assert not home.exists(), "destroy() removes it"


@root_only
def test_programs_that_the_servers_user_cannot_reach_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = tmp_path / "private"
    private.mkdir()
    private.chmod(0o700)
    installed = places_module.wheel_folder()
    (private / installed.name).mkdir()
    for name in (f"{installed.name}/pginstall", f"{installed.name}.libs"):
        if (installed.parent / name).exists():
            subprocess.run(["cp", "-a", str(installed.parent / name), str(private / name)], check=True)
    shared = tmp_path / "shared"
    monkeypatch.setattr(places_module, "wheel_folder", lambda: private / installed.name)
    monkeypatch.setattr(places_module, "SHARED_PLACE", shared)
    with contextlib.ExitStack() as stack:
        # pytest's own folders are private too: let the server's user pass to this one for the test.
        for folder in (tmp_path, *tmp_path.parents):
            mode = stat.S_IMODE(folder.stat().st_mode)
            if not mode & 0o001:
                folder.chmod(mode | 0o011)
                stack.callback(folder.chmod, mode)
        place = find_place(tmp_path / "var")
        assert place.programs.is_relative_to(shared)
        for name in ("postgres", "initdb", "pg_ctl"):
            assert place.run([str(place.programs / name), "--version"], timeout=20).returncode == 0


def test_find_postmaster_of_an_empty_folder(tmp_path: Path) -> None:
    assert find_postmaster(tmp_path) is None
