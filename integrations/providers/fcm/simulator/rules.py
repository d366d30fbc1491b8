"""What a send request may hold. The members come from Google's description of the API (revision 20261023); names are taken in
camelCase and in snake_case, as Google does. Limits: "FCM error codes" and the REST reference, 2026-11.
"""

from __future__ import annotations

import re
from typing import Any

from integrations.providers.fcm.simulator.answers import bad_field, bad_value, too_big
from integrations.simulators.wire import Json

TEXT, FLAG, WHOLE, NUMBER, TEXTS, MAP, FREE, DURATION = (
    "TYPE_STRING", "TYPE_BOOL", "TYPE_INT32", "TYPE_DOUBLE", "list", "map", "struct", "duration",
)  # fmt: skip

COLOR = dict.fromkeys(("red", "green", "blue", "alpha"), NUMBER)
LIGHT = {"color": COLOR, "light_on_duration": DURATION, "light_off_duration": DURATION}
LABEL = {"analytics_label": TEXT}
ANDROID_NOTIFICATION = {
    **dict.fromkeys(("title", "body", "icon", "color", "sound", "tag", "click_action", "body_loc_key", "title_loc_key"), TEXT),
    **dict.fromkeys(("channel_id", "ticker", "event_time", "image"), TEXT),
    **dict.fromkeys(("sticky", "local_only", "default_sound", "default_vibrate_timings", "default_light_settings"), FLAG),
    **dict.fromkeys(("body_loc_args", "title_loc_args", "vibrate_timings"), TEXTS),
    "bypass_proxy_notification": FLAG,
    "notification_count": WHOLE,
    "notification_priority": frozenset(f"PRIORITY_{each}" for each in ("UNSPECIFIED", "MIN", "LOW", "DEFAULT", "HIGH", "MAX")),
    "visibility": frozenset({"VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"}),
    "proxy": frozenset({"PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"}),
    "light_settings": LIGHT,
}
MESSAGE: Json = {
    **dict.fromkeys(("name", "token", "fid", "topic", "condition"), TEXT),
    "data": MAP,
    "notification": dict.fromkeys(("title", "body", "image"), TEXT),
    "android": {
        **dict.fromkeys(("collapse_key", "restricted_package_name"), TEXT),
        **dict.fromkeys(("direct_boot_ok", "bandwidth_constrained_ok", "restricted_satellite_ok"), FLAG),
        # Described in upper case, taken in lower case too.
        "priority": frozenset({"NORMAL", "HIGH", "normal", "high"}),
        "ttl": DURATION,
        "data": MAP,
        "notification": ANDROID_NOTIFICATION,
        "fcm_options": LABEL,
    },
    "apns": {"headers": MAP, "payload": FREE, "live_activity_token": TEXT, "fcm_options": {**LABEL, "image": TEXT}},
    "webpush": {"headers": MAP, "data": MAP, "notification": FREE, "fcm_options": {**LABEL, "link": TEXT}},
    "fcm_options": LABEL,
}
REQUEST: Json = {"validate_only": FLAG, "message": MESSAGE}

LONGEST_TTL = 28 * 86_400
PAYLOAD, TOPIC_PAYLOAD = 4096, 2048
RESERVED = re.compile(r"from|message_type|(google|gcm\.notification)\..*")
TOPIC = re.compile(r"[A-Za-z0-9_.~%-]+")


def read_request(body: Json) -> Json:
    """Return the request with snake_case names; raise `Refusal` as Google's front end and then FCM itself would."""
    request: Json = _object(body, REQUEST, "")
    message = request.get("message")
    if not message:
        raise bad_value("message", "Recipient of the message is not set.")
    targets = [name for name in ("token", "fid", "topic", "condition") if message.get(name)]
    if not targets:
        raise bad_value("message", "Recipient of the message is not set.")
    if len(targets) > 1:
        raise bad_field("message", "Invalid value at 'message' (oneof), oneof field 'target' is already set.")
    if "topic" in message and not TOPIC.fullmatch(message["topic"]):
        raise bad_value("message.topic", "Invalid topic name.")
    for key in message.get("data", {}):
        if RESERVED.fullmatch(key):
            raise bad_value("message.data", f"Invalid data payload key: {key}")
    _check_android(message.get("android", {}))
    link = message.get("webpush", {}).get("fcm_options", {}).get("link", "")
    if link and not link.startswith("https://"):
        raise bad_value("message.webpush.fcm_options.link", "Invalid link: HTTPS is required.")
    if _size(message) > (TOPIC_PAYLOAD if "topic" in message or "condition" in message else PAYLOAD):
        raise too_big()
    return request


def _check_android(android: Json) -> None:
    seconds = float(str(android.get("ttl", "0s")).removesuffix("s"))
    if not 0 <= seconds <= LONGEST_TTL:
        raise bad_value("message.android.ttl", "Invalid TTL value: it must be between 0 and 2419200 seconds.")


def _size(message: Json) -> int:
    """Return the bytes of data (names and values) and of what is shown."""
    data, shown = message.get("data", {}), message.get("notification", {})
    return sum(len(f"{key}{value}".encode()) for key, value in data.items()) + sum(
        len(text.encode()) for text in shown.values()
    )


def _object(value: Any, members: Json, path: str) -> Json:
    if not isinstance(value, dict):
        raise bad_field(path, f"Invalid value at '{path}' (type), expected an object")
    found: Json = {}
    for given, item in value.items():
        name = re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1].lower(), given)
        if name not in members:
            raise bad_field(path, f"Invalid JSON payload received. Unknown name \"{given}\" at '{path}': Cannot find field.")
        if item is not None:  # null is the same as absent
            found[name] = _value(item, members[name], f"{path}.{given}" if path else given)
    return found


def _value(value: Any, kind: Any, path: str) -> Any:
    if isinstance(kind, dict):
        return _object(value, kind, path)
    if kind == MAP:
        return _map(value, path)
    if isinstance(kind, frozenset):
        fits = isinstance(value, str) and value in kind
    else:
        fits = {
            TEXT: isinstance(value, str),
            FLAG: isinstance(value, bool),
            WHOLE: isinstance(value, int) and not isinstance(value, bool),
            NUMBER: isinstance(value, int | float) and not isinstance(value, bool),
            TEXTS: isinstance(value, list) and all(isinstance(each, str) for each in value),
            FREE: isinstance(value, dict),
            DURATION: isinstance(value, str) and re.fullmatch(r"-?\d{1,12}(\.\d{1,9})?s", value) is not None,
        }[kind]
    if not fits:
        shown = "TYPE_ENUM" if isinstance(kind, frozenset) else kind
        raise bad_field(path, f"Invalid value at '{path}' ({shown}), {str(value)[:60]}")
    return value


def _map(value: Any, path: str) -> Json:
    if not isinstance(value, dict):
        raise bad_field(path, f"Invalid value at '{path}' (map), expected an object")
    for index, item in enumerate(value.values()):
        if not isinstance(item, str):
            where = f"{path}[{index}].value"
            raise bad_field(where, f"Invalid value at '{where}' (TYPE_STRING), {str(item)[:60]}")
    return value
