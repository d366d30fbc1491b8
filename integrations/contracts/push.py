"""The push capability: notifications to apps on devices."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from integrations.contracts.adapter import Adapter
from integrations.contracts.errors import UnsupportedOperation
from integrations.contracts.messaging import RecipientResult, Target


@dataclass(frozen=True, slots=True)
class PushNotification:
    """A notification to one device (`target`), or to all that follow `topic` (without prefix); just one of the two.

    Without `title` and `body` it is silent: only `data` reaches the app. `collapse_key` (at most 64 bytes): a later one with
    the same key replaces it on the device, so that a second try shows nothing twice. `ttl` in seconds; 0: now or never.
    `device_environment` is `sandbox` for a device that runs a development build, where the provider tells them apart;
    `app` the app's own id there, where the config serves several.
    """

    message_id: str
    target: Target | None = None
    topic: str = ""
    title: str = ""
    body: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    image_url: str = ""
    link: str = ""
    sound: str = ""
    badge: int | None = None
    collapse_key: str = ""
    ttl: int | None = None
    urgent: bool = True
    device_environment: str = ""
    app: str = ""

    @property
    def silent(self) -> bool:
        return not (self.title or self.body)


class PushAdapter(Adapter):
    """Sends push notifications, one target a call. No provider tells whether a notification arrived: SENT is the end.

    A lost answer is `Undecided` where `collapse_key` is set (a second one replaces the first), else `OutcomeUnknown`.
    """

    has_topics: bool = False
    platforms: frozenset[str] = frozenset()
    """The kinds of devices it reaches: `android`, `ios`, `web`."""

    @abstractmethod
    def send(self, notification: PushNotification) -> RecipientResult:
        """Send once. A device that is gone is a FAILED result with `suppress` DEAD_TOKEN. The result's `address` is the
        device token, or the topic."""

    def follow(self, topic: str, tokens: tuple[str, ...]) -> dict[str, str]:
        """Have these devices follow a topic; return {token: problem} of those that could not."""
        raise UnsupportedOperation("This provider has no topics.", provider=self.config.provider)

    def unfollow(self, topic: str, tokens: tuple[str, ...]) -> dict[str, str]:
        """The reverse of `follow`."""
        raise UnsupportedOperation("This provider has no topics.", provider=self.config.provider)
