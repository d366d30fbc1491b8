"""The tenant's receipt for a payment, as a page and as a PDF. Both say the same, and only of money that arrived."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import lru_cache
from io import BytesIO
from xml.sax.saxutils import escape

from django.template.loader import render_to_string
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A5
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Flowable, HRFlowable, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from integrations.contracts.errors import Conflict
from integrations.contracts.money import Money
from integrations.registry import UnknownProvider, get_provider
from payments.models import Operation, OperationStatus, Payment, Status
from payments.selectors import refunds_of

REGULAR, BOLD = "Vera", "VeraBd"
METHODS = {"mobile_money": "Mobile money", "card": "Card", "redirect": "Online payment"}
REFUND_WORDS = {OperationStatus.SUCCEEDED.value: "Refunded"}


@dataclass(frozen=True, slots=True)
class Receipt:
    """What stands on a receipt, in words. `lines` are (label, value) pairs in their order."""

    tenant: str
    number: str
    amount: str
    status: str
    lines: tuple[tuple[str, str], ...]
    refunds: tuple[tuple[str, str], ...]
    kept: str
    """The amount that remains after refunds; empty where there was none."""


def receipt_of(payment: Payment) -> Receipt:
    """Return the receipt's content. Raises `Conflict` for a payment that has not succeeded."""
    if payment.status != Status.SUCCEEDED:
        raise Conflict(f"A payment that is {payment.status} has no receipt.", provider=payment.provider, attr="payment")
    refunds = [refund for refund in refunds_of(payment) if refund.status != OperationStatus.FAILED]
    zone = payment.tenant.zone
    lines = [
        ("Date", _moment(payment.completed_at or payment.created, zone)),
        ("Received from", payment.payer_name or str((payment.customer or {}).get("name", "")) or payment.phone),
        ("For", _purpose(payment)),
        ("Paid by", _method(payment)),
        ("Transaction", payment.receipt or payment.provider_ref),
        ("Payment", payment.pk),
    ]
    return Receipt(
        tenant=payment.tenant.name,
        number=payment.receipt_number or payment.pk,
        amount=_money(payment.amount_captured, payment),
        status=_status(payment),
        lines=tuple((label, value) for label, value in lines if value),
        refunds=tuple(_refund_line(refund, payment, zone) for refund in refunds),
        kept=_money(payment.amount_captured - payment.amount_refunded, payment) if payment.amount_refunded else "",
    )


def render_receipt_html(payment: Payment) -> str:
    """Return the receipt as a whole page that also prints well. Raises `Conflict` unless the payment has succeeded."""
    return render_to_string("receipts/receipt.html", {"receipt": receipt_of(payment)})


def render_receipt_pdf(payment: Payment) -> bytes:
    """Return the receipt as a PDF of one A5 page or more. Raises `Conflict` unless the payment has succeeded.

    Letters that the embedded font lacks lose their accents, or become a question mark; the page shows every letter.
    """
    receipt = receipt_of(payment)
    _register_fonts()
    buffer = BytesIO()
    document = SimpleDocTemplate(
        buffer,
        pagesize=A5,
        leftMargin=15 * mm,
        rightMargin=15 * mm,
        topMargin=16 * mm,
        bottomMargin=14 * mm,
        title=f"Receipt {receipt.number}",
        author=receipt.tenant,
        invariant=1,
    )
    document.build(_story(receipt, document.width))
    return buffer.getvalue()


# --- the content ----------------------------------------------------------------------------------------------------------


def _status(payment: Payment) -> str:
    if not payment.amount_refunded:
        return "Paid"
    return "Refunded" if payment.amount_refunded >= payment.amount_captured else "Partly refunded"


def _purpose(payment: Payment) -> str:
    reference = f"{payment.reference_type} {payment.reference_id}".strip() if payment.reference_id else payment.account_number
    return " · ".join(filter(None, [reference, payment.description]))


def _method(payment: Payment) -> str:
    try:
        provider = get_provider(payment.provider).name
    except UnknownProvider:
        provider = payment.provider
    kind = METHODS.get(payment.method_type, "")
    return f"{provider} · {kind.lower()}" if kind else provider


def _refund_line(refund: Operation, payment: Payment, zone: tzinfo) -> tuple[str, str]:
    word = REFUND_WORDS.get(refund.status, "Refund under way")
    why = f" ({refund.reason})" if refund.reason else ""
    return f"{word} {_moment(refund.updated, zone)}{why}", _money(refund.amount, payment)


def _money(minor_units: int, payment: Payment) -> str:
    return str(Money(minor_units, payment.currency))


def _moment(value: datetime, zone: tzinfo) -> str:
    return f"{value.astimezone(zone):%d %B %Y, %H:%M %Z}"


# --- the PDF --------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _register_fonts() -> frozenset[int]:
    """Register the embedded fonts once, and return the code points that they can draw."""
    for name in (REGULAR, BOLD):
        pdfmetrics.registerFont(TTFont(name, f"{name}.ttf"))
    drawable = [set(pdfmetrics.getFont(name).face.charToGlyph) for name in (REGULAR, BOLD)]
    return frozenset(drawable[0] & drawable[1])


def _drawable(text: str) -> str:
    known = _register_fonts()

    def one(letter: str) -> str:
        if ord(letter) in known:
            return letter
        base = unicodedata.normalize("NFKD", letter)[:1]
        return base if base and ord(base) in known else "?"

    return "".join(one(letter) for letter in unicodedata.normalize("NFC", text))


def _paragraph(text: str, style: ParagraphStyle) -> Paragraph:
    return Paragraph(escape(_drawable(text)), style)


def _style(name: str, size: float, *, bold: bool = False, grey: bool = False, right: bool = False) -> ParagraphStyle:
    return ParagraphStyle(
        name,
        fontName=BOLD if bold else REGULAR,
        fontSize=size,
        leading=size * 1.35,
        textColor=HexColor("#5b6470") if grey else HexColor("#16202b"),
        alignment=2 if right else 0,
    )


def _story(receipt: Receipt, width: float) -> list[Flowable]:
    label, value, right = _style("label", 8.5, grey=True), _style("value", 9.5), _style("right", 9.5, right=True)
    head = Table(
        [
            [
                _paragraph(receipt.tenant, _style("tenant", 13, bold=True)),
                [
                    _paragraph("Receipt", _style("word", 8.5, grey=True, right=True)),
                    _paragraph(receipt.number, _style("number", 11, bold=True, right=True)),
                ],
            ]
        ],
        colWidths=[width * 0.62, width * 0.38],
    )
    head.setStyle(_PLAIN)
    lines = Table(
        [[_paragraph(name, label), _paragraph(text, value)] for name, text in receipt.lines],
        colWidths=[width * 0.28, width * 0.72],
    )
    lines.setStyle(_PLAIN)
    story: list[Flowable] = [
        head,
        Spacer(1, 5 * mm),
        HRFlowable(width="100%", color=HexColor("#d5dae0"), thickness=0.6),
        Spacer(1, 5 * mm),
        _paragraph(receipt.amount, _style("amount", 20, bold=True)),
        Spacer(1, 1 * mm),
        _paragraph(receipt.status, _style("status", 10, grey=True)),
        Spacer(1, 6 * mm),
        lines,
    ]
    if receipt.refunds:
        rows = [[_paragraph(text, value), _paragraph(amount, right)] for text, amount in receipt.refunds]
        if receipt.kept:
            strong = _style("kept", 9.5, bold=True)
            rows.append([_paragraph("Remains", strong), _paragraph(receipt.kept, _style("keptr", 9.5, bold=True, right=True))])
        refunds = Table(rows, colWidths=[width * 0.68, width * 0.32])
        refunds.setStyle(_PLAIN)
        story += [Spacer(1, 5 * mm), HRFlowable(width="100%", color=HexColor("#d5dae0"), thickness=0.6), refunds]
    return story


_PLAIN = TableStyle(
    [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("RIGHTPADDING", (0, 0), (-1, -1), 0),
        ("TOPPADDING", (0, 0), (-1, -1), 2.5),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
    ]
)
