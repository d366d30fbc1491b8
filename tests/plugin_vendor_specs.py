"""pytest plugin: every exchange of every test is held against the vendor's own API description, where there is one.

Load it with `-p tests.plugin_vendor_specs` (pyproject.toml does). The descriptions stay outside this repository:
`VENDOR_SPECS` names their folder. The summary says with which of them the run was made, or that it was made without.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.vendor_specs.hook import Hook

_hooks: list[Hook] = []


def pytest_sessionstart() -> None:
    # Imported here: the client reads Django's settings, which pytest-django sets after plugins are loaded.
    from tests.vendor_specs.hook import Hook

    hook = Hook()
    hook.install()
    _hooks.append(hook)


@pytest.fixture(autouse=True)
def as_the_vendor_describes_it() -> Iterator[None]:
    """Fail a test in which something was sent or answered that the vendor's description does not allow."""
    found = _hooks[0].violations if _hooks else []
    before = len(found)
    yield
    new = found[before:]
    del found[before:]
    if new:
        pytest.fail("not as the vendor's API description says:\n" + "\n".join(new), pytrace=False)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker of xdist: hand the counts to the process that writes the summary."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["vendor_specs"] = dict(_hooks[0].checked)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """In that process, when a worker has ended."""
    _hooks[0].checked.update(getattr(node, "workeroutput", {}).get("vendor_specs", {}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for hook in _hooks:
        terminalreporter.write_line(hook.summary())


def pytest_unconfigure() -> None:
    while _hooks:
        _hooks.pop().remove()
