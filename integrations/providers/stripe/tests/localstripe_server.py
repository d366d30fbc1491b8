"""Runs localstripe on loopback with a fresh store: `python localstripe_server.py <port file>`.

Its own start listens on all interfaces and unpickles a file of the temp folder. Some of its gaps are closed here as Stripe
documents the calls; everything else is localstripe's own: a return URL and a description are taken (and dropped), a capture's
`metadata` goes into the payment, and its amount into the charge's `amount_captured`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from aiohttp import web
from localstripe import resources, server  # type: ignore[import-untyped]

DROPPED = ("return_url", "description", "cancellation_reason")


def prepare() -> None:
    read = server.get_post_data

    async def reading(request: Any, remove_auth: bool = True) -> Any:
        data = await read(request, remove_auth=remove_auth)
        if not data:
            return data
        kept = {name: value for name, value in data.items() if name not in DROPPED}
        parts = request.path.split("/")
        if parts[-1] == "capture" and "metadata" in kept:
            resources.PaymentIntent._api_retrieve(parts[-2]).metadata.update(kept.pop("metadata"))
        return kept

    server.get_post_data = reading
    capture = resources.Charge._capture

    def capturing(charge: Any, amount: Any, on_success: Any = None) -> None:
        capture(charge, amount, on_success)
        charge.amount_captured = charge.amount if amount is None else int(amount)

    resources.Charge._capture = capturing
    resources.store.dump_to_disk = lambda: None


async def run(port_file: Path) -> None:
    runner = web.AppRunner(server.app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]
    draft = port_file.with_suffix(".draft")
    draft.write_text(str(port))
    draft.replace(port_file)
    await asyncio.Event().wait()


if __name__ == "__main__":
    prepare()
    asyncio.run(run(Path(sys.argv[1])))
