"""Masking by declaration and by value."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from integrations.http.masking import ALWAYS_MASKED, BODY_LIMIT, MASK, Mask, mask_log_event, secrets_in_use, spellings

SECRET = 'p/ss "wörd"+1='


@pytest.mark.parametrize(
    "spelt",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        json.dumps(SECRET)[1:-1].replace("/", "\\/"),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
        "p%2fss%20%22w%c3%b6rd%22%2b1%3d",
    ],
)
@pytest.mark.parametrize("content_type", ["text/plain", "text/html", "application/x-www-form-urlencoded", ""])
def test_every_spelling_is_masked_by_value(spelt: str, content_type: str) -> None:
    masked = Mask(secrets=[SECRET]).body(f"before[{spelt}]after".encode(), content_type)
    assert spelt.rstrip("=") not in masked
    assert masked.startswith("before[")
    assert masked.endswith("]after")


def test_a_secret_that_holds_another_is_masked_whole() -> None:
    assert Mask(secrets=["abcd", "abcdefgh"]).text("x abcdefgh y abcd z") == f"x {MASK} y {MASK} z"


def test_a_secret_too_short_to_tell_from_text_is_masked_by_key_alone() -> None:
    mask = Mask(secrets=["123"], keys=["door_code"])
    assert mask.text("123 shillings") == "123 shillings"
    assert mask.tree({"door_code": "123", "amount": "123"}) == {"door_code": MASK, "amount": "123"}
    assert spellings(["", "1", "123"]) == ()


def test_keys_match_whatever_their_case_and_dashes_at_any_depth() -> None:
    mask = Mask(keys=["SecurityCredential"])
    tree = {"a": [{"securitycredential": "x", "Client-Secret": "y"}], "b": {"PASSWORD": 5, "pin": None, "token": ""}}
    assert mask.tree(tree) == {
        "a": [{"securitycredential": MASK, "Client-Secret": MASK}],
        "b": {"PASSWORD": MASK, "pin": None, "token": ""},
    }


def test_a_masked_key_hides_whole_structures() -> None:
    assert Mask(keys=["card"]).tree({"card": {"number": "4242"}, "n": 1}) == {"card": MASK, "n": 1}


@pytest.mark.parametrize("name", ["Authorization", "authorization", "X-Api-Key", "Cookie", "Set-Cookie", "Proxy-Authorization"])
def test_headers_that_are_always_secret(name: str) -> None:
    assert Mask().headers({name: "abc", "X-Other": "abc"}) == {name: MASK, "X-Other": "abc"}


def test_json_stays_json_and_forms_stay_forms() -> None:
    mask = Mask(secrets=["s3cret-value"])
    assert json.loads(mask.body(b'{"password": "a", "note": "it is s3cret-value", "n": [1, true, null]}')) == {
        "password": MASK,
        "note": f"it is {MASK}",
        "n": [1, True, None],
    }
    form = mask.body(b"user=u&password=a%26b&note=s3cret-value&token=", "application/x-www-form-urlencoded; charset=utf-8")
    assert form == f"user=u&password={MASK}&note={MASK}&token={MASK}"


def test_urls_lose_secret_parameters_user_info_and_callback_tokens() -> None:
    mask = Mask(keys=["sig"], secrets=["s3cret-value"])
    token = "ab" * 20
    assert mask.url("https://u:p@host/x?api_key=1&a=2&sig=3#f") == f"https://{MASK}@host/x?api_key={MASK}&a=2&sig={MASK}#f"
    assert mask.url("https://host/s3cret-value/x") == f"https://host/{MASK}/x"
    assert mask.url(f"https://hub/hooks/{token}/c?x=1") == f"https://hub/hooks/{MASK}/c?x=1"
    assert mask.url(f"https://hub/pay/{token}/return") == f"https://hub/pay/{MASK}/return"
    assert token not in mask.body(
        f"StatusCallback=https%3A%2F%2Fhub%2Fhooks%2F{token}%2Fstatus", "application/x-www-form-urlencoded"
    )
    assert token not in mask.body(json.dumps({"CallBackURL": f"https://hub/hooks/{token}/c"}))


@pytest.mark.parametrize(
    "name",
    [
        "hub.verify_token", "hub%2Everify_token", "verify_token", "signature", "sig", "key", "Key", "X-Amz-Signature",
        "X%2DAmz%2DSignature", "X-Amz-Security-Token", "X-Goog-Signature",
    ],
)  # fmt: skip
def test_what_signs_an_address_is_masked_in_it(name: str) -> None:
    assert Mask().url(f"/x?a=1&{name}=0123abcd&b=2#c") == f"/x?a=1&{name}={MASK}&b=2#c"
    assert Mask().url(f"/x?{name}=") == f"/x?{name}="


def test_ordinary_words_are_masked_in_addresses_alone() -> None:
    content = {"key": "blue", "signature": "Jane"}
    assert Mask().tree(content) == content
    assert Mask().body("key=blue&verify_token=0123", "application/x-www-form-urlencoded") == f"key=blue&verify_token={MASK}"
    assert Mask().url("/x?monkey=1&keys=2&sigma=3") == "/x?monkey=1&keys=2&sigma=3"


@pytest.mark.parametrize(
    "body",
    [b"{broken", b"[" * 100_000, b"\xff\xfe\x00\x01", b"\xff s3cret-value \xfe", b'{"a": NaN, "b": "s3cret-value"}', b""],
)
def test_no_body_breaks_it(body: bytes) -> None:
    assert "s3cret-value" not in Mask(secrets=["s3cret-value"]).body(body, "application/json")


def test_binary_data_is_not_logged() -> None:
    assert Mask().body(b"PK\x00\x01abc") == "[7 bytes of binary data]"


def test_long_bodies_are_cut_after_masking() -> None:
    text = "x" * (BODY_LIMIT - 3) + "s3cret-value" + "y" * 100
    masked = Mask(secrets=["s3cret-value"]).body(text)
    assert "s3c" not in masked
    assert masked.startswith("x" * (BODY_LIMIT - 3) + MASK[:3])
    assert masked.endswith(f"… [cut: {len(text) - len('s3cret-value') + len(MASK)} characters]")


def test_what_is_learned_later_is_masked_from_then_on() -> None:
    mask = Mask(secrets=["first-secret"])
    mask.add("second-secret")
    assert mask.text("first-secret second-secret") == f"{MASK} {MASK}"


def test_log_lines_are_masked_while_the_secrets_are_in_use() -> None:
    event: dict[str, Any] = {"event": "sent inner-secret and outer-secret", "password": "p", "detail": {"token": "t", "n": 1}}
    with secrets_in_use(["outer-secret"]), secrets_in_use(["inner-secret"]):
        masked = mask_log_event(None, "info", dict(event))
    assert masked == {"event": f"sent {MASK} and {MASK}", "password": MASK, "detail": {"token": MASK, "n": 1}}
    assert mask_log_event(None, "info", {"event": "inner-secret"}) == {"event": "inner-secret"}


def test_the_list_is_normalised_as_it_is_compared() -> None:
    assert all(name == name.lower().replace("-", "_") for name in ALWAYS_MASKED)
