"""pytest plugin: simulators that start in this process start at once.

A test that uses simulators has a new state folder, a thousand times over: RSA keys of its own take a tenth of a second each,
and waiting for the disk takes as long again. Servers in processes of their own, that tests kill, are as they always are.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest


@pytest.fixture(scope="session", autouse=True)
def quick_simulators() -> Iterator[None]:
    """Keys that can't be derived from a seed are the same in all folders of this run (seeds, and all that is derived from
    them, differ), and no write waits for the disk, as the tests' database does not."""
    # Imported here: adapters read Django's settings, which pytest-django sets after plugins are loaded.
    from integrations.providers.fcm.simulator import accounts as fcm
    from integrations.providers.mpesa.simulator import accounts as mpesa
    from integrations.providers.paypal.simulator import authority as paypal
    from integrations.simulators import seeds
    from integrations.simulators.store import Store

    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((fcm, "_make_keys"), (mpesa, "_new_pair"), (paypal, "_new")):
            patch.setattr(module, name, cache(getattr(module, name)))
        patch.setattr(Store, "synchronous", "OFF")
        patch.setattr(seeds, "_to_disk", lambda _handle: None)
        yield
