"""The programs that receivers are given, run as they stand: what is good gets 0, everything else does not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from tests.browser.conftest import chromium
from webhooks.outbound import signing
from webhooks.outbound.portal.samples import ENDPOINT_PLACE, KEY_PLACE, SAMPLES, Sample

__all__ = ["chromium"]  # a fixture, used by its name

BODY = '{"id":"evt_1","type":"payment.completed","data":{"object":{"name":"Wanjik\u0169 \U0001f4b6"}}}\n'
ID = "evt_01k2f7rjw4a6b8c9d0e1f2g3h4"
SECRET, OTHER = (signing.new_secret() for _ in range(2))
PRIVATE, STRANGER = (signing.new_secret(signing.ASYMMETRIC) for _ in range(2))
PUBLIC = signing.public_key(PRIVATE)
BY_SLUG = {each.slug: each for each in SAMPLES}
PROGRAMS = {"python": [sys.executable], "javascript": ["node"], "shell": ["bash"]}
NEEDED = {"python": (), "javascript": ("node",), "shell": ("bash", "openssl")}
Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(params=[each.slug for each in SAMPLES])
def sample(request: pytest.FixtureRequest) -> Sample:
    found = BY_SLUG[request.param]
    if missing := [name for name in NEEDED[found.slug] if shutil.which(name) is None]:
        pytest.skip(f"NOT INSTALLED HERE: {', '.join(missing)}: the {found.name} sample was not run")
    return found


@pytest.fixture
def run(sample: Sample, tmp_path: Path) -> Run:
    """Run the program as the portal shows it for an endpoint, with the keys in its environment."""
    path = tmp_path / sample.filename
    path.write_text(sample.text(endpoint_id="we_01k2f7rjw4a6b8c9d0e1f2g3h4"), encoding="utf-8")

    def start(headers: dict[str, str], body: str = BODY, keys: str | None = SECRET) -> subprocess.CompletedProcess[bytes]:
        given = [headers.get(name, "") for name in ("webhook-id", "webhook-timestamp", "webhook-signature")]
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", **({"WEBHOOK_KEYS": keys} if keys is not None else {})}
        command = [*PROGRAMS[sample.slug], str(path), *given]
        return subprocess.run(command, input=body.encode(), env=environment, capture_output=True, timeout=60)

    return start


def signed(*secrets: str, seconds: float = 0, body: str = BODY) -> dict[str, str]:
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return signing.signed_headers(secrets or (SECRET,), message_id=ID, at=at, body=body)


def assert_verified(ran: subprocess.CompletedProcess[bytes]) -> None:
    assert (ran.returncode, ran.stdout) == (0, b"verified\n"), ran.stderr


def assert_refused(ran: subprocess.CompletedProcess[bytes]) -> None:
    assert ran.returncode != 0
    assert ran.stdout == b""
    assert ran.stderr.startswith(b"refused: "), ran.stderr


def test_what_is_good_is_verified(run: Run) -> None:
    assert_verified(run(signed()))
    assert_verified(run(signed(OTHER, SECRET)))  # while we rotate: theirs is the old one
    assert_verified(run(signed(), keys=f"{OTHER} {SECRET}"))  # while they rotate
    assert_verified(run(signed(PRIVATE, SECRET)))
    assert_verified(run(signed(seconds=-240)))  # of 300; the program itself may take a minute
    assert_verified(run(signed(body=""), body=""))


def test_what_the_standards_own_library_signs_is_verified(run: Run) -> None:
    at = datetime.now(UTC)
    signature = Webhook(SECRET).sign(ID, at, BODY)
    assert_verified(run({"webhook-id": ID, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}))


def test_what_is_bad_is_refused(run: Run) -> None:
    good = signed()
    assert_refused(run(good, body=BODY + " "))
    assert_refused(run(good, body=BODY.rstrip("\n")))
    assert_refused(run({**good, "webhook-id": "evt_other"}))
    assert_refused(run({**good, "webhook-timestamp": str(int(good["webhook-timestamp"]) + 1)}))
    assert_refused(run(good, keys=OTHER))
    assert_refused(run(signed(OTHER)))


@pytest.mark.parametrize("seconds", [-310, 370])  # the program itself may take a minute
def test_what_is_old_or_ahead_is_refused(run: Run, seconds: int) -> None:
    ran = run(signed(seconds=seconds))
    assert_refused(ran)
    assert b"timestamp" in ran.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        {"webhook-signature": ""},
        {"webhook-signature": "v1"},
        {"webhook-signature": "invalid_signature"},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,a,b"},
        {"webhook-signature": "v2,zz v1 v1a,%% * ,"},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "now"},
        {"webhook-timestamp": "-1"},
        {"webhook-timestamp": "1e9"},
        {"webhook-timestamp": "9" * 40},
        {"webhook-id": ""},
    ],
    ids=str,
)
def test_what_is_malformed_is_refused(run: Run, wrong: dict[str, str]) -> None:
    assert_refused(run({**signed(), **wrong}))


def test_a_good_signature_of_another_version_does_not_count(run: Run) -> None:
    good = signed()
    assert_refused(run({**good, "webhook-signature": good["webhook-signature"].replace("v1,", "v2,")}))


@pytest.mark.parametrize("keys", [None, "", "whsec_", "whsec_%%%", "whsec_REPLACE_ME", "nonsense"])
def test_a_key_that_was_not_filled_in_verifies_nothing(run: Run, keys: str | None) -> None:
    assert_refused(run(signed(), keys=keys))


def test_an_empty_key_signs_for_nobody(run: Run) -> None:
    """A signature made with the empty key must not pass where the key got lost."""
    import base64
    import hashlib
    import hmac

    good = signed()
    content = f"{ID}.{good['webhook-timestamp']}.{BODY}".encode()
    forged = "v1," + base64.b64encode(hmac.new(b"", content, hashlib.sha256).digest()).decode()
    for keys in ("whsec_", "whsec_=", ""):
        assert_refused(run({**good, "webhook-signature": forged}, keys=keys))


def test_ed25519(run: Run, sample: Sample) -> None:
    if not sample.asymmetric:
        assert_refused(run(signed(PRIVATE), keys=PUBLIC))
        return
    assert_verified(run(signed(PRIVATE), keys=PUBLIC))
    assert_verified(run(signed(SECRET, PRIVATE), keys=PUBLIC))  # from v1 to v1a, and back
    assert_verified(run(signed(SECRET), keys=f"{PUBLIC} {SECRET}"))
    assert_refused(run(signed(PRIVATE), body=BODY + " ", keys=PUBLIC))
    assert_refused(run(signed(STRANGER), keys=PUBLIC))
    assert_refused(run(signed(SECRET), keys=PUBLIC))
    assert_refused(run(signed(PRIVATE, seconds=-310), keys=PUBLIC))
    good = signed(PRIVATE)
    for text in ("v1a,", "v1a,AAAA", "v1a,%%", good["webhook-signature"].replace("v1a,", "v1,")):
        assert_refused(run({**good, "webhook-signature": text}, keys=PUBLIC))


@pytest.mark.parametrize("each", SAMPLES, ids=lambda each: each.slug)
def test_the_endpoint_and_a_public_key_are_filled_in_and_no_secret(each: Sample) -> None:
    assert ENDPOINT_PLACE in each.path.read_text("utf-8")
    assert each.path.read_text("utf-8").count(KEY_PLACE) == 1
    filled = each.text(endpoint_id="we_mine", public_key=PUBLIC)
    assert "we_mine" in filled
    assert ENDPOINT_PLACE not in filled
    assert (PUBLIC in filled, KEY_PLACE in filled) == (each.asymmetric, not each.asymmetric)


@pytest.mark.browser
def test_the_javascript_runs_in_a_browser_too(chromium: object) -> None:
    """With Web Crypto alone: what the module exports, without its part for the command line."""
    source = BY_SLUG["javascript"].path.read_text("utf-8")
    page = chromium.new_page()  # type: ignore[attr-defined]
    script = """async ([source, cases]) => {
        const module = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
        const found = [];
        for (const [keys, headers, body] of cases) {
            try { await module.verify(keys.split(" "), headers, new TextEncoder().encode(body)); found.push(true); }
            catch (error) { found.push(false); }
        }
        return found;
    }"""
    cases = [
        (SECRET, signed(), BODY),
        (SECRET, signed(OTHER, SECRET), BODY),
        (OTHER, signed(), BODY),
        (SECRET, signed(), BODY + " "),
        (SECRET, signed(seconds=-310), BODY),
        (SECRET, {**signed(), "webhook-signature": "v1,a,b"}, BODY),
    ]
    page.route("https://receiver.example/**", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
    page.goto("https://receiver.example/")  # Web Crypto wants a page that came securely
    assert page.evaluate(script, [source, [list(case) for case in cases]]) == [True, True, False, False, False, False]
    page.close()
