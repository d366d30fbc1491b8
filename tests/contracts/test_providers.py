"""What every provider folder must offer, whichever it is: a new one is held to all of this without an edit here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from integrations import registry
from integrations.contracts.adapter import Adapter, TestResult
from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.email import EmailAdapter
from integrations.contracts.errors import AuthenticationFailed, InvalidRequest, ProviderUnavailable, UnsupportedOperation
from integrations.contracts.money import Money
from integrations.contracts.payment_adapter import PaymentAdapter
from integrations.contracts.payment_features import GatewayOperation, MethodType
from integrations.contracts.provider import Provider
from integrations.contracts.push import PushAdapter
from integrations.contracts.schema import SchemaErrors
from integrations.contracts.sms import SmsAdapter
from integrations.contracts.whatsapp import WhatsAppAdapter
from integrations.http.client import Exchange
from integrations.simulators import Simulator, running_simulators
from tests.contracts.accounts import accounts, connect

PROVIDERS = list(registry.providers().values())
WITH_ADAPTERS = [(provider, capability) for provider in PROVIDERS for capability in provider.adapters]
# What an adapter of a capability must be. A capability that gets its first provider gets its line here.
BASES: Mapping[Capability, type[Adapter]] = {
    Capability.PAYMENT: PaymentAdapter,
    Capability.SMS: SmsAdapter,
    Capability.EMAIL: EmailAdapter,
    Capability.PUSH: PushAdapter,
    Capability.WHATSAPP: WhatsAppAdapter,
}


# What an adapter must implement for each operation that it declares.
NEEDED = (
    ("capture", "capture"),
    ("capture", "capture_status"),
    ("void", "void"),
    ("cancel", "void"),
    ("refund", "refund"),
    ("refund", "refund_status"),
    ("setup", "setup"),
    ("setup", "setup_status"),
    ("transactions", "transactions"),
    ("receipt", "receipt_status"),
)


def slug_of(value: Any) -> str:
    return value.slug if isinstance(value, Provider) else str(value)


each_provider = pytest.mark.parametrize("provider", PROVIDERS, ids=slug_of)
each_adapter = pytest.mark.parametrize(("provider", "capability"), WITH_ADAPTERS, ids=slug_of)


def folder(provider: Provider) -> Path:
    return Path(__file__).resolve().parents[2] / provider.package.replace(".", "/")


def simulator_of(provider: Provider) -> type[Simulator]:
    found = provider.simulator_class()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[running_simulators]:
    with running_simulators(registry.simulators(), state_dir=tmp_path_factory.mktemp("simulators")) as found:
        yield found


# --- the declaration and the folder


def test_the_registry_finds_providers() -> None:
    assert len(PROVIDERS) >= 2
    assert len(WITH_ADAPTERS) >= len(PROVIDERS)


@each_provider
def test_the_folder_is_whole(provider: Provider) -> None:
    where = folder(provider)
    assert where.name == provider.package.rpartition(".")[2]
    for name in ("README.md", "__init__.py", "provider.py", "adapter.py", "fixtures/SOURCES.md"):
        assert (where / name).is_file(), name
    assert len((where / "README.md").read_text("utf-8")) > 500
    assert list((where / "tests").rglob("test_*.py")), "tests"
    assert list((where / "fixtures").glob("*.*")), "fixtures"
    assert provider.simulator, "simulator"


@each_provider
def test_every_fixture_names_its_source(provider: Provider) -> None:
    """A row of SOURCES.md names each file, or says of a whole family of them (`send__*`) where it is from."""
    fixtures = folder(provider) / "fixtures"
    sources = (fixtures / "SOURCES.md").read_text("utf-8")
    for path in fixtures.iterdir():
        if path.name != "SOURCES.md":
            assert path.name in sources or path.stem in sources or path.stem.partition("__")[0] + "_" in sources, path.name


@each_provider
def test_the_declaration_is_sane(provider: Provider) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9-]{1,49}", provider.slug)
    assert registry.providers()[provider.slug] is provider
    assert provider.name
    assert provider.description.endswith(".")
    assert provider.docs_url.startswith("https://")
    assert provider.adapters
    assert provider.base_urls
    for environment, url in provider.base_urls.items():
        assert environment in (Environment.PRODUCTION, Environment.SANDBOX)
        assert url.startswith("https://")
        assert not url.endswith("/")
    assert provider.rate_limit.rate > 0
    assert provider.rate_limit.burst >= 1
    assert 0 < provider.timeout[0] <= 30
    assert 0 < provider.timeout[1] <= 90
    assert provider.requirements, "what a person must have at hand"
    plain = {field.name for field in provider.config if not field.secret}
    assert set(provider.routing_fields) <= plain


@each_provider
def test_no_config_field_hides_a_member_of_the_view(provider: Provider) -> None:
    taken = {"id", "tenant_id", "provider", "environment", "base_url", "values", "secrets", "label", "get"}
    names = {field.name for field in provider.config} - {"base_url"}
    assert names & taken == set()
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)


@each_provider
def test_the_schema_describes_itself_as_json(provider: Provider) -> None:
    described = provider.config.describe()
    assert json.loads(json.dumps(described)) == described
    assert [field["name"] for field in described] == [field.name for field in provider.config]
    for field in described:
        assert field["label"]
        if field["secret"]:
            assert field["default"] is None, "a secret has no default"
    assert any(field["secret"] for field in described)


@each_provider
def test_an_empty_or_strange_config_is_refused_by_field(provider: Provider) -> None:
    required = {field.name for field in provider.config if field.required and field.default is None}
    with pytest.raises(SchemaErrors) as caught:
        provider.config.clean({"no_such_field": 1})
    assert {"no_such_field"} | required <= set(caught.value.errors)


# --- the simulator


@each_provider
def test_demo_accounts_fit_the_schema_and_stay_the_same(provider: Provider, tmp_path: Path) -> None:
    simulator = simulator_of(provider)
    assert simulator.slug == provider.slug
    first, second = simulator.demo_accounts(tmp_path), simulator.demo_accounts(tmp_path)
    assert first == second
    assert {"school", "studio"} <= {account.label for account in first}
    for account in first:
        values, secrets = provider.config.clean({**account.values, **account.secrets})
        assert set(account.secrets) <= set(secrets)
        assert set(secrets) <= provider.config.secret_names
        assert set(account.values) <= set(values)
        assert all(len(str(secret)) >= 16 for secret in account.secrets.values()), "long enough to be masked by value"
    elsewhere = simulator.demo_accounts(tmp_path / "other")
    assert [a.secrets for a in elsewhere] != [a.secrets for a in first]


@each_provider
def test_the_simulator_shows_no_secret(provider: Provider, running: running_simulators) -> None:
    for capability in provider.adapters:
        connect(provider, capability, running).test_connection()
    shown = json.dumps(running.simulator(provider.slug).state())
    logged = running.store.rows("SELECT * FROM requests WHERE slug = ?", provider.slug)
    assert logged
    shown += json.dumps(logged, default=str)
    for account in accounts(provider, running):
        for secret in account.secrets.values():
            assert str(secret) not in shown


# --- the adapter


@each_adapter
def test_the_adapter_is_of_its_capability(provider: Provider, capability: Capability) -> None:
    adapter = provider.adapter_class(capability)
    assert issubclass(adapter, BASES[capability])
    assert not getattr(adapter, "__abstractmethods__", None)


@each_adapter
def test_a_connection_test_succeeds_with_the_right_secrets(
    provider: Provider, capability: Capability, running: running_simulators
) -> None:
    result = connect(provider, capability, running).test_connection()
    assert isinstance(result, TestResult)
    assert result.ok is True
    assert result.status == "ok"
    for secret in accounts(provider, running)[0].secrets.values():
        assert str(secret) not in result.detail


def refusal_of(adapter: Adapter) -> str:
    """Return in which words the adapter says that the credentials are wrong: as a result, or as the error for just that."""
    try:
        result = adapter.test_connection()
    except AuthenticationFailed as error:
        return error.message
    assert result.ok is False
    return result.detail


@each_adapter
def test_a_connection_test_fails_with_wrong_secrets(
    provider: Provider, capability: Capability, running: running_simulators
) -> None:
    wrong = {name: "wrong" + str(value)[5:] for name, value in accounts(provider, running)[0].secrets.items()}
    adapter = connect(provider, capability, running, wrong)
    said = refusal_of(adapter)
    for value in (*wrong.values(), *accounts(provider, running)[0].secrets.values()):
        assert value not in said


@each_adapter
def test_a_connection_test_against_nobody_is_unavailable(
    provider: Provider, capability: Capability, running: running_simulators
) -> None:
    with pytest.raises(ProviderUnavailable):
        connect(provider, capability, running, base_url="http://127.0.0.1:1024").test_connection()


@each_adapter
def test_a_connection_test_sends_nothing_with_an_effect(
    provider: Provider, capability: Capability, running: running_simulators
) -> None:
    marked: list[int] = []
    adapter = connect(provider, capability, running)
    adapter.http._before_effect = lambda: marked.append(1)
    adapter.test_connection()
    assert marked == []


@each_adapter
def test_no_secret_is_in_what_is_recorded(provider: Provider, capability: Capability, running: running_simulators) -> None:
    seen: list[Exchange] = []
    recorder = SimpleNamespace(started=seen.append, finished=lambda _exchange: None)
    connect(provider, capability, running, recorder=recorder).test_connection()
    assert seen
    for exchange in seen:
        said = json.dumps([exchange.url, exchange.request_headers, exchange.request_body, exchange.response_body])
        for secret in accounts(provider, running)[0].secrets.values():
            assert str(secret) not in said


@each_adapter
def test_registering_webhooks_says_what_was_done_or_that_it_is_done_by_hand(
    provider: Provider, capability: Capability, running: running_simulators
) -> None:
    adapter = connect(provider, capability, running)
    webhook = provider.webhook_adapter()
    purposes = webhook.config_purposes if webhook else {}
    urls = {purpose: f"https://hub.example/hooks/{'ab' * 20}/{purpose}" for purpose in purposes}
    try:
        registration = adapter.register_webhooks(urls)
        assert set(registration.values) | set(registration.secrets) <= {field.name for field in provider.config}
        said = registration.detail
    except UnsupportedOperation as error:
        said = error.message
    assert len(said) > 10


@pytest.mark.parametrize(
    "provider", [provider for provider, capability in WITH_ADAPTERS if capability is Capability.PAYMENT], ids=slug_of
)
def test_payment_features_are_sane(provider: Provider) -> None:
    adapter = provider.adapter_class(Capability.PAYMENT)
    assert issubclass(adapter, PaymentAdapter)
    features = adapter.features
    assert "authorize" in features.operations
    assert features.operations <= {operation.value for operation in GatewayOperation}
    assert features.methods
    assert features.currencies
    for currency, rule in features.currencies.items():
        assert 0 < rule.minimum < rule.maximum
        assert rule.minimum % rule.step == 0
        assert rule.decimals >= 0
        Money(rule.minimum, currency)
        with pytest.raises(InvalidRequest):
            features.check("authorize", Money(rule.maximum + rule.step, currency))
        features.check("authorize", Money(rule.minimum, currency), next(iter(features.methods)))
        if rule.step > 1:
            with pytest.raises(InvalidRequest):
                features.check("authorize", Money(rule.minimum + 1, currency))
    assert json.loads(json.dumps(features.describe())) == features.describe()
    assert set(features.notes or {}) <= {operation.value for operation in GatewayOperation}
    assert list(features.polls) == sorted(set(features.polls))
    assert features.polls[0] >= 5
    assert features.silence > features.polls[0]
    assert 0 < features.validity <= 3600
    assert features.unknown_after > features.validity
    with pytest.raises(UnsupportedOperation):
        features.check("no such operation")
    for method in set(MethodType) - set(features.methods):
        with pytest.raises(UnsupportedOperation):
            features.check("authorize", None, method)
    for operation, method_name in NEEDED:
        overridden = getattr(adapter, method_name) is not getattr(PaymentAdapter, method_name)
        assert (operation not in features.operations) or overridden, f"{operation} is declared and not implemented"


@pytest.mark.parametrize(
    "provider", [provider for provider, capability in WITH_ADAPTERS if capability is Capability.SMS], ids=slug_of
)
def test_sms_adapters_are_sane(provider: Provider) -> None:
    adapter = provider.adapter_class(Capability.SMS)
    assert issubclass(adapter, SmsAdapter)
    assert 1 <= adapter.batch_size <= 1000
