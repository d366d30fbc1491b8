"""What each installed gateway can do, as Markdown: a compact table for the README, all of it for docs/gateways.md.

Both are made from the declarations that are checked before any call, so they can't say anything else than the hub does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal

from integrations.contracts.capabilities import Capability
from integrations.contracts.money import exponent
from integrations.contracts.payment_features import CurrencyRule, GatewayOperation, PaymentFeatures
from integrations.contracts.provider import Provider
from integrations.registry import providers_of
from payments.gateway import gateway_class

START = "<!-- capability matrix: made by `manage.py capability_matrix --write` -->"
END = "<!-- end of the capability matrix -->"
YES, NO = "yes", "no"

_O = GatewayOperation
_GROUPS: tuple[tuple[str, tuple[tuple[GatewayOperation, str], ...]], ...] = (
    ("hold, then capture", ((_O.CAPTURE, "full"), (_O.PARTIAL_CAPTURE, "partial"), (_O.MULTIPLE_CAPTURE, "several"))),
    ("release, call off", ((_O.VOID, "release"), (_O.CANCEL, "call off"))),
    ("refund", ((_O.REFUND, "full"), (_O.PARTIAL_REFUND, "partial"), (_O.MULTIPLE_REFUND, "several"))),
    ("stored payer", ((_O.SETUP, "store"), (_O.OFF_SESSION, "charge"))),
    ("asked about", ((_O.SYNC, "payment"), (_O.RECEIPT, "receipt"), (_O.TRANSACTIONS, "all transactions"))),
    ("disputes", ((_O.DISPUTES, YES),)),
)
"""The README's columns; every operation but AUTHORIZE, which all have, stands in one of them."""


class NoMarkers(ValueError):
    """The text has no place for the table: both marker lines, in this order."""


def compact_table() -> str:
    """Return the README's table: one line per gateway."""
    heads = ["", "payer pays by", *(name for name, _operations in _GROUPS), "currencies"]
    return _table(heads, (_compact_line(provider, features) for provider, features in _gateways()))


def inserted(text: str) -> str:
    """Return `text` with the compact table between its markers; raise `NoMarkers`."""
    before, start, rest = text.partition(START)
    _old, end, after = rest.partition(END)
    if not start or not end:
        raise NoMarkers(f"expected the lines {START} and {END}")
    return f"{before}{START}\n{compact_table()}\n{END}{after}"


def full_page() -> str:
    """Return docs/gateways.md: all operations, their limits, and each currency with its digits and limits."""
    gateways = list(_gateways())
    operations = _table(
        ["operation", *(provider.name for provider, _features in gateways)],
        (
            [f"`{each.value}`", *(YES if each in features.operations else NO for _provider, features in gateways)]
            for each in GatewayOperation
        ),
    )
    sections = "\n".join(_section(provider, features) for provider, features in gateways)
    return f"{_INTRODUCTION}\n{operations}\n{_AMOUNTS}\n{sections}"


_INTRODUCTION = """# What each gateway can do

Made by `manage.py capability_matrix --write` from the declarations that the hub checks before any call; a test holds this
page to them. What a gateway can't do is answered with `unsupported_operation`, and nothing is sent. An account may be able
to do less than its gateway: `features` of `GET /api/v1/integrations/configs/{id}` says what yours can.

## Operations
"""
_AMOUNTS = """
## Currencies

The API takes integer minor units by ISO 4217; *digits* says how many decimal digits that is. *Writes* is how many digits the
gateway itself uses, *step* what an amount must be a multiple of. Nothing is ever rounded: what a gateway can't express is
refused. The limits are those that the hub checks; a gateway may have narrower ones for an account, whose refusal is passed on.
"""


def _gateways() -> Iterator[tuple[Provider, PaymentFeatures]]:
    for provider in providers_of(Capability.PAYMENT.value):
        yield provider, gateway_class(provider.slug).features


def _compact_line(provider: Provider, features: PaymentFeatures) -> list[str]:
    cells = [
        ", ".join(word for operation, word in operations if operation in features.operations) or NO
        for _name, operations in _GROUPS
    ]
    methods = ", ".join(sorted(method.value for method in features.methods))
    return [f"**{provider.name}**", methods, *cells, _some(sorted(features.currencies))]


def _some(currencies: list[str]) -> str:
    return ", ".join(currencies) if len(currencies) <= 4 else str(len(currencies))


def _section(provider: Provider, features: PaymentFeatures) -> str:
    methods = ", ".join(f"`{method.value}`" for method in sorted(features.methods))
    notes = "".join(f"- `{operation}`: {text}\n" for operation, text in sorted((features.notes or {}).items()))
    rules = _table(
        ["currency", "digits", "writes", "smallest", "largest", "step"],
        (_rule_line(codes, rule) for (_digits, rule), codes in sorted(_by_rule(features).items(), key=lambda pair: pair[1])),
    )
    return f"### {provider.name}\n\nThe payer pays by {methods}.\n{notes and chr(10) + notes}\n{rules}\n"


def _by_rule(features: PaymentFeatures) -> dict[tuple[int, CurrencyRule], list[str]]:
    found: dict[tuple[int, CurrencyRule], list[str]] = defaultdict(list)
    for code in sorted(features.currencies):
        found[exponent(code), features.currencies[code]].append(code)
    return found


def _rule_line(codes: list[str], rule: CurrencyRule) -> list[str]:
    digits = exponent(codes[0])

    def major(minor_units: int) -> str:
        return f"{Decimal(minor_units).scaleb(-digits):,}"

    return [" ".join(codes), str(digits), str(rule.decimals), major(rule.minimum), major(rule.maximum), major(rule.step)]


def _table(heads: list[str], lines: Iterator[list[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
