"""One running stack for all tests here; it is ended and deleted with the session. Times go to the summary's end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes.stack import Stack, var_folder, wait_for

TIMES = pytest.StashKey[list[tuple[str, float, str]]]()


@pytest.fixture(scope="session")
def running_stack() -> Iterator[Stack]:
    with var_folder() as folder:
        stack = Stack(folder)
        try:
            stack.start()
            yield stack
        finally:
            code = stack.stop()
        assert code == 0, "the manager did not end in order"


@pytest.fixture
def stack(running_stack: Stack, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The stack, whole and without faults before the test; when a test fails its logs are shown."""
    for slug in ("mpesa", "africastalking"):
        running_stack.control("DELETE", f"{slug}/faults")
    running_stack.control("PUT", "africastalking/settings", json={"dlr_delay": 0.5})
    wait_for(running_stack.whole, "the hub to be whole before the test")
    failed = request.session.testsfailed
    yield running_stack
    if request.session.testsfailed > failed:
        print(running_stack.logs())


@pytest.fixture
def note_time(request: pytest.FixtureRequest) -> Any:
    """`note_time(what, seconds, words)`: a line for the table at the end of the run."""
    table = request.config.stash.setdefault(TIMES, [])

    def note(what: str, seconds: float, words: str = "") -> None:
        table.append((what, seconds, words))

    return note


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole hubs that are killed and timed: nothing else may run beside them."""
    folder = Path(__file__).parent
    for item in items:
        if folder in item.path.parents and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.alone)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    table = config.stash.get(TIMES, [])
    if table:
        terminalreporter.section("from kill -9 to paid, receipted, delivered and whole again")
        for what, seconds, words in table:
            terminalreporter.line(f"{seconds:6.1f} s  {what:<52} {words}")
