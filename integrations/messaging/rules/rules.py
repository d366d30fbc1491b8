"""Notification rules as people write them: checked, saved, tried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import ValidationError

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.ids import new_token
from integrations.events import EventTypesAsked, KnownEventType, ask_all
from integrations.messaging.jobs.notices import send, usable, words_of
from integrations.messaging.models import Channel, Message, NotificationRule
from integrations.messaging.rules.notices import KEY_PREFIX, MAX_ADDRESSES, PATH, patterns_of
from integrations.messaging.templates import Rendered, find_template

MAX_CONDITIONS = 20
WRITABLE = (
    "name", "event_type", "channel", "audience", "addresses", "template_name", "language", "category", "conditions",
    "delay_minutes", "is_active",
)  # fmt: skip
Audience = NotificationRule.Audience


def event_types() -> list[KnownEventType]:
    """Return the types of events that there are."""
    return ask_all(EventTypesAsked())


def patterns() -> list[str]:
    """Return what a rule's event type may be: a type, all of a kind (`payment.*`), or all (`*`)."""
    return sorted({pattern for each in event_types() for pattern in patterns_of(each.name)})


def sample_of(event_type: str) -> KnownEventType:
    """Return an invented event that the rule's type fits; raise `InvalidRequest` (attr `event_type`) where there is none."""
    for each in event_types():
        if event_type in patterns_of(each.name):
            return each
    raise InvalidRequest(f"There are no events of the type {event_type!r}.", attr="event_type")


def save_rule(*, rule: NotificationRule, values: Mapping[str, Any]) -> NotificationRule:
    """Write a new rule or change one; raises `InvalidRequest` naming the first bad field."""
    for name in WRITABLE:
        if name in values:
            setattr(rule, name, values[name])
    # To switch one off is possible whatever has become wrong with it.
    problems = problems_of(rule) if dict(values) != {"is_active": False} else {}
    if problems:
        field, problem = next(iter(problems.items()))
        raise InvalidRequest(problem, attr=field)
    rule.save()
    return rule


def problems_of(rule: NotificationRule) -> dict[str, str]:
    """Return {field: what is wrong with it}."""
    problems: dict[str, str] = {}
    try:
        rule.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        problems = {field: " ".join(texts) for field, texts in error.message_dict.items()}
    checks: dict[str, Callable[[], Any]] = {
        "event_type": lambda: sample_of(rule.event_type),
        "conditions": lambda: _check_conditions(rule.conditions),
        "addresses": lambda: _check_addresses(rule),
        "template_name": lambda: find_template(
            tenant=rule.tenant, channel=Channel(rule.channel), name=rule.template_name, language=rule.language
        ),
    }
    if not rule.is_active:
        del checks["template_name"]  # it may be written before its template is
    if "channel" in problems:
        checks = {name: check for name, check in checks.items() if name in ("event_type", "conditions")}
    for field, check in checks.items():
        try:
            if field not in problems:
                check()
        except InvalidRequest as error:
            problems["language" if error.attr == "language" else field] = error.message
    return problems


def preview(rule: NotificationRule) -> Rendered:
    """Return what the rule would say of an invented event. Raises `InvalidRequest` naming what the template lacks."""
    sample = sample_of(rule.event_type)
    return words_of(rule, about=sample.example, event_type=sample.name)


def send_test(*, rule: NotificationRule, to: str, actor: str) -> Message:
    """Send the rule's message about an invented event to one address, whether the rule is on or off; return it.

    Raises `InvalidRequest` (attr `to` for the address), `NotConfigured` and as the channel's own service.
    """
    good, _bad = usable(rule.channel, [to.strip()], tenant=rule.tenant)
    if not good:
        raise InvalidRequest("This is no address of the rule's channel.", attr="to")
    sample = sample_of(rule.event_type)
    return send(
        rule,
        to=good,
        about=sample.example,
        event_type=sample.name,
        key=f"{KEY_PREFIX}{rule.pk}:test:{new_token()}",
        created_by=f"{actor}, trying the rule {rule.name}",
    )


def _check_conditions(conditions: Any) -> None:
    if not isinstance(conditions, Mapping):
        raise InvalidRequest('Give an object: {"currency": "KES"}.', attr="conditions")
    if len(conditions) > MAX_CONDITIONS:
        raise InvalidRequest(f"At most {MAX_CONDITIONS} conditions.", attr="conditions")
    for path, value in conditions.items():
        if not PATH.fullmatch(path) or len(path) > 200:
            raise InvalidRequest(f"{path[:50]!r} is no path such as reference.type.", attr="conditions")
        if not (value is None or isinstance(value, str | int | float)) or "\0" in str(value):
            raise InvalidRequest(f"{path} is compared with a text, a number, true, false or null.", attr="conditions")


def _check_addresses(rule: NotificationRule) -> None:
    given = [line.strip() for line in rule.addresses.splitlines() if line.strip()]
    if rule.audience == Audience.PAYER:
        if given:
            raise InvalidRequest("The payer's address is told by the event.", attr="addresses")
        return
    if rule.audience == Audience.FIELD:
        if len(given) != 1 or not PATH.fullmatch(given[0]):
            raise InvalidRequest("Name one field by its path, such as customer.email.", attr="addresses")
        return
    if not given:
        raise InvalidRequest("Give at least one address.", attr="addresses")
    if len(given) > MAX_ADDRESSES:
        raise InvalidRequest(f"At most {MAX_ADDRESSES} addresses.", attr="addresses")
    _good, bad = usable(rule.channel, given, tenant=rule.tenant)
    if bad:
        raise InvalidRequest(f"No address of this channel: {', '.join(bad)[:200]}.", attr="addresses")
