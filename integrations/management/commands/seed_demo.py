"""`manage.py seed_demo [--json]`: two tenants with people, keys and simulator accounts, to try the hub with."""

from __future__ import annotations

import json
import secrets
from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from integrations import registry
from integrations.configs import services
from integrations.contracts import clock
from integrations.contracts.capabilities import Environment
from integrations.contracts.provider import Provider
from integrations.management import samples
from integrations.models import ApiKey, Config, Membership, PrimaryConfig, Role, Tenant, User
from integrations.runtime import schedules
from integrations.simulators import DemoAccount, default_state_dir
from integrations.tenancy.authentication import create_api_key

KEY_NAME = "seed_demo"
# Of several providers of a category the one that the demo's walk goes through; a later choice in the console stands.
PRIMARIES = {"payment": "mpesa", "email": "sendgrid", "push": "fcm", "whatsapp": "whatsapp"}
SUPERUSER = "operator"


@dataclass(frozen=True, slots=True)
class Organisation:
    """`account` names its accounts at the simulated providers; `short` begins its users' names."""

    slug: str
    name: str
    account: str
    short: str


ORGANISATIONS = (
    Organisation("springfield-school", "Springfield School", "school", "school"),
    Organisation("lens-and-light", "Lens & Light Studio", "studio", "studio"),
)


class Command(BaseCommand):
    """Safe to run again: rows are kept, passwords and API keys are made anew (the older seeded keys are revoked). Refused
    outside of demo and test settings."""

    help = "Create two demo tenants with users, API keys, simulator configs and sample rows, and print how to log in."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEMO:
            raise CommandError("seed_demo works with the demo's settings only: here it would add known tenants to real ones.")
        with transaction.atomic():
            answer = seed(default_state_dir())
        if options["json"]:
            self.stdout.write(json.dumps(answer, indent=2))
            return
        self.stdout.write(f"hub         {answer['base_url']}\nsimulators  {answer['simulator_url']}")
        operator = answer["superuser"]
        self.stdout.write(f"superuser   {operator['username']}  {operator['password']}")
        for tenant in answer["tenants"]:
            self.stdout.write(f"\n{tenant['name']} ({tenant['slug']})\n  API key  {tenant['api_key']}")
            for role in ("admin", "staff"):
                self.stdout.write(f"  {role:<7}  {tenant[role]['username']}  {tenant[role]['password']}")


def seed(state_dir: Path) -> dict[str, Any]:
    """Write everything, in the caller's transaction; return what `--json` prints. `state_dir` is the simulators'."""
    registry.sync_rows()
    schedules.ensure()
    operator = _user(SUPERUSER, is_superuser=True)
    return {
        "base_url": settings.PUBLIC_BASE_URL,
        "simulator_url": settings.SIMULATOR_URL,
        "superuser": operator,
        "tenants": [_organisation(each, state_dir) for each in ORGANISATIONS],
    }


def _organisation(given: Organisation, state_dir: Path) -> dict[str, Any]:
    tenant, _ = Tenant.objects.update_or_create(slug=given.slug, defaults={"name": given.name, "is_active": True})
    people = {}
    for role in (Role.ADMIN, Role.STAFF):
        people[role.value] = _user(f"{given.short}-{role.value}")
        user = User.objects.get(username=people[role.value]["username"])
        Membership.unscoped.update_or_create(tenant=tenant, user=user, defaults={"role": role, "is_active": True})
    ApiKey.unscoped.filter(tenant=tenant, name=KEY_NAME, revoked_at__isnull=True).update(revoked_at=clock.now())
    _row, key = create_api_key(tenant=tenant, name=KEY_NAME)
    for provider in registry.providers().values():
        _config(tenant, provider, given.account, state_dir)
    samples.create(tenant)
    return {"slug": tenant.slug, "name": tenant.name, "api_key": key, **people}


def _user(username: str, *, is_superuser: bool = False) -> dict[str, str]:
    """Create the user or give him a new password; he may enter the admin, where his memberships say what he sees."""
    password = secrets.token_urlsafe(12)
    user = User.objects.filter(username=username).first() or User(username=username)
    user.is_staff, user.is_superuser, user.is_active = True, is_superuser, True
    user.set_password(password)
    user.save()
    return {"username": username, "password": password}


def _config(tenant: Tenant, provider: Provider, account: str, state_dir: Path) -> None:
    """Give the tenant its simulator account at the provider, or bring the stored one up to date."""
    simulator = provider.simulator_class()
    if simulator is None:
        return
    found: dict[str, DemoAccount] = {each.label: each for each in simulator.demo_accounts(state_dir)}
    if account not in found:
        return
    values = {**found[account].values, **found[account].secrets}
    if any(field.name == "sender_address" for field in provider.config):
        values.setdefault("sender_address", f"office@{tenant.slug}.example")
    stored = Config.unscoped.filter(tenant=tenant, provider_id=provider.slug, environment=Environment.SIMULATOR.value).order_by(
        "pk"
    )
    config = stored.first()
    is_new = config is None
    if config is None:
        config = services.create_config(
            tenant=tenant,
            provider=provider.slug,
            environment=Environment.SIMULATOR.value,
            values=values,
            label="Simulator",
        )
    else:
        config = services.update_config(config=config, values=values)
    for category in provider.categories:
        chosen = PrimaryConfig.unscoped.filter(tenant=tenant, category=category).exists()
        if config.is_active and (not chosen or (is_new and PRIMARIES.get(category) == provider.slug)):
            services.set_primary(config=config, category=category)
