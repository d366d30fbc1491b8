"""Brings the demo up, runs its job, shows where to look, takes it down."""

import json
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from integrations_site.demo.client import Client, wait_for
from integrations_site.demo.environment import prepare
from integrations_site.demo.job import SchoolFee
from integrations_site.demo.notice import SchoolNotice
from integrations_site.demo.pages import PayerPages
from integrations_site.demo.report import Report, StepFailedError
from integrations_site.embedded import EmbeddedPostgres
from integrations_site.embedded.address import REPOSITORY
from integrations_site.supervisor import parts
from integrations_site.supervisor.manager import AlreadyRunningError, Manager
from integrations_site.supervisor.ports import PortTakenError, require_free

OK = 0
FAILED = 1
CANNOT_START = 2


class Stopped(Exception):
    """SIGINT, SIGTERM or SIGHUP came in. Like KeyboardInterrupt no Exception: nobody on the way may take it for one."""


class Demo:
    """One run of the demo. `once`: end after the job instead of staying up."""

    def __init__(self, *, var_dir: Path, port: int, simulator_port: int, once: bool) -> None:
        self._var_dir = var_dir
        self._port = port
        self._simulator_port = simulator_port
        self._once = once
        self._report = Report()
        self._stop = threading.Event()

    def run(self) -> int:
        """0 when every step was done, 1 when one failed, 2 when the demo could not begin (a port is taken)."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        try:
            require_free(self._port, "the web server", option="PORT=")
            require_free(self._simulator_port, "the simulators", option="SIMULATOR_PORT=")
            environment = prepare(self._var_dir, port=self._port, simulator_port=self._simulator_port)
            manager = self._manager(environment)
            with manager.only_one():
                return self._run(manager, environment)
        except (PortTakenError, AlreadyRunningError) as error:
            self._report.line(f"the demo can't start: {error}")
            return CANNOT_START
        except Stopped:
            return OK

    def _on_signal(self, _number: int, _frame: object) -> None:
        if not self._stop.is_set():
            self._stop.set()
            # Raised in the main thread, wherever it is; once only, so that the orderly stop is not cut short.
            raise Stopped

    def _manager(self, environment: Mapping[str, str]) -> Manager:
        return Manager(
            var_dir=self._var_dir,
            folder=REPOSITORY,
            children=[
                parts.web(environment, port=self._port),
                parts.worker(environment),
                parts.simulators(environment, port=self._simulator_port),
            ],
            database=None if environment["DATABASE_URL"] else EmbeddedPostgres(self._var_dir),
            say=self._report.line,
        )

    def _run(self, manager: Manager, environment: Mapping[str, str]) -> int:
        try:
            try:
                seeded = self._bring_up(manager, environment)
                self._do_job(seeded)
                self._tell_parents(seeded)
                payer_pages = self._open_pages(seeded)
            except StepFailedError:
                self._show_logs(manager)
                if self._once or not manager.process_groups():
                    return FAILED
            else:
                self._where_to_look(seeded, payer_pages)
            if not self._once:
                self._report.line()
                self._report.line(f"the demo stays up; end it with Ctrl-C. Logs: {manager.log_dir}")
                self._stop.wait()
        except Stopped:
            self._report.line("stopping")
            if self._once:
                # Asked to end before the job was done.
                return FAILED
        finally:
            # From here on signals change nothing: an orderly stop is under way already.
            self._stop.set()
            manager.stop()
        return FAILED if self._report.failed else OK

    def _bring_up(self, manager: Manager, environment: Mapping[str, str]) -> dict[str, Any]:
        step = self._report.step
        with step("PostgreSQL"):
            manager.start_database()
        with step("migrate"):
            self._manage(manager, environment, "migrate", "--noinput")
        with step("seed") as words:
            output = self._manage(manager, environment, "seed_demo", "--json")
            seeded: dict[str, Any] = json.loads(output)
            words.append(", ".join(tenant["name"] for tenant in seeded["tenants"]))
        with step("web server, task workers and simulators"):
            manager.start_children()
            for client, path in ((self._hub(), "/api/health"), (self._simulator(), "/healthz")):
                wait_for(lambda c=client, p=path: c.answers(p), f"{client.base_url}{path} to answer 200", 90)  # type: ignore[misc]
        return seeded

    def _manage(self, manager: Manager, environment: Mapping[str, str], *arguments: str) -> str:
        """Run a management command to its end; its standard output. Its errors go to a log of its own."""
        manager.log_dir.mkdir(parents=True, exist_ok=True)
        log = manager.log_of(arguments[0])
        with log.open("w", encoding="utf-8") as errors:
            done = subprocess.run(  # noqa: S603 (our own command)
                parts.manage(*arguments),
                env=dict(environment),
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                check=False,
            )
        if done.returncode != 0:
            tail = "\n".join((done.stdout + log.read_text(encoding="utf-8")).splitlines()[-15:])
            raise StepFailedError(f"`manage.py {arguments[0]}` ended with exit code {done.returncode}, see {log}\n{tail}")
        return done.stdout

    def _hub(self, api_key: str | None = None) -> Client:
        return Client(f"http://127.0.0.1:{self._port}", api_key)

    def _simulator(self) -> Client:
        return Client(f"http://127.0.0.1:{self._simulator_port}")

    def _do_job(self, seeded: Mapping[str, Any]) -> None:
        school = seeded["tenants"][0]
        job = SchoolFee(self._hub(school["api_key"]), self._simulator(), self._report)
        try:
            job.run()
        finally:
            if job.timeline:
                rows = [(entry["at"], entry["kind"], entry["status"], entry["text"]) for entry in job.timeline]
                self._report.table(f"Timeline of {job.payment_id}", rows)

    def _tell_parents(self, seeded: Mapping[str, Any]) -> None:
        school = seeded["tenants"][0]
        SchoolNotice(self._hub(school["api_key"]), self._simulator(), self._report).run()

    def _open_pages(self, seeded: Mapping[str, Any]) -> list[tuple[str, str]]:
        school = seeded["tenants"][0]
        return PayerPages(self._hub(school["api_key"]), self._simulator(), self._report).run()

    def _show_logs(self, manager: Manager) -> None:
        # The step itself has said what failed.
        self._report.line()
        self._report.line(f"The demo failed. Logs are in {manager.log_dir}; their ends:")
        self._report.line(manager.tails() or "  (no process was started)")

    def _where_to_look(self, seeded: Mapping[str, Any], payer_pages: list[tuple[str, str]]) -> None:
        hub, simulator = self._hub().base_url, self._simulator().base_url
        pages = [
            ("admin", f"{hub}/admin/"),
            ("staff console (SMS, e-mail)", f"{hub}/staff/"),
            ("API documentation", f"{hub}/api/docs (Redoc: {hub}/api/redoc)"),
            ("phone", f"{simulator}/phone"),
            ("simulators' control page", f"{simulator}/"),
            ("the school's own system", f"{simulator}/sink/school"),
            ("mail, as files", str(self._var_dir / "mail")),
        ]
        self._report.table("Where to look", pages)
        self._report.table("Pay as a customer of the school would (no real money)", payer_pages)
        superuser = seeded["superuser"]
        logins = [("superuser", superuser["username"], superuser["password"])]
        for tenant in seeded["tenants"]:
            for role in ("admin", "staff"):
                logins.append((f"{tenant['name']}, {role}", tenant[role]["username"], tenant[role]["password"]))
            logins.append((f"{tenant['name']}, API key", tenant["api_key"], ""))
        self._report.table("Logins of this run", logins)
