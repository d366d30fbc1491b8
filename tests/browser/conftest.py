"""A real Chromium against the live server. Without one on this machine the tests say so and are skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PATIENCE = 30_000
"""Milliseconds: how long a busy machine may take until a page is as it should be."""


def find_browser() -> str | None:
    """Return the browser to drive: `HUB_BROWSER`, or the first that is installed."""
    return os.environ.get("HUB_BROWSER") or next((path for name in NAMES if (path := shutil.which(name))), None)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = find_browser()
    if path is None:
        pytest.skip(f"NO BROWSER FOUND ({', '.join(NAMES)}): browser tests are skipped; install one or set HUB_BROWSER")
    # Playwright keeps an event loop in this thread: Django's ORM would refuse to work beside it, and nobody else could run
    # one, so it ends with the module.
    expect.set_options(timeout=PATIENCE)
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
            yield browser
            browser.close()
    finally:
        if before is None:
            os.environ.pop("DJANGO_ALLOW_ASYNC_UNSAFE")
        else:
            os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = before


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """`open_page(PHONE)`: a page of a fresh profile; the test fails for whatever the page reports as a script error."""
    contexts, problems = [], []

    def make(size: dict[str, int] = DESKTOP) -> Page:
        context = chromium.new_context(viewport=size, color_scheme="light")  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("requestfailed", lambda request: problems.append(f"{request.url}: {request.failure}"))
        return page

    yield make
    for context in contexts:
        context.close()
    outside = [problem for problem in problems if "ERR_ABORTED" not in problem]
    assert outside == []


@pytest.fixture
def shots(tmp_path: Path) -> Callable[[Page, str], Path]:
    """`shots(page, name)` takes a screenshot; into `HUB_SHOTS` where that is set, so that a person can look at them."""
    folder = Path(os.environ["HUB_SHOTS"]) if os.environ.get("HUB_SHOTS") else tmp_path

    def take(page: Page, name: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.png"
        size = page.viewport_size or DESKTOP
        page.wait_for_load_state()  # a link was clicked a moment ago: its page has to be there before it is measured
        # The window grows to the page: a full-page picture would show the bar at its bottom across the middle.
        height = page.evaluate("Math.max(document.documentElement.scrollHeight, document.body.scrollHeight)")
        page.set_viewport_size({"width": size["width"], "height": max(size["height"], int(height))})
        page.screenshot(path=path)
        page.set_viewport_size(size)
        return path

    return take


def overflows(page: Page) -> Any:
    """Return whether the page is wider than the window, so that a person has to scroll sideways."""
    return page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth + 1")
