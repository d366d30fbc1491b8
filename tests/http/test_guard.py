"""The URL guard: hostile addresses and hostile URLs. Names and dialling: test_guard_dialling.py."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from integrations.http.guard import (
    BlockedAddress,
    check_url,
    is_allowed_address,
)

HOSTILE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",  # a cloud's metadata service
    "100.127.255.254",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",  # a cloud's wire server, in public space
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.3",
    "192.168.1.1",
    "192.175.48.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "224.1.2.3",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2620:4f:8000::1",
    "3ffe::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "not-an-address",
    "",
    "2130706433",
    "127.1",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "196.201.214.200", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111", "2001:4860:4860::8888"]


@pytest.fixture(autouse=True)
def _closed(settings: Any) -> None:
    settings.OUTBOUND_ALLOWED_NETWORKS = []
    settings.OUTBOUND_HTTPS_ONLY = False


@pytest.mark.parametrize("address", HOSTILE)
def test_hostile_addresses_are_refused(address: str) -> None:
    assert is_allowed_address(address) is False


@pytest.mark.parametrize("address", [*PUBLIC, "::ffff:8.8.8.8"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_allowed_address(address) is True


def test_the_standard_library_alone_would_let_hostile_addresses_through() -> None:
    """Why there is a list of our own; should this fail one day, the list is still right."""
    fooled = [address for address in ("64:ff9b::7f00:1", "2002:7f00:1::", "fec0::1") if ipaddress.ip_address(address).is_global]
    assert all(not is_allowed_address(address) for address in fooled)


def test_an_allowed_network_opens_itself_and_nothing_else(settings: Any) -> None:
    settings.OUTBOUND_ALLOWED_NETWORKS = ["10.1.0.0/16", "fd00:1::/32"]
    assert is_allowed_address("10.1.2.3") is True
    assert is_allowed_address("::ffff:10.1.2.3") is True
    assert is_allowed_address("fd00:1::5") is True
    assert is_allowed_address("10.2.0.1") is False
    assert is_allowed_address("127.0.0.1") is False
    assert is_allowed_address("fd00:2::5") is False


def test_a_wrong_network_is_a_clear_error(settings: Any) -> None:
    settings.OUTBOUND_ALLOWED_NETWORKS = ["10.1.0.0/99"]
    with pytest.raises(ImproperlyConfigured, match="OUTBOUND_ALLOWED_NETWORKS"):
        is_allowed_address("10.1.2.3")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook",
        "http://example.com:8080/hook?x=1#y",
        "https://xn--bcher-kva.example/",
        "https://1.1.1.1/",
        "https://[2606:4700:4700::1111]:8443/",
        "https://example.com./",
        "https://a_b.example.com/",
    ],
)
def test_honest_urls_pass(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/hook",
        "//example.com/hook",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "javascript:alert(1)",
        "http://",
        "http:///path",
        "http://user@example.com/",
        "http://user:password@example.com/",
        "http://example.com@127.0.0.1/",
        "http://@example.com/",
        "http://127.0.0.1/",
        "http://127.0.0.1:8080/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[fe80::1%25eth0]/",
        "http://[::1",
        "http://169.254.169.254/latest/meta-data/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://0X7F000001/",
        "http://017700000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://0/",
        "http://127.0.0.1./",
        "http://1.2.3.4.5/",
        "http://example.0x/",
        "http://\u2460\u2461\u2466.0.0.1/",  # circled digits
        "http://\uff11\uff12\uff17.0.0.1/",  # full-width digits
        "http://b\u00fccher.example/",
        "http://exa mple.com/",
        "http://exa\tmple.com/",
        "http://example.com\\@127.0.0.1/",
        "ht\ntp://example.com/",
        "http://example.com/\r\nX: y",
        " http://example.com/",
        "http://example..com/",
        "http://-example.com/",
        "http://exam%70le.com/",
        "http://example.com:22/",
        "http://example.com:25/",
        "http://example.com:6379/",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://example.com:port/",
        "http://" + "a" * 2000 + ".com/",
    ],
)
def test_hostile_urls_are_refused(url: str) -> None:
    with pytest.raises(BlockedAddress):
        check_url(url)


def test_https_only_refuses_plain_http(settings: Any) -> None:
    settings.OUTBOUND_HTTPS_ONLY = True
    check_url("https://example.com/")
    with pytest.raises(BlockedAddress, match="https://"):
        check_url("http://example.com/")
