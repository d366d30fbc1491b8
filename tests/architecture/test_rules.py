"""Rules that hold for the whole tree and that no single feature's tests would notice being broken."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import call_command

from integrations import registry
from integrations.contracts.capabilities import Capability
from integrations.models.base import TenantOwned

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("integrations", "integrations_site", "payments", "webhooks")
LONGEST = 400
LONGER_WITH_REASON = {
    "integrations/migrations/0001_initial.py": "generated: a migration is one unit",
    "payments/migrations/0002_gateways.py": "generated: a migration is one unit",
    "integrations/messaging/migrations/0004_sending.py": "generated: a migration is one unit",
    "webhooks/outbound/migrations/0002_portal_grade.py": "generated: a migration is one unit",
}
SHARED_WITH_REASON = {
    "integrations.Tenant": "is the tenant",
    "integrations.User": "a person may be a member of several",
    "integrations.Provider": "the registry is the installation's",
    "integrations.Heartbeat": "processes serve all tenants",
    "integrations.BreakerState": "a provider that is down is down for all",
    "integrations.RateBucket": "its key names whose it is",
    "integrations.RateSlot": "its key names whose it is",
    "integrations.Alert": "may be about the installation, then it has no tenant",
    "webhooks_inbound.Receipt": "kept also where nobody could tell whose it is",
    "webhooks_inbound.Rejection": "counted also where nobody could tell whose it was",
}


def sources(*folders: str) -> Iterator[tuple[str, Path]]:
    """Yield (path from the repository's root, file) of each Python file."""
    for folder in folders:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            yield path.relative_to(REPOSITORY).as_posix(), path


CODE = [name for name, _path in sources(*PACKAGES)]
ALL = [name for name, _path in sources(*PACKAGES, "tests")]


def tree(name: str) -> ast.Module:
    return ast.parse((REPOSITORY / name).read_text("utf-8"), name)


def test_the_tree_was_found() -> None:
    assert len(CODE) > 200
    assert "integrations/runtime/worker.py" in CODE


def test_imports_point_down_only() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    ran = subprocess.run([linter, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "0 broken" in ran.stdout


def test_the_linters_layers_name_every_package_that_there_is() -> None:
    """A package that stands in no layer may import what it likes without the linter noticing."""
    import tomllib

    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    layered = {
        part.strip().removeprefix("(").removesuffix(")")
        for layer in settings["contracts"][0]["layers"]
        for part in layer.split("|")
    }
    free = {"integrations.management", "integrations.migrations", "integrations.admin", "integrations.apps"}
    found = {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for folder in ("integrations", "webhooks")
        for path in (REPOSITORY / folder).iterdir()
        if (path / "__init__.py").exists() or (path.suffix == ".py" and path.stem != "__init__")
    }
    assert found - free <= layered
    assert layered <= found | {"integrations_site", "payments", "fulfillment"}


@pytest.mark.parametrize("name", ALL)
def test_no_file_is_longer_than_can_be_read(name: str) -> None:
    lines = len((REPOSITORY / name).read_text("utf-8").splitlines())
    if name in LONGER_WITH_REASON:
        assert lines > LONGEST, "no longer needed in the list"
    else:
        assert lines <= LONGEST


def test_no_module_is_called_utils() -> None:
    bad = {"utils", "util", "helpers", "misc", "common"}
    assert [name for name in ALL if bad & set(Path(name).with_suffix("").parts)] == []


def test_no_wildcard_imports() -> None:
    found = [
        f"{name}:{node.lineno}"
        for name in ALL
        for node in ast.walk(tree(name))
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    ]
    settings = ("demo", "production", "test")  # Django settings extend by star import
    allowed = tuple(f"integrations_site/settings/{each}.py:" for each in settings)
    assert [place for place in found if not place.startswith(allowed)] == []
    assert len(found) == len(settings)


def _imports(name: str) -> Iterator[str]:
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("folder", ["integrations/contracts", "integrations/simulators"])
def test_contracts_and_simulators_know_no_django(folder: str) -> None:
    names = [name for name in CODE if name.startswith(f"{folder}/")]
    assert names
    banned = ("django", "rest_framework")
    found = {name: [each for each in _imports(name) if each.split(".")[0].startswith(banned)] for name in names}
    assert {name: each for name, each in found.items() if each} == {}


def test_provider_folders_know_no_django_outside_their_tests() -> None:
    names = [name for name in CODE if name.startswith("integrations/providers/") and "/tests/" not in name]
    assert len(names) > 15
    found = {name: [each for each in _imports(name) if each.split(".")[0] == "django"] for name in names}
    assert {name: each for name, each in found.items() if each} == {}


def test_only_the_registry_imports_provider_folders() -> None:
    slugs = tuple(f"integrations.providers.{slug}" for slug in registry.providers())
    found = [
        name
        for name in CODE
        if not name.startswith("integrations/providers/") and any(each.startswith(slugs) for each in _imports(name))
    ]
    assert found == []


# Sample data of the demo, the one place beside a provider's own folder that may name a provider.
MAY_NAME_PROVIDERS = (
    "integrations/management/samples.py",
    "integrations/management/commands/seed_demo.py",
    "integrations_site/demo/",
)


# A provider may be called like what it does; then the word is the capability's.
CHANNELS = {capability.value for capability in Capability}
# Words of a provider's own API that happen to be the name of another: how a payer may pay there, which push service serves.
METHOD_WORDS = {"flutterwave": {"mpesa"}, "pesapal": {"mpesa"}, "fcm": {"apns"}, "mailgun": {"smtp"}}


def test_no_provider_is_named_outside_its_own_folder() -> None:
    slugs = set(registry.providers())
    assert {"mpesa", "africastalking"} <= slugs
    found = []
    for name in CODE:
        if "/migrations/" in name or name.startswith(MAY_NAME_PROVIDERS):
            continue
        own = name.split("/")[2] if name.startswith("integrations/providers/") else ""
        for node in ast.walk(tree(name)):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and node.value in slugs - {own} - METHOD_WORDS.get(own, set()) - CHANNELS
            ):
                found.append(f"{name}:{node.lineno} {node.value}")
    assert found == []


def test_every_own_model_belongs_to_a_tenant_or_says_why_not() -> None:
    mine = [model for model in apps.get_models() if model.__module__.startswith(PACKAGES)]
    assert len(mine) > 25
    found = {model._meta.label for model in mine if not issubclass(model, TenantOwned)}
    assert found == set(SHARED_WITH_REASON)


def test_models_have_their_guarding_managers() -> None:
    for model in apps.get_models():
        if issubclass(model, TenantOwned):
            assert model._meta.base_manager_name == "unscoped", f"{model._meta.label}: Meta must extend TenantOwned.Meta"


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_nothing_is_left_to_do() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X")
    found = [name for name in ALL if any(mark in (REPOSITORY / name).read_text("utf-8") for mark in marks)]
    assert [name for name in found if name != "tests/architecture/test_rules.py"] == []
