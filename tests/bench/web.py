"""The hub's web processes as they really run, and a client that keeps some connections busy."""

from __future__ import annotations

import asyncio
import tempfile
import time
import urllib.error
import urllib.request
from typing import Any

import aiohttp
from django_scopes import scope

from integrations.models import Tenant
from integrations.tenancy.keys import create_api_key
from integrations_site.embedded.address import REPOSITORY
from integrations_site.embedded.server import port_is_free
from integrations_site.supervisor.group import ProcessGroup
from integrations_site.supervisor.parts import web
from tests.bench import backlog
from tests.bench.receiver import mark_of
from tests.bench.results import TooLong
from tests.bench.sides import environment

CLIENTS = 8


class Web:
    """gunicorn with the hub's own command line, on a free port; it ends with the block, or with this process."""

    def __enter__(self) -> Web:
        port = next(port for port in range(26_000, 28_000) if port_is_free(port))
        self.url = f"http://127.0.0.1:{port}"
        part = web({**environment(), "LOG_LEVEL": "INFO"}, port=port)
        self._log = tempfile.TemporaryFile()
        self._group = ProcessGroup(part.command, environment=part.environment, folder=REPOSITORY, output=self._log)
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._group.stop(10)
        self._log.close()

    def _wait(self, seconds: float = 40.0) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                with opener.open(f"{self.url}/api/health", timeout=5):
                    return
            except urllib.error.HTTPError:
                return  # it answers: what it says of missing workers is right
            except OSError:
                time.sleep(0.1)
        raise TooLong("gunicorn does not answer")


def publish_over(url: str, tenant: Tenant, run: str, count: int) -> float:
    """Publish over HTTP with one key, `CLIENTS` requests at a time; return the seconds until the last was answered."""
    with scope(tenant=tenant):
        _row, key = create_api_key(tenant=tenant, name="bench")
    return asyncio.run(_posts(f"{url}/api/events", key, run, count))


async def _posts(url: str, key: str, run: str, count: int) -> float:
    numbers = iter(range(count))
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=CLIENTS)) as session:

        async def work() -> None:
            for number in numbers:
                mark = mark_of(run, number)
                body: dict[str, Any] = {"type": backlog.TYPE, "data": backlog.object_of(mark)}
                async with session.post(url, json=body, headers={"Idempotency-Key": mark}) as answer:
                    if answer.status != 201:
                        raise RuntimeError(f"{url} answered {answer.status}: {(await answer.text())[:300]}")

        began = time.monotonic()
        await asyncio.gather(*(work() for _ in range(CLIENTS)))
        return time.monotonic() - began
