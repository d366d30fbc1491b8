"""Files as office programs write them, and files that were made to do harm."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any

import pytest
from openpyxl import Workbook

from integrations.contracts.errors import InvalidRequest
from integrations.messaging.lists.files import LARGEST_FILE, MOST_ROWS, open_table


def read(content: bytes) -> tuple[list[str], list[tuple[int, list[str]]]]:
    table = open_table(io.BytesIO(content))
    return table.headings, list(table.rows)


def refused(content: bytes) -> str:
    with pytest.raises(InvalidRequest) as caught:
        read(content)
    assert caught.value.attr == "file"
    return caught.value.message


def workbook(*rows: list[Any]) -> bytes:
    book = Workbook()
    for row in rows:
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_csv_in_all_its_forms(delimiter: str, encoding: str, newline: str) -> None:
    text = f"Phone{delimiter}Name{newline}0711000123{delimiter}Zoë Müller{newline}"
    assert read(text.encode(encoding)) == (["Phone", "Name"], [(2, ["0711000123", "Zoë Müller"])])


def test_quoted_cells_hold_delimiters_quotes_and_lines() -> None:
    text = 'Phone,Note\n0711000123,"Dear ""Jane"",\nsee you; soon"\n0711000124,x\n'
    assert read(text.encode()) == (
        ["Phone", "Note"],
        [(2, ["0711000123", 'Dear "Jane",\nsee you; soon']), (3, ["0711000124", "x"])],
    )


def test_a_semicolon_in_a_quoted_heading_is_no_delimiter() -> None:
    assert read(b'"Phone; mobile; a; b",Name\n0711000123,Jane\n')[0] == ["Phone; mobile; a; b", "Name"]


def test_the_delimiter_that_excel_names_in_a_first_line() -> None:
    assert read(b"sep=|\nPhone|Name, first\n0711000123|Jane\n") == (["Phone", "Name, first"], [(2, ["0711000123", "Jane"])])


def test_one_column_needs_no_delimiter() -> None:
    assert read(b"Phone\n0711000123\n") == (["Phone"], [(2, ["0711000123"])])


def test_empty_lines_count_but_are_no_rows() -> None:
    assert read(b"\n\nPhone,Name\n\n0711000123,\n,,\n0711000124,Jane,\n\n\n") == (
        ["Phone", "Name"],
        [(5, ["0711000123"]), (7, ["0711000124", "Jane"])],
    )


def test_headings_can_be_told_apart() -> None:
    assert read(b"Phone,,Name,Name,Phone\n1,2,3,4,5\n")[0] == ["Phone", "Column 2", "Name", "Name (2)", "Phone (2)"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n \n,,\n", "empty"),
        (b"0711000123,Jane\n0711000124,Joe\n", "first line"),
        (b"jane@example.org\njoe@example.org\n", "first line"),
        (b'Phone,Name\n0711000123,"Jane\n0711000124,Joe\n', "quotation"),
        (b'Phone,Name\n0711000123,"Jane" W\n', "quotation"),
        (b"Phone,Name\n0711000123,Jane\x00\n", "neither"),
        (b"%PDF-1.7\n\x01\x02\x03", "neither"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x02\x00", "neither"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "encrypted"),
        (b"\xff\xfeP\x00h", "characters"),
        (b"Phone\n\x81\x8d\n", "characters"),
        (b"Phone," + b"x," * 70 + b"\n", "60 columns"),
        (b"Phone\n" + b"x" * 5001 + b"\n", "5,000 characters"),
        (b"PK\x03\x04" + b"nonsense" * 40, "damaged"),
    ],
)
def test_what_is_no_list_is_refused_in_words(content: bytes, words: str) -> None:
    assert words in refused(content)


def test_a_heading_alone_has_no_rows() -> None:
    assert read(b"Phone,Name\n") == (["Phone", "Name"], [])


def test_too_many_rows_and_too_many_bytes() -> None:
    assert "rows" in refused(b"Phone\n" + b"1\n" * (MOST_ROWS + 1))
    assert len(read(b"Phone\n" + b"1\n" * MOST_ROWS)[1]) == MOST_ROWS
    assert "20 MB" in refused(b"Phone\n" + b"x" * LARGEST_FILE)


def test_excel_cells_as_a_person_reads_them() -> None:
    rows = (
        ["Phone", "Amount", "Due", "At", "Hour", "Paid", "Word"],
        [254712345678.0, 1500.5, date(2026, 3, 1), datetime.fromisoformat("2026-03-01T08:30"), time(9, 5), True, " Zoë "],
        [2.54712345678e11, 0.1 + 0.2, datetime.fromisoformat("2026-03-01"), None, None, False, "#N/A"],
        [712345678, 3, None, None, None, None, "01"],
    )
    assert read(workbook(*rows)) == (
        ["Phone", "Amount", "Due", "At", "Hour", "Paid", "Word"],
        [
            (2, ["254712345678", "1500.5", "2026-03-01", "2026-03-01 08:30", "09:05", "TRUE", "Zoë"]),
            (3, ["254712345678", "0.3", "2026-03-01", "", "", "FALSE"]),
            (4, ["712345678", "3", "", "", "", "", "01"]),
        ],
    )


def test_excel_rows_keep_their_numbers_and_formatted_empty_ones_are_none() -> None:
    assert read(workbook(["Phone"], [], ["0711000123"], [""], [None], [" "])) == (["Phone"], [(3, ["0711000123"])])
    assert "empty" in refused(workbook([]))


def repacked(change: Callable[[str, bytes], bytes], extra: dict[str, bytes] | None = None) -> bytes:
    """Return a good workbook with its parts changed."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(workbook(["Phone"], ["0711000123"]))) as source,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))
        for name, content in (extra or {}).items():
            target.writestr(name, content)
    return out.getvalue()


def test_a_formula_gives_the_value_that_excel_had_worked_out() -> None:
    def with_formula(name: str, content: bytes) -> bytes:
        if name != "xl/worksheets/sheet1.xml":
            return content
        cell = b'<row r="3"><c r="A3"><f>"07"&amp;11000124</f><v>711000124</v></c></row></sheetData>'
        return content.replace(b"</sheetData>", cell)

    assert read(repacked(with_formula))[1] == [(2, ["0711000123"]), (3, ["711000124"])]


def test_a_size_that_the_sheet_claims_is_not_believed() -> None:
    def tiny(name: str, content: bytes) -> bytes:
        return content.replace(b'ref="A1:A2"', b'ref="A1:A1"')

    assert read(repacked(tiny))[1] == [(2, ["0711000123"])]


def test_a_zip_bomb_is_not_unpacked() -> None:
    bomb = repacked(lambda _name, content: content, {"xl/media/zeros.bin": b"\0" * (301 * 1024 * 1024)})
    assert len(bomb) < LARGEST_FILE
    tracemalloc.start()
    assert "too much" in refused(bomb)
    assert tracemalloc.get_traced_memory()[1] < 20 * 1024 * 1024
    tracemalloc.stop()


def test_entities_are_not_expanded() -> None:
    def laughing(name: str, content: bytes) -> bytes:
        if name != "xl/worksheets/sheet1.xml":
            return content
        return b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha">]>' + content.replace(b"Phone", b"&a;")

    assert "unusual" in refused(repacked(laughing))


def test_a_word_document_and_a_broken_sheet_are_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        target.writestr("word/document.xml", "<w/>")
    assert "no Excel workbook" in refused(out.getvalue())
    cut = repacked(lambda name, content: content[:-40] if name == "xl/worksheets/sheet1.xml" else content)
    assert "damaged" in refused(cut)


def test_memory_stays_flat_over_a_long_file() -> None:
    content = b"Phone,Name\n" + b"".join(b"07%08d,Somebody With A Name\n" % each for each in range(MOST_ROWS))
    file = io.BytesIO(content)
    tracemalloc.start()
    count = sum(1 for _ in open_table(file).rows)
    assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    tracemalloc.stop()
    assert count == MOST_ROWS
