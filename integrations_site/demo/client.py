"""A small JSON client for the demo: the hub's public API and the simulators' control API."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import requests

from integrations_site.demo.report import StepFailedError

T = TypeVar("T")
TIMEOUT = 30.0
POLL_EVERY = 0.25


class Client:
    """Calls one server. `api_key` is sent as a bearer token; without one the calls are anonymous."""

    def __init__(self, base_url: str, api_key: str | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self._session = requests.Session()
        # The environment's proxies and netrc have no business on loopback.
        self._session.trust_env = False
        if api_key is not None:
            self._session.headers["Authorization"] = f"Bearer {api_key}"

    def send(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
        files: dict[str, tuple[str, bytes, str]] | None = None,
        expect: int | tuple[int, ...] = 200,
    ) -> requests.Response:
        """One call; with `files` {field: (name, content, type)} a form. Raises StepFailedError with status and body unless the
        status is an expected one."""
        expected = (expect,) if isinstance(expect, int) else expect
        try:
            response = self._session.request(
                method, self.base_url + path, json=body, headers=headers, params=params, files=files, timeout=TIMEOUT
            )
        except requests.RequestException as error:
            raise StepFailedError(f"{method} {path}: {error}") from error
        if response.status_code not in expected:
            raise StepFailedError(f"{method} {path} answered {response.status_code}: {response.text[:500]}")
        return response

    def json(self, method: str, path: str, **options: Any) -> Any:
        """The decoded JSON answer of `send`. Raises StepFailedError if it is none."""
        response = self.send(method, path, **options)
        try:
            return response.json()
        except ValueError as error:
            raise StepFailedError(f"{method} {path} did not answer JSON: {response.text[:200]}") from error

    def results(self, path: str, params: dict[str, str] | None = None) -> list[dict[str, Any]]:
        """The first page of a list route."""
        answer = self.json("GET", path, params=params)
        found: list[dict[str, Any]] = answer["results"] if isinstance(answer, dict) else answer
        return found

    def answers(self, path: str) -> bool:
        """True if GET `path` answers 200 now."""
        try:
            return self._session.get(self.base_url + path, timeout=5).status_code == 200
        except requests.RequestException:
            return False


def wait_for(look: Callable[[], T | None], what: str, seconds: float) -> T:
    """Call `look` until it returns something other than None or False. Raises StepFailedError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            raise StepFailedError(f"waited {seconds:.0f} s for {what}")
        time.sleep(POLL_EVERY)
