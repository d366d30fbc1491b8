"""Hooks that hold simulated answers and webhooks against an outside description (a vendor's API specification).

An exception from a check is a violation: an answer becomes a 599 with the text, a webhook is not sent; both are
recorded in the running server's `violations`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from integrations.simulators.wire import SimReply, SimRequest

AnswerCheck = Callable[[str, SimRequest, SimReply], None]
CallbackCheck = Callable[[str, str, str, Mapping[str, str], bytes], None]

_answer_checks: list[AnswerCheck] = []
_callback_checks: list[CallbackCheck] = []


def add_answer_check(check: AnswerCheck) -> None:
    """Call `check(slug, request, reply)` for every answer of a fake API, before it goes out."""
    _answer_checks.append(check)


def remove_answer_check(check: AnswerCheck) -> None:
    """Undo `add_answer_check`; ValueError if it was not added."""
    _answer_checks.remove(check)


def add_callback_check(check: CallbackCheck) -> None:
    """Call `check(slug, method, url, headers, body)` for every simulated webhook, before it is sent."""
    _callback_checks.append(check)


def remove_callback_check(check: CallbackCheck) -> None:
    """Undo `add_callback_check`; ValueError if it was not added."""
    _callback_checks.remove(check)


def check_answer(slug: str, request: SimRequest, reply: SimReply) -> str | None:
    """Run the answer checks; return the first violation as text, None if all pass."""
    for check in list(_answer_checks):
        try:
            check(slug, request, reply)
        except Exception as error:  # noqa: BLE001 - whatever a check raises is its verdict
            return f"{slug} {request.method} {request.path}: {type(error).__name__}: {error}"
    return None


def check_callback(slug: str, method: str, url: str, headers: Mapping[str, str], body: bytes) -> str | None:
    """Run the webhook checks; return the first violation as text, None if all pass."""
    for check in list(_callback_checks):
        try:
            check(slug, method, url, headers, body)
        except Exception as error:  # noqa: BLE001 - whatever a check raises is its verdict
            return f"{slug} webhook {method} {url}: {type(error).__name__}: {error}"
    return None
