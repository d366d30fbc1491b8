"""Writing a tenant's fallback policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.messaging.models import Channel, FallbackPolicy, FallbackStep
from integrations.registry import UnknownProvider, get_provider

MAX_STEPS = 8
WRITABLE = ("name", "channel", "category", "after_minutes", "tries", "is_active")


def save_policy(
    *, policy: FallbackPolicy, values: Mapping[str, Any], steps: Sequence[tuple[str, str]] | None = None
) -> FallbackPolicy:
    """Write a new policy or change one; `steps`, (channel, provider or "") in their order, replace those it had.

    Raises `InvalidRequest` naming the first bad field, `Conflict` where the tenant has one for this channel and category.
    """
    for name in WRITABLE:
        if name in values:
            setattr(policy, name, values[name])
    try:
        policy.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        field, problems = next(iter(error.message_dict.items()))
        raise InvalidRequest(" ".join(problems), attr=field) from error
    if steps is not None:
        check_steps(policy.channel, steps)
    try:
        with transaction.atomic():
            policy.save()
            if steps is not None:
                _replace_steps(policy, steps)
    except IntegrityError as error:
        raise Conflict("There is a policy for this channel and category already.", attr="category") from error
    return policy


def check_steps(channel: str, steps: Sequence[tuple[str, str]]) -> None:
    """Raise `InvalidRequest` (attr `steps`, or `steps.0.provider`) where one leads nowhere."""
    if not 1 <= len(steps) <= MAX_STEPS:
        raise InvalidRequest(f"Give between one and {MAX_STEPS} steps.", attr="steps")
    for number, step in enumerate(steps):
        problem = step_problem(channel, *step)
        if problem:
            raise InvalidRequest(problem, attr=f"steps.{number}.{'provider' if step[1] else 'channel'}")
        if step in steps[:number]:
            raise InvalidRequest("The same way is there twice.", attr=f"steps.{number}")


def step_problem(channel: str, step_channel: str, provider: str) -> str:
    """Return what is wrong with a step of a channel's policy; empty where nothing is."""
    if channel == Channel.PUSH and step_channel == Channel.PUSH:
        return "A device is reached by one push service alone."
    if not provider:
        return ""
    try:
        able = step_channel in get_provider(provider).categories
    except UnknownProvider:
        return f"There is no provider {provider!r}."
    return "" if able else f"{provider} does not serve {Channel(step_channel).label}."


def _replace_steps(policy: FallbackPolicy, steps: Sequence[tuple[str, str]]) -> None:
    FallbackStep.unscoped.filter(policy=policy).delete()
    FallbackStep.unscoped.bulk_create(
        [
            FallbackStep(tenant_id=policy.tenant_id, policy=policy, number=number, channel=channel, provider=provider)
            for number, (channel, provider) in enumerate(steps, start=1)
        ]
    )
