"""The demo: its keys and addresses, its report, taken ports, a job that fails, and (slow) the whole thing, twice."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from integrations.secrets import parse_keyring
from integrations_site.demo.environment import prepare
from integrations_site.demo.report import Report, StepFailedError
from integrations_site.embedded import EmbeddedPostgres

REPOSITORY = Path(__file__).resolve().parents[2]


def run_demo(var_dir: Path, port: int, simulator_port: int) -> subprocess.CompletedProcess[str]:
    hidden = {"DATABASE_URL", "SECRET_KEY", "ENCRYPTION_KEYS", "DJANGO_SETTINGS_MODULE"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    command = [sys.executable, "-m", "integrations_site.demo", "--once"]
    command += ["--port", str(port), "--simulator-port", str(simulator_port)]
    return subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**environment, "VAR_DIR": str(var_dir)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def free_ports() -> list[int]:
    """Return two ports that are free, and not the same one twice."""
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], other.getsockname()[1]]


def test_keys_are_made_once_and_kept_in_a_private_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    first = prepare(tmp_path / "var", port=8123, simulator_port=8923)
    second = prepare(tmp_path / "var", port=8000, simulator_port=8900)
    assert stat.S_IMODE((tmp_path / "var" / "demo.env").stat().st_mode) == 0o600
    assert len(first["SECRET_KEY"]) >= 50
    parse_keyring(first["ENCRYPTION_KEYS"])
    assert {name: first[name] for name in ("SECRET_KEY", "ENCRYPTION_KEYS")} == {
        name: second[name] for name in ("SECRET_KEY", "ENCRYPTION_KEYS")
    }
    assert first["PUBLIC_BASE_URL"] == "http://127.0.0.1:8123"
    assert first["SIMULATOR_URL"] == "http://127.0.0.1:8923"
    assert first["DATABASE_URL"] == "", "set, so that a .env file can't set it"
    assert prepare(tmp_path / "other", port=1, simulator_port=2)["SECRET_KEY"] != first["SECRET_KEY"]


def test_an_incomplete_key_file_is_completed_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "demo.env").write_text("ENCRYPTION_KEYS=k1:kept==\n", encoding="utf-8")
    environment = prepare(tmp_path, port=1, simulator_port=2)
    assert environment["ENCRYPTION_KEYS"] == "k1:kept=="
    assert f"SECRET_KEY={environment['SECRET_KEY']}\n" in (tmp_path / "demo.env").read_text(encoding="utf-8")


def test_the_report_says_when_and_how_each_step_ended(capsys: pytest.CaptureFixture[str]) -> None:
    ticks = iter([100.0, 101.5, 112.0])
    report = Report(clock=lambda: next(ticks))
    with report.step("first") as words:
        words.extend(["a", "b"])
    with pytest.raises(StepFailedError, match=r"^second: KeyError: 'urls'$"), report.step("second"):
        dict[str, str]()["urls"]
    report.table("Table", [("a", "long cell", ""), ("bbb", "c", "d")])
    assert report.failed == ["second"]
    assert capsys.readouterr().out == (
        "    1.5 s  OK      first: a, b\n"
        "   12.0 s  FAILED  second: KeyError: 'urls'\n"
        "\nTable\n"
        "  a    long cell\n"
        "  bbb  c          d\n"
    )


@pytest.mark.parametrize(("taken", "says"), [(0, "for the web server is taken"), (1, "for the simulators is taken")])
def test_a_taken_port_is_said_before_anything_is_started(tmp_path: Path, taken: int, says: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        ports = free_ports()
        ports[taken] = listener.getsockname()[1]
        done = run_demo(tmp_path / "var", *ports)
    assert done.returncode == 2
    assert f"port {ports[taken]} {says}" in done.stdout
    assert ("PORT=", "SIMULATOR_PORT=")[taken] in done.stdout
    assert done.stderr == ""
    assert not (tmp_path / "var").exists()


@pytest.mark.slow
@pytest.mark.alone
def test_the_whole_demo_runs_and_runs_again(tmp_path: Path) -> None:
    var_dir = tmp_path / "var"
    server = EmbeddedPostgres(var_dir)
    try:
        for _ in range(2):
            done = run_demo(var_dir, *free_ports())
            assert done.returncode == 0, done.stdout + done.stderr
            assert "FAILED" not in done.stdout
            assert "Timeline of pay_" in done.stdout
            assert done.stdout.count("  OK      ") == 17
            assert "Where to look" in done.stdout
            assert not server.running(), "the database is stopped with the rest"
    finally:
        server.destroy()
