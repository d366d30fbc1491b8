"""Carries out one call to a provider: resolve > breaker > rate limit > adapter > client. Names no provider, no capability."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from integrations.contracts import clock
from integrations.contracts.errors import OutcomeUnknown, ProviderError, ProviderUnavailable, Throttled
from integrations.contracts.wire import WireError
from integrations.http.client import HttpClient, refuse_inside_transaction
from integrations.http.http2 import Http2Client, account_of
from integrations.http.masking import Mask, secrets_in_use
from integrations.models import QueueItem
from integrations.oauth_client.tokens import CallTokens, StoredTokens
from integrations.registry import build_adapter, get_provider
from integrations.runtime import breaker, rate_limit
from integrations.runtime.jobs import Call
from integrations.runtime.recorder import CallRecorder, best_effort
from integrations.runtime.resolve import resolve

logger = structlog.get_logger(__name__)


def execute(
    call: Call, *, tenant_id: int, item: QueueItem | None = None, before_effect: Callable[[], None] | None = None
) -> Any:
    """Make the call once and return the adapter's result; raise a `ProviderError` for everything else.

    Called outside of any transaction. `before_effect` is called once, before the first byte that may have an effect; what
    it raises stops the call with nothing sent.
    """
    refuse_inside_transaction()
    view = resolve(call, tenant_id=tenant_id)
    provider = get_provider(view.provider)
    secrets = [str(value) for value in view.secrets.values() if value]
    mask = Mask(keys={*provider.masked_keys, *provider.config.secret_names}, secrets=secrets)
    recorder = CallRecorder(tenant_id=tenant_id, view=view, call=call, item_id=item.pk if item else None)
    effect = Effect(before_effect)
    open_http = partial(Http2Client, account=account_of(view)) if provider.http2 else HttpClient
    tokens = CallTokens(mask) if view.id is None else StoredTokens(tenant_id=tenant_id, config_id=view.id, mask=mask)
    passage = breaker.check(view)
    try:
        turn = rate_limit.enter(view, provider, call.operation, item=item)
    except Throttled:
        passage.withdraw()
        raise
    with turn, secrets_in_use(secrets):
        http = open_http(
            provider=view.provider,
            base_url=view.base_url,
            mask=mask,
            recorder=turn.watching(recorder),
            timeout=provider.timeout,
            before_effect=effect.begin,
        )
        adapter = build_adapter(view, call.capability, http=http, tokens=tokens, clock=clock.now)
        try:
            result = getattr(adapter, call.operation)(*call.arguments)
        except ProviderError as error:
            error.provider = error.provider or view.provider
            error.message = mask.text(error.message)
            error.args = (error.message,)
            best_effort(partial(passage.record, error), "breaker_not_told")
            recorder.judged(ok=False, external_reference="", detail=error.message)
            raise
        except WireError as error:
            failure = effect.failure(f"The provider's answer could not be read: {error}.", view.provider)
            best_effort(partial(passage.record, failure), "breaker_not_told")
            recorder.judged(ok=False, external_reference="", detail=failure.message)
            raise failure from error
        except BaseException:
            recorder.close()
            raise
    best_effort(partial(passage.record, None), "breaker_not_told")
    recorder.judged(ok=True, external_reference=str(getattr(result, "provider_ref", "") or ""), detail="")
    return result


class Effect:
    """Remembers whether anything with an effect was sent in this call."""

    def __init__(self, before: Callable[[], None] | None) -> None:
        self._before = before
        self.begun = False

    def begin(self) -> None:
        if not self.begun and self._before is not None:
            self._before()
        self.begun = True

    def failure(self, message: str, provider: str) -> ProviderError:
        """Return the error for an answer nobody can read: unknown once an effect was sent, harmless before."""
        kind = OutcomeUnknown if self.begun else ProviderUnavailable
        return kind(message, provider=provider)
