"""Access tokens shared by all processes: fetched by one at a time, sealed, fenced."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from integrations.contracts.adapter import FetchedToken
from integrations.contracts.errors import ProviderUnavailable
from integrations.http.masking import MASK, Mask
from integrations.models import Config, OAuthToken, Tenant
from integrations.oauth_client import tokens
from integrations.oauth_client.tokens import CallTokens, StoredTokens
from tests.factories import MovableClock
from tests.runtime.support import together

pytestmark = pytest.mark.django_db


class Fetcher:
    """Gives t1, t2, ...; counts; `during` runs within the first fetch."""

    def __init__(self, seconds: float = 3600, during: Callable[[], None] | None = None) -> None:
        self.count = 0
        self._seconds = seconds
        self._during = during
        self._lock = threading.Lock()

    def __call__(self) -> FetchedToken:
        with self._lock:
            self.count += 1
            number = self.count
        if number == 1 and self._during is not None:
            self._during()
        return FetchedToken(f"token-{number}", self._seconds)


@pytest.fixture
def stored(tenant: Tenant, config: Config, clock: MovableClock) -> Callable[..., StoredTokens]:
    def make(mask: Mask | None = None) -> StoredTokens:
        return StoredTokens(tenant_id=tenant.pk, config_id=config.pk, mask=mask or Mask())

    return make


@pytest.mark.django_db(transaction=True)
def test_thirty_at_once_make_one_fetch(stored: Callable[..., StoredTokens]) -> None:
    fetch = Fetcher(during=lambda: time.sleep(0.2))  # long enough that everybody has come to wait
    assert together(30, lambda _n: stored().access_token(fetch)) == ["token-1"] * 30
    assert fetch.count == 1


@pytest.mark.django_db(transaction=True)
def test_thirty_whose_token_was_rejected_make_one_new_fetch(stored: Callable[..., StoredTokens]) -> None:
    fetch = Fetcher()
    assert stored().access_token(fetch) == "token-1"
    got = together(30, lambda _n: stored().access_token(fetch, rejected="token-1"))
    assert got == ["token-2"] * 30
    assert fetch.count == 2


def test_an_old_rejected_token_does_not_drop_the_new_one(stored: Callable[..., StoredTokens]) -> None:
    fetch = Fetcher()
    stored().access_token(fetch)
    stored().access_token(fetch, rejected="token-1")
    assert stored().access_token(fetch, rejected="token-1") == "token-2"
    assert fetch.count == 2


def test_it_is_kept_until_a_minute_before_it_expires(stored: Callable[..., StoredTokens], clock: MovableClock) -> None:
    fetch = Fetcher(seconds=3600)
    assert stored().access_token(fetch) == "token-1"
    clock.advance(3600 - 61)
    assert stored().access_token(fetch) == "token-1"
    clock.advance(1)
    assert stored().access_token(fetch) == "token-2"


def test_a_very_short_lived_token_is_used_once(stored: Callable[..., StoredTokens], clock: MovableClock) -> None:
    fetch = Fetcher(seconds=5)
    assert stored().access_token(fetch) == "token-1"
    clock.advance(1)
    assert stored().access_token(fetch) == "token-2"


def test_it_is_sealed_at_rest_and_masked_from_now_on(stored: Callable[..., StoredTokens]) -> None:
    mask = Mask()
    stored(mask).access_token(Fetcher())
    row = OAuthToken.unscoped.get()
    assert "token-1" not in row.sealed
    assert row.sealed != ""
    assert mask.text("Bearer token-1") == f"Bearer {MASK}"
    other = Mask()
    stored(other).access_token(Fetcher())
    assert other.text("Bearer token-1") == f"Bearer {MASK}"


def test_a_fetch_that_fails_frees_the_way_at_once(stored: Callable[..., StoredTokens]) -> None:
    def refuse() -> FetchedToken:
        raise ProviderUnavailable("down")

    with pytest.raises(ProviderUnavailable):
        stored().access_token(refuse)
    row = OAuthToken.unscoped.get()
    assert (row.lease, row.lease_until, row.sealed) == (None, None, "")
    assert stored().access_token(Fetcher()) == "token-1"


def test_the_lease_of_a_fetcher_that_died_lapses(
    stored: Callable[..., StoredTokens], clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "WAIT_SECONDS", 0.0)
    token, lease, _version = stored()._look(None)  # it got the lease, and died
    assert token == ""
    assert lease is not None
    with pytest.raises(ProviderUnavailable):
        stored().access_token(Fetcher())
    clock.advance(tokens.LEASE.total_seconds() + 1)
    assert stored().access_token(Fetcher()) == "token-1"


def test_a_late_fetcher_does_not_overwrite_what_was_stored_meanwhile(
    stored: Callable[..., StoredTokens], clock: MovableClock
) -> None:
    newer: list[str] = []

    def meanwhile() -> None:
        clock.advance(tokens.LEASE.total_seconds() + 1)
        newer.append(stored().access_token(lambda: FetchedToken("newer", 3600)))

    late = stored().access_token(Fetcher(during=meanwhile))

    assert (late, newer) == ("token-1", ["newer"])
    assert stored().access_token(Fetcher()) == "newer"
    assert OAuthToken.unscoped.get().version == 2


def test_a_token_sealed_with_a_key_that_has_left_is_fetched_anew(stored: Callable[..., StoredTokens], settings: object) -> None:
    stored().access_token(Fetcher())
    OAuthToken.unscoped.update(sealed="gone.AAAA")
    assert stored().access_token(lambda: FetchedToken("fresh", 3600)) == "fresh"


def test_each_config_has_its_own(tenant: Tenant, stored: Callable[..., StoredTokens], config: Config) -> None:
    from tests.runtime.conftest import config_for

    second = config_for(tenant, label="second")
    fetch = Fetcher()
    assert stored().access_token(fetch) == "token-1"
    assert StoredTokens(tenant_id=tenant.pk, config_id=second.pk, mask=Mask()).access_token(fetch) == "token-2"
    assert stored().access_token(fetch) == "token-1"


def test_without_a_row_a_token_lives_for_one_call() -> None:
    mask, fetch = Mask(), Fetcher()
    held = CallTokens(mask)
    assert [held.access_token(fetch), held.access_token(fetch)] == ["token-1", "token-1"]
    assert held.access_token(fetch, rejected="token-1") == "token-2"
    assert mask.text("token-1 token-2") == f"{MASK} {MASK}"


def test_the_margin_is_a_minute() -> None:
    assert timedelta(seconds=60) == tokens.EARLY
