"""Why a request is turned away, and with what."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from integrations.contracts.inbound import BadSignature, MalformedWebhook


class Reason(StrEnum):
    """What rejections are counted by. The value is also the `code` of the answer, where the caller may know it."""

    NOT_FOUND = "not_found"
    INACTIVE = "inactive"
    METHOD = "method_not_allowed"
    UNREADABLE = "unreadable"
    NO_LENGTH = "length_required"
    TOO_LARGE = "too_large"
    ENCODING = "unsupported_encoding"
    MALFORMED = "malformed"
    SIGNATURE = "bad_signature"
    REPLAY_WINDOW = "replay_window"
    IP = "ip_not_allowed"


STATUS = {
    Reason.NOT_FOUND: 404,
    # Not 410: senders drop an address for good at that, and a source that was switched off may come back. It also tells a
    # stranger nothing: a path that is off looks like one that never was.
    Reason.INACTIVE: 404,
    Reason.METHOD: 405,
    Reason.UNREADABLE: 400,
    Reason.NO_LENGTH: 411,
    Reason.TOO_LARGE: 413,
    Reason.ENCODING: 415,
    Reason.MALFORMED: 400,
    Reason.SIGNATURE: 401,
    Reason.REPLAY_WINDOW: 401,
    Reason.IP: 403,
}


class Refused(Exception):
    """The request is turned away. `detail` may be shown to the caller and never quotes the body. `allow`: the methods that the
    path takes, where it is not all that any source may use."""

    def __init__(self, reason: Reason, detail: str = "", *, allow: Sequence[str] = ()) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.allow = allow

    @property
    def status(self) -> int:
        return STATUS[self.reason]

    @property
    def code(self) -> str:
        """Return what the caller is told; that a path exists but is off is nobody's business."""
        return (Reason.NOT_FOUND if self.reason is Reason.INACTIVE else self.reason).value


class OutsideWindow(BadSignature):
    """The signature holds, and its time is too far from ours: recorded and sent again, or a clock is wrong."""


def refusal_of(error: BadSignature | MalformedWebhook) -> Refused:
    """Return an adapter's exception as a refusal. Why exactly a signature failed is for the tenant, not for the caller."""
    if isinstance(error, MalformedWebhook):
        return Refused(Reason.MALFORMED, str(error))
    return Refused(Reason.REPLAY_WINDOW if isinstance(error, OutsideWindow) else Reason.SIGNATURE)
