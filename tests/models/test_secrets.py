"""Secrets at rest: bound to the tenant, tamper-proof, rotated by key id; no start without keys."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from integrations.secrets import (
    SecretUnreadable,
    current_key_id,
    generate_key,
    key_id_of,
    masked,
    open_sealed,
    parse_keyring,
    seal,
)

REPOSITORY = Path(__file__).resolve().parents[2]
KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
GOOD = {
    "SECRET_KEY": "s" + "0123456789abcdef" * 4,
    "ENCRYPTION_KEYS": f"k1:{KEY}",
    "PUBLIC_BASE_URL": "https://hub.example.org",
    "ALLOWED_HOSTS": "hub.example.org",
}


@pytest.mark.parametrize("value", ["", "x", "ä" * 5000, {"a": [1, None, True], "b": "ü"}, 7, None])
def test_what_is_sealed_opens_again_for_the_same_tenant(value: Any) -> None:
    assert open_sealed(7, seal(7, value)) == value


def test_a_token_moved_to_another_tenant_does_not_open() -> None:
    token = seal(7, "canary")
    for tenant in (8, 0, 77):
        with pytest.raises(SecretUnreadable) as caught:
            open_sealed(tenant, token)
        assert "canary" not in str(caught.value)


def test_sealing_twice_gives_two_tokens_and_neither_shows_the_value() -> None:
    one, two = seal(7, "canary"), seal(7, "canary")
    assert one != two
    for token in (one, two):
        assert b"canary" not in base64.urlsafe_b64decode(token.partition(".")[2])


def test_any_altered_byte_is_noticed() -> None:
    key_id, _, encoded = seal(7, "canary").partition(".")
    raw = bytearray(base64.urlsafe_b64decode(encoded))
    for position in range(len(raw)):
        altered = bytearray(raw)
        altered[position] ^= 1
        with pytest.raises(SecretUnreadable):
            open_sealed(7, f"{key_id}.{base64.urlsafe_b64encode(altered).decode()}")


@pytest.mark.parametrize("token", ["", ".", "t1", "t1.", "t1.!!!", "t1.AAAA", "nokey.AAAA", "t1.AAAA.AAAA", "\x00.\x00"])
def test_garbage_does_not_open(token: str) -> None:
    with pytest.raises(SecretUnreadable):
        open_sealed(7, token)


def test_new_secrets_take_the_first_key_and_old_ones_still_open(settings: Any) -> None:
    old, new = generate_key("old"), generate_key("new")
    settings.ENCRYPTION_KEYS = old
    before = seal(7, "canary")
    settings.ENCRYPTION_KEYS = f"{new},{old}"
    after = seal(7, "canary")
    assert (current_key_id(), key_id_of(before), key_id_of(after)) == ("new", "old", "new")
    assert (open_sealed(7, before), open_sealed(7, after)) == ("canary", "canary")
    settings.ENCRYPTION_KEYS = new
    assert open_sealed(7, after) == "canary"
    with pytest.raises(SecretUnreadable, match="no key 'old'"):
        open_sealed(7, before)


def test_the_same_id_with_another_key_does_not_open(settings: Any) -> None:
    settings.ENCRYPTION_KEYS = generate_key("k")
    token = seal(7, "canary")
    settings.ENCRYPTION_KEYS = generate_key("k")
    with pytest.raises(SecretUnreadable):
        open_sealed(7, token)


def test_secrets_do_not_hang_on_secret_key(settings: Any) -> None:
    token = seal(7, "canary")
    settings.SECRET_KEY = "another-secret-key-that-is-long-enough-0123456789-0123456789"
    assert open_sealed(7, token) == "canary"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not set"),
        (" , ", "not set"),
        ("k1", "shorter than 32"),
        (f"k1:{base64.b64encode(b'x' * 31).decode()}", "shorter than 32"),
        ("k1:not base64!", "not base64"),
        (f":{KEY}", "each entry is"),
        (f"k 1:{KEY}", "each entry is"),
        (f"k1:{KEY},k1:{KEY}", "stands twice"),
        (f"k1:{KEY},k2:{base64.b64encode(b'y' * 16).decode()}", "'k2' is shorter"),
    ],
)
def test_a_bad_keyring_is_refused_without_showing_a_key(text: str, problem: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=problem) as caught:
        parse_keyring(text)
    assert KEY not in str(caught.value)


def test_a_keyring_is_read_newest_first_in_both_base64_alphabets() -> None:
    raw = bytes([251, 255]) * 16
    plain, safe = base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()
    assert plain != safe
    assert parse_keyring(f" a:{plain} , b:{safe} ") == [("a", raw), ("b", raw)]


@pytest.mark.parametrize(
    ("value", "shown"), [("", "••••"), ("short", "••••"), ("elevenchars", "••••"), ("twelve-chars", "••••hars")]
)
def test_what_is_shown_of_a_secret(value: str, shown: str) -> None:
    assert masked(value) == shown


def start(**environment: str | None) -> subprocess.CompletedProcess[str]:
    given = {**GOOD, **environment}
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", "import django; django.setup(); print('started')"],
        env={
            **kept,
            "DJANGO_SETTINGS_MODULE": "integrations_site.settings.production",
            "DATABASE_URL": "postgres://hub@127.0.0.1:1/hub",
            **{name: value for name, value in given.items() if value is not None},
        },
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_production_starts_with_its_keys() -> None:
    started = start()
    assert started.returncode == 0, started.stderr
    assert started.stdout.strip() == "started"


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"ENCRYPTION_KEYS": None}, "ENCRYPTION_KEYS"),
        ({"ENCRYPTION_KEYS": "k1:c2hvcnQ="}, "shorter than 32"),
        ({"SECRET_KEY": None}, "SECRET_KEY"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY"),
        ({"SECRET_KEY": "a" * 60}, "SECRET_KEY"),
        ({"PUBLIC_BASE_URL": "http://hub.example.org"}, "PUBLIC_BASE_URL"),
        ({"ALLOWED_HOSTS": None}, "ALLOWED_HOSTS"),
    ],
)
def test_production_refuses_to_start_without(changed: dict[str, str | None], problem: str) -> None:
    refused = start(**changed)
    assert refused.returncode != 0
    assert "ImproperlyConfigured" in refused.stderr
    assert problem in refused.stderr.splitlines()[-1]
    assert "c2hvcnQ=" not in refused.stderr
