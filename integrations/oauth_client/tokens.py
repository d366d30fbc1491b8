"""The token store: one fetch at a time across all processes, no transaction open while it runs, sealed at rest."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import timedelta

from django.db import transaction
from django.db.models import F

from integrations.contracts import clock
from integrations.contracts.adapter import FetchedToken
from integrations.contracts.errors import ProviderUnavailable
from integrations.http.masking import Mask
from integrations.models import OAuthToken
from integrations.secrets import SecretUnreadable, open_sealed, seal

EARLY = timedelta(seconds=60)
LEASE = timedelta(seconds=40)
WAIT_SECONDS = 30.0
POLL_SECONDS = 0.05


class StoredTokens:
    """The `TokenPort` of a config that has a row. Losers of the race wait for the winner and adopt what it stored."""

    def __init__(self, *, tenant_id: int, config_id: int, mask: Mask) -> None:
        self._tenant_id = tenant_id
        self._config_id = config_id
        self._mask = mask

    def access_token(self, fetch: Callable[[], FetchedToken], *, rejected: str | None = None) -> str:
        """See `TokenPort`. Raises what `fetch` raises; `ProviderUnavailable` where another's fetch takes too long."""
        if token := self._stored(rejected):
            self._mask.add(token)
            return token
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            token, lease, version = self._look(rejected)
            if token:
                self._mask.add(token)
                return token
            if lease is not None:
                return self._fetch(fetch, lease, version)
            if time.monotonic() > deadline:
                raise ProviderUnavailable("Waited too long for another process to fetch the access token.")
            time.sleep(POLL_SECONDS)

    def _stored(self, rejected: str | None) -> str:
        """Return the stored token where it is good, else nothing. Takes no lock: that is for those who have to fetch one."""
        good = OAuthToken.unscoped.filter(config_id=self._config_id, expires_at__gt=clock.now())
        row = good.only("sealed").first()
        token = "" if row is None else self._open(row)
        return "" if token == rejected else token

    def _look(self, rejected: str | None) -> tuple[str, uuid.UUID | None, int]:
        """Return (a valid token, no lease), (nothing, our lease to fetch), or (nothing, None): somebody else fetches."""
        now = clock.now()
        with transaction.atomic():
            OAuthToken.unscoped.get_or_create(config_id=self._config_id, defaults={"tenant_id": self._tenant_id})
            row = OAuthToken.unscoped.select_for_update().get(config_id=self._config_id)
            stored = self._open(row)
            if stored and stored != rejected and row.expires_at and row.expires_at > now:
                return stored, None, row.version
            if row.lease is not None and row.lease_until and row.lease_until > now:
                return "", None, row.version
            lease = uuid.uuid4()
            OAuthToken.unscoped.filter(pk=row.pk).update(lease=lease, lease_until=now + LEASE, version=F("version") + 1)
            return "", lease, row.version + 1

    def _open(self, row: OAuthToken) -> str:
        try:
            return str(open_sealed(self._tenant_id, row.sealed)) if row.sealed else ""
        except SecretUnreadable:
            return ""  # sealed with a key that has left the keyring: a new one is fetched

    def _fetch(self, fetch: Callable[[], FetchedToken], lease: uuid.UUID, version: int) -> str:
        mine = OAuthToken.unscoped.filter(config_id=self._config_id, lease=lease, version=version)
        try:
            fetched = fetch()
        except BaseException:
            mine.update(lease=None, lease_until=None)
            raise
        self._mask.add(fetched.access_token)
        # A token that lives shorter than the safety margin is still used once, rather than never.
        lifetime = timedelta(seconds=fetched.expires_in)
        mine.update(
            sealed=seal(self._tenant_id, fetched.access_token),
            expires_at=clock.now() + max(lifetime - EARLY, timedelta(seconds=1)),
            lease=None,
            lease_until=None,
        )
        return fetched.access_token


class CallTokens:
    """The `TokenPort` of a config without a row (installation-wide): remembered for one call only."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._token = ""

    def access_token(self, fetch: Callable[[], FetchedToken], *, rejected: str | None = None) -> str:
        if not self._token or self._token == rejected:
            self._token = fetch().access_token
            self._mask.add(self._token)
        return self._token
