"""Twilio's published vectors (security documentation, SDK tests), and each of them altered by one byte."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from integrations.providers.twilio.signature import fits, sign, spellings
from integrations.providers.twilio.tests.support import fixture

TOKEN = "12345"
URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
FORM = "application/x-www-form-urlencoded"
DOCS = [
    ("CallSid", "CA1234567890ABCDE"),
    ("Caller", "+12349013030"),
    ("Digits", "1234"),
    ("From", "+12349013030"),
    ("To", "+18005551212"),
]
SDK = [
    ("CallSid", "CA1234567890ABCDE"),
    ("Caller", "+14158675309"),
    ("Digits", "1234"),
    ("From", "+14158675309"),
    ("To", "+18005551212"),
]
REPEATED = [("Sid", "CA123"), ("SidAccount", "AC123"), ("Digits", "5678"), ("Digits", "1234"), ("Digits", "1234")]
JSON_BODY = b'{"property": "value", "boolean": true}'
JSON_URL = f"{URL}&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
HTTP_URL = URL.replace("https", "http")
HUB_URL = "https://hub.example.org/hooks/twilio/t-42/status?c=9f"

VECTORS = {
    "documentation": (TOKEN, URL, urlencode(DOCS).encode(), FORM, "0/KCTR6DLpKmkAf8muzZqo1nDgQ="),
    "sdk": (TOKEN, URL, urlencode(SDK).encode(), FORM, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
    "signed with port, called without": (TOKEN, URL, urlencode(SDK).encode(), FORM, "kvajT1Ptam85bY51eRf/AJRuM3w="),
    "http with port, called without": (TOKEN, HTTP_URL, urlencode(SDK).encode(), FORM, "0ZXoZLH/DfblKGATFgpif+LLRf4="),
    "another port": (
        TOKEN,
        HTTP_URL.replace(".com", ".com:1234"),
        urlencode(SDK).encode(),
        FORM,
        "Zmvh+3yNM1Phv2jhDCwEM3q5ebU=",
    ),
    "signed without port, called with": (
        TOKEN,
        URL.replace(".com", ".com:1234"),
        urlencode(SDK).encode(),
        FORM,
        "RSOYDt4T1cUTdK1PDd93/VVr8B8=",
    ),
    "a name that stands three times": (TOKEN, URL, urlencode(REPEATED).encode(), FORM, "IK+Dwps556ElfBT0I3Rgjkr1wJU="),
    "json": (TOKEN, JSON_URL, JSON_BODY, "application/json", "a9nBmqA0ju/hNViExpshrM61xv4="),
    "status callback": (
        "tw-auth-token-0001",
        HUB_URL,
        fixture("status__delivered.form"),
        f"{FORM}; charset=utf-8",
        "eB7tNtfRUNTsWgkVqu3QZDy/Hmk=",
    ),
}
each_vector = pytest.mark.parametrize(("token", "url", "body", "kind", "signature"), VECTORS.values(), ids=VECTORS)


@each_vector
def test_a_published_vector_fits(token: str, url: str, body: bytes, kind: str, signature: str) -> None:
    assert fits(token, signature, url, body, kind) is True


@each_vector
def test_altered_by_one_byte_it_does_not_fit(token: str, url: str, body: bytes, kind: str, signature: str) -> None:
    for at in range(len(body)):
        altered = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        assert fits(token, signature, url, altered, kind) is False, f"body, byte {at}"
    for at in range(len(signature)):
        other = signature[:at] + ("B" if signature[at] == "A" else "A") + signature[at + 1 :]
        assert fits(token, other, url, body, kind) is False, f"signature, byte {at}"
    path = url.index("/", len("https://"))
    for at in (len("https://"), *range(path, len(url))):
        assert fits(token, signature, f"{url[:at]}~{url[at + 1 :]}", body, kind) is False, f"address, byte {at}"
    assert fits(token[:-1] + "x", signature, url, body, kind) is False


@each_vector
def test_what_is_missing_fits_nothing(token: str, url: str, body: bytes, kind: str, signature: str) -> None:
    assert fits("", signature, url, body, kind) is False
    assert fits(token, "", url, body, kind) is False
    assert fits(token, signature, "", body, kind) is False
    assert fits("", sign("", url), url, b"", FORM) is False


def test_a_form_is_not_believed_as_anything_else() -> None:
    """Only the URL would be signed then."""
    url_only = sign(TOKEN, URL)
    assert fits(TOKEN, url_only, URL, b"", FORM) is True
    assert fits(TOKEN, url_only, URL, b"MessageSid=SM1", FORM) is False
    assert fits(TOKEN, url_only, URL, b"MessageSid=SM1", "text/plain") is False
    assert fits(TOKEN, url_only, URL, b"", "text/plain") is False


def test_values_are_neither_trimmed_nor_dropped() -> None:
    body = b"A=&B=+x+&C=%C3%A9%F0%9F%98%8A"
    signature = sign(TOKEN, URL, [("C", "é😊"), ("B", " x "), ("A", "")])
    assert fits(TOKEN, signature, URL, body, FORM) is True
    assert fits(TOKEN, signature, URL, b"A=&B=x&C=%C3%A9%F0%9F%98%8A", FORM) is False


def test_names_are_sorted_as_bytes_and_the_fragment_is_not_signed() -> None:
    assert sign(TOKEN, URL, [("b", "1"), ("B", "2")]) == sign(TOKEN, f"{URL}#rc=3&rp=all", [("B", "2"), ("b", "1")])
    assert sign(TOKEN, URL, [("B", "2b1")]) == sign(TOKEN, URL, [("b", "1"), ("B", "2")])


@pytest.mark.parametrize("body", [b"\xff=1", b"&".join(b"a%d=1" % at for at in range(300))])
def test_a_body_that_is_no_readable_form_does_not_fit(body: bytes) -> None:
    assert fits(TOKEN, sign(TOKEN, URL), URL, body, FORM) is False


def test_a_signature_that_is_not_ascii_does_not_fit() -> None:
    assert fits(TOKEN, "é" * 28, URL, b"", FORM) is False


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example/x?y=1", ("https://a.example/x?y=1", "https://a.example:443/x?y=1")),
        ("http://a.example/x", ("http://a.example/x", "http://a.example:80/x")),
        ("https://a.example:8443/x", ("https://a.example/x", "https://a.example:8443/x")),
        ("http://[::1]:8000/x", ("http://[::1]/x", "http://[::1]:8000/x")),
        ("http://[::1]/x", ("http://[::1]/x", "http://[::1]:80/x")),
    ],
)
def test_the_two_spellings_of_a_url(url: str, expected: tuple[str, str]) -> None:
    assert spellings(url) == expected
