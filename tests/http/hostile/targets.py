"""Targets that the hub must never dial. `ADDRESSES` by what they are; URLs that show it in their text; those that don't."""

from __future__ import annotations

ADDRESSES = {
    "loopback": ("127.0.0.1", "127.0.0.53", "127.255.255.254"),
    "this network": ("0.0.0.0", "0.1.2.3"),
    "private": ("10.0.0.1", "10.255.255.254", "172.16.0.1", "172.31.255.254", "192.168.0.1", "192.168.255.254"),
    "carrier-grade NAT": ("100.64.0.1", "100.127.255.254"),
    "link-local": ("169.254.0.1", "169.254.1.1"),
    "metadata": ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"),
    "protocol assignments": ("192.0.0.1", "192.31.196.1", "192.52.193.1", "192.88.99.3", "192.175.48.1"),
    "documentation": ("192.0.2.1", "198.51.100.7", "203.0.113.9", "2001:db8::1", "3fff::1"),
    "benchmarking": ("198.18.0.1", "198.19.255.254", "2001:2::1"),
    "multicast": ("224.0.0.1", "224.1.2.3", "239.255.255.250", "ff02::1", "ff0e::1"),
    "class E and broadcast": ("240.0.0.1", "255.255.255.255"),
    "IPv6 loopback and unspecified": ("::1", "::"),
    "IPv4-mapped": ("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"),
    "IPv4-compatible": ("::7f00:1", "::10.0.0.1"),
    "NAT64": ("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"),
    "6to4": ("2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::1"),
    "Teredo": ("2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
    "unique local": ("fc00::1", "fd00::1"),
    "IPv6 link-local and site-local": ("fe80::1", "fec0::1"),
    "discard, ORCHID, segment routing": ("100::1", "2001:10::1", "2001:20::1", "5f00::1"),
    "never given out": ("3ffe::1", "4000::1", "2620:4f:8000::1"),
}
"""An IPv6 address that is written out in a URL stands in brackets; see `literal`."""

EVERY_ADDRESS = tuple(address for group in ADDRESSES.values() for address in group)


def literal(address: str, scheme: str = "http", port: int | None = None, path: str = "/hook") -> str:
    """Return a URL with the address written out."""
    host = f"[{address}]" if ":" in address else address
    return f"{scheme}://{host}{f':{port}' if port else ''}{path}"


TEXT = (
    *(literal(address) for address in EVERY_ADDRESS),
    # Numbers that the resolver takes for addresses.
    "http://2130706433/hook",
    "http://0x7f000001/hook",
    "http://0x7f.1/hook",
    "http://0X7F.0.0.1/hook",
    "http://017700000001/hook",
    "http://0177.0.0.1/hook",
    "http://0177.1/hook",
    "http://127.1/hook",
    "http://127.0.1/hook",
    "http://0/hook",
    "http://2852039166/hook",
    "http://0xa9fea9fe/hook",
    "http://0xa9.0xfe.0xa9.0xfe/hook",
    "http://4294967297/hook",
    "http://127.0.0.1./hook",
    "http://127.0.0.1../hook",
    "http://00000127.0.0.1/hook",
    # Letters that some library folds into digits and dots.
    "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/hook",
    "http://\uff11\uff12\uff17.0.0.1/hook",
    "http://127\u30020\u30020\u30021/hook",
    "http://127.0.0.\u00b9/hook",
    "http://\u2113ocalhost/hook",
    # What stands before an @ is not the host, and what parsers disagree on is nobody's.
    "http://example.com@127.0.0.1/hook",
    "http://127.0.0.1@example.com/hook",
    "http://user:password@10.0.0.1/hook",
    "http://example.com:80@127.0.0.1/hook",
    "http://@127.0.0.1/hook",
    "http://127.0.0.1\\@example.com/hook",
    "http://example.com\\.127.0.0.1/hook",
    "http://127.0.0.1\t.example.com/hook",
    "http://127.0.0.1%2f@example.com/hook",
    "http://exam%70le.com/hook",
    "http:///127.0.0.1/hook",
    "http:127.0.0.1/hook",
    "//127.0.0.1/hook",
    "http://[::1%25lo]/hook",
    "http://[fe80::1%25eth0]/hook",
    "http://[::ffff:127.0.0.1%25eth0]/hook",
    "http://[v1.127.0.0.1]/hook",
    "http://[::1/hook",
    # Ports where something else listens, and schemes that are no web server's.
    "http://example.com:0/hook",
    "http://example.com:22/hook",
    "http://example.com:25/hook",
    "http://example.com:5432/hook",
    "http://example.com:6379/hook",
    "http://example.com:11211/hook",
    "http://example.com:65536/hook",
    "http://example.com:-80/hook",
    "ftp://example.com/hook",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "unix:///run/docker.sock",
    "javascript:alert(1)",
    "data:text/plain,x",
)
"""Refused as soon as somebody writes them down."""

GOOD = "1.1.1.1"
OTHER_GOOD = "2606:4700:4700::1111"

NAMES: dict[str, list[list[str]]] = {
    # One name for each address, and some that tell two stories.
    **{f"bad-{number}.example": [[address]] for number, address in enumerate(EVERY_ADDRESS)},
    "good-then-bad.example": [[GOOD, "10.0.0.1"]],
    "bad-then-good.example": [["127.0.0.1", GOOD]],
    "good-with-six.example": [[GOOD, "::1"]],
    "six-with-private.example": [[OTHER_GOOD, "192.168.0.1"]],
    "six-with-mapped.example": [[OTHER_GOOD, "::ffff:10.0.0.1"]],
    "many-good-one-bad.example": [[GOOD, "8.8.8.8", "9.9.9.9", OTHER_GOOD, "169.254.169.254"]],
    "alias.example": [["alias of inside.example", "10.0.0.7"]],
    "scoped.example": [["fe80::1%lo"]],
    "scoped-global.example": [[f"{OTHER_GOOD}%lo"]],
    "trailing-dot.example.": [["127.0.0.1"]],
    "trailing-dot.example": [["127.0.0.1"]],
    "xn--bcher-kva.example": [["10.0.0.1"]],
    "metadata.google.internal": [["169.254.169.254"]],
    "localhost": [["127.0.0.1"]],
    "ip6-localhost": [["::1"]],
    "127.0.0.1.nip.example": [["127.0.0.1"]],
}
"""What these names resolve to; their text shows nothing. `alias of` stands for a canonical name (a CNAME)."""
