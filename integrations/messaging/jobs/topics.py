"""The queue's job that has devices follow topics at providers that keep topics themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from integrations.contracts import clock
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import InvalidRequest, OutcomeUnknown, ProviderError
from integrations.messaging.push import devices
from integrations.messaging.reports import lock_addresses
from integrations.models import Attempt, QueueItem, QueueState
from integrations.runtime.alerts import raise_alert
from integrations.runtime.jobs import Call, ProviderJob
from integrations.secrets import SecretUnreadable

FOLLOW, UNFOLLOW = "follow", "unfollow"
AGAIN_AFTER = timedelta(hours=1)
ROUNDS = 5
"""How often a change whose answer got lost is asked for anew: doing it twice changes nothing."""


class TopicJob(ProviderJob):
    """Makes the provider agree with the registry on one device and one topic. What is to be done is looked up when it is done,
    and once more when the answer is written down: the registry may have changed meanwhile."""

    kind = devices.TOPICS_KIND

    def prepare(self, item: QueueItem) -> Call | None:
        given = item.payload
        token = self._token(item)
        if not token:
            raise InvalidRequest("The device's token can't be read any more: the key that it was sealed with has gone.")
        return Call(
            Capability.PUSH,
            FOLLOW if self._wanted(item, token) else UNFOLLOW,
            (given["topic"], (token,)),
            config_id=given["config"],
            provider=given["provider"],
        )

    def succeeded(self, item: QueueItem, result: dict[str, str]) -> None:
        token = self._token(item)
        lock_addresses(item.tenant_id, [token])
        done = Attempt.unscoped.filter(item=item).order_by("-fence").values_list("operation", flat=True).first()
        wanted = self._wanted(item, token)
        if (done == FOLLOW) != wanted:
            self._again(item, token)
        elif wanted and result.get(token):
            devices.drop_topic(tenant_id=item.tenant_id, token=token, topic=item.payload["topic"])

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        """The queue keeps the item, and a person may retry it."""
        if self._wanted(item, self._token(item)):
            self._alert(item, error)

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        token = self._token(item)
        number = item.key.count(".") + 1
        if number < ROUNDS:
            self._again(item, token, number=number)
        else:
            self._alert(item, error)
        return QueueState.COMPLETED

    @staticmethod
    def _token(item: QueueItem) -> str:
        """Return the token, '' where it can't be read any more: settling an item must not fail for that."""
        try:
            return devices.token_of(item.tenant_id, item.payload["token"])
        except SecretUnreadable:
            return ""

    @staticmethod
    def _wanted(item: QueueItem, token: str) -> bool:
        given: dict[str, Any] = item.payload
        return devices.should_follow(
            tenant_id=item.tenant_id,
            token=token,
            topic=given["topic"],
            provider=given["provider"],
            config_id=given["config"],
        )

    @staticmethod
    def _again(item: QueueItem, token: str, *, number: int = 0) -> None:
        # A key of its own: this item is still open, and would be taken for the new one.
        devices.tell_provider(
            tenant_id=item.tenant_id,
            token=token,
            topic=item.payload["topic"],
            provider=item.payload["provider"],
            config_id=item.payload["config"],
            key=f":{item.pk}" + "." * number,
            due_at=clock.now() + AGAIN_AFTER if number else None,
        )

    @staticmethod
    def _alert(item: QueueItem, error: ProviderError) -> None:
        raise_alert(
            tenant_id=item.tenant_id,
            kind="topic_not_followed",
            subject=item.payload["topic"],
            message=f"A device could not be made to follow the topic: {error.message}",
        )
