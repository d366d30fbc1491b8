"""Calls to Meta's Graph API, and its errors as the hub's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from integrations.contracts.adapter import ConfigView, HttpPort, Reply
from integrations.contracts.errors import (
    AuthenticationFailed,
    Declined,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    ProviderUnavailable,
    RateLimited,
)
from integrations.contracts.wire import Wire, WireError
from integrations.providers.whatsapp.codes import Fate, Problem, problem_of

TEXT_LIMIT = 300


@dataclass(frozen=True, slots=True)
class GraphError:
    """An error answer. `code` is None where the body is not Meta's usual one; `text` is for people and without secrets."""

    status: int
    code: int | None
    text: str
    retry_after: float | None

    @property
    def problem(self) -> Problem | None:
        return None if self.code is None else problem_of(self.code)

    @property
    def provider_code(self) -> str:
        return str(self.status if self.code is None else self.code)


class Graph:
    """The API as one config may use it. Paths are below the config's version."""

    def __init__(self, config: ConfigView, http: HttpPort) -> None:
        self._config = config
        self._http = http

    def call(
        self,
        method: str,
        path: str,
        *,
        operation: str,
        safe: bool,
        query: Mapping[str, str] | None = None,
        json: Any = None,
        body: bytes | None = None,
        content_type: str = "",
        timeout: tuple[float, float] | None = None,
    ) -> Reply:
        """Make one call and return the answer, whatever its status. An absolute `path` is called as it is."""
        headers = {"Authorization": f"Bearer {self._config.access_token}"}
        if content_type:
            headers["Content-Type"] = content_type
        return self._http.request(
            method,
            path if "://" in path else f"/{self._config.api_version}/{path}",
            operation=operation,
            safe=safe,
            query=query,
            json=json,
            body=body,
            headers=headers,
            timeout=timeout,
        )

    def asked(self, method: str, path: str, *, operation: str, attr: str | None = None, **given: Any) -> Wire:
        """Make a call that harms nobody when it is repeated, and return its answer.

        Raises `AuthenticationFailed`, `RateLimited`, `InvalidRequest` (naming `attr`), `NotFound`, `Declined`,
        `ProviderUnavailable`; never `OutcomeUnknown`.
        """
        reply = self.call(method, path, operation=operation, safe=True, **given)
        if not reply.ok:
            self.refuse(self.error(reply), attr=attr, sending=False)
        try:
            return reply.json()
        except WireError as error:
            raise ProviderUnavailable(f"The answer can't be read: {error}", provider=self._config.provider) from None

    def error(self, reply: Reply) -> GraphError:
        """Read an error answer; one of another shape is judged by its HTTP status alone."""
        code, text = None, ""
        try:
            said = reply.json()["error"]
            code = said["code"].integer()
            found = [said.get("error_data"), said]
            details = found[0].get("details") if found[0] is not None else None
            message = said.get("message")
            text = next((each.text() for each in (details, message) if each is not None), "")
        except WireError:
            pass
        wait = reply.headers.get("retry-after", "").strip()
        seconds = float(wait) if re.fullmatch(r"[0-9]{1,6}", wait) else None
        return GraphError(reply.status, code, self.shown(text), seconds)

    def refuse(self, error: GraphError, *, attr: str | None, sending: bool) -> NoReturn:
        """Raise what an error answer means for the whole request.

        `sending`: a message was to be sent, so that an answer that says nothing about it is an `OutcomeUnknown`.
        """
        provider, code = self._config.provider, error.provider_code
        problem = error.problem or _by_status(error.status)
        text = _sentence(problem.detail if problem else f"Meta answered {code}", error.text)
        if problem is None or (problem.fate is Fate.UNSURE and error.status >= 500):
            if sending:
                raise OutcomeUnknown(f"{text} The message may have been sent.", provider=provider, provider_code=code)
            raise ProviderUnavailable(text, provider=provider, provider_code=code)
        match problem.fate:
            case Fate.CONFIG:
                raise AuthenticationFailed(text, provider=provider, provider_code=code)
            case Fate.RATE:
                wait = error.retry_after if error.retry_after is not None else problem.retry_after
                raise RateLimited(text, provider=provider, provider_code=code, retry_after=wait)
            case Fate.UNAVAILABLE | Fate.UNSURE | Fate.AGAIN:
                raise ProviderUnavailable(text, provider=provider, provider_code=code)
            case Fate.TEMPLATE:
                raise InvalidRequest(text, provider=provider, provider_code=code, attr="template")
            case Fate.REQUEST if error.status == 404:
                raise NotFound(text, provider=provider, provider_code=code)
            case Fate.REQUEST:
                raise InvalidRequest(text, provider=provider, provider_code=code, attr=attr)
            case _:
                raise Declined(text, provider=provider, provider_code=code)

    def shown(self, text: str) -> str:
        """Return Meta's text for people: one line, capped, without a secret should one ever be echoed."""
        for secret in self._config.secrets.values():
            text = text.replace(str(secret), "••••") if secret else text
        return " ".join(text.split())[:TEXT_LIMIT]


def _by_status(status: int) -> Problem | None:
    """Return what an HTTP status says where the code says nothing; None where it may mean anything."""
    if status in {401, 403}:
        return Problem(Fate.CONFIG, "the access token was refused")
    if status == 429:
        return Problem(Fate.RATE, "too many calls", retry_after=60.0)
    return Problem(Fate.REQUEST, "Meta refused the request") if 400 <= status < 500 else None


def _sentence(what: str, said: str) -> str:
    text = f"{what[:1].upper()}{what[1:]}"
    return f"{text} (Meta: {said})" if said else f"{text}."
