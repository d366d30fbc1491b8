"""How a call that may be refused ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from integrations.contracts.errors import Conflict, Declined, InvalidRequest, NotFound, ProviderError, UnsupportedOperation

T = TypeVar("T")
REFUSALS = (InvalidRequest, Conflict, UnsupportedOperation, NotFound, Declined)
"""Nothing was done, and asking again can't help."""


def attempt(call: Callable[[], T]) -> T | ProviderError:
    """Return what a call brings, its error where it raises one."""
    try:
        return call()
    except ProviderError as error:
        return error
