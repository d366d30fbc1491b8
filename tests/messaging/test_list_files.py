"""Files as office programs write them, and files that were made to do harm."""

from __future__ import annotations

import io
import re
import tracemalloc
import zipfile
from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any

import pytest
from openpyxl import Workbook
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from integrations.contracts.errors import InvalidRequest
from integrations.messaging.lists import files
from integrations.messaging.lists.files import LARGEST_FILE, MOST_ROWS, open_table

SHEET, STYLES, BOOK = "xl/worksheets/sheet1.xml", "xl/styles.xml", "xl/workbook.xml"
TEXTS, RELATIONS = "xl/sharedStrings.xml", "xl/_rels/workbook.xml.rels"
MB = 1024 * 1024


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
    """Return a good workbook with its parts changed. It has shared texts too, which `openpyxl` may write or not."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(workbook(["Phone"], ["0711000123"]))) as source,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        parts = {name: source.read(name) for name in source.namelist()}
        relation = b'<Relationship Id="texts" Type="x/relationships/sharedStrings" Target="sharedStrings.xml"/></Relationships>'
        parts[RELATIONS] = parts[RELATIONS].replace(b"</Relationships>", relation)
        parts[TEXTS] = b"<sst><si><t>Shared</t></si></sst>"
        for name, content in parts.items():
            target.writestr(name, change(name, content))
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


def with_change(part: str, old: bytes, new: bytes) -> bytes:
    def change(name: str, content: bytes) -> bytes:
        if name != part:
            return content
        assert old in content
        return content.replace(old, new, 1)

    return repacked(change)


@pytest.mark.parametrize(
    ("part", "before", "bomb"),
    [
        (STYLES, b"</cellXfs>", b"<xf/>" * (4 * MB)),
        (BOOK, b"</sheets>", b'<sheet r:id="rId1"/>' * MB),
        (RELATIONS, b"</Relationships>", b"<x/>" * MB),
        (TEXTS, b"</sst>", b"<x/>" * (16 * MB)),
        (TEXTS, b"</sst>", b"<si><t>" + b"a" * MB + b"</t></si>"),
        (TEXTS, b"</sst>", b"<x>" * MB),
        (TEXTS, b"</sst>", b"<x y='" + b"a" * 20 * MB + b"'/>"),
        (TEXTS, b"</sst>", b"<!--" + b"a" * 20 * MB + b"-->"),
        (TEXTS, b"</sst>", b"".join(b"<x%d/>" % each for each in range(200_000))),
        (TEXTS, b"</sst>", b"".join(b"<%s%d>" % (b"x" * 200_000, each) for each in range(30))),
        (SHEET, b"</row>", b'<c r="C1" t="inlineStr"><is>' + b"<t>aaaa</t>" * MB + b"</is></c></row>"),
        (SHEET, b"</row>", b'<c r="C1" t="inlineStr"><is><t>' + b"a" * 20 * MB + b"</t></is></c></row>"),
        (SHEET, b"</sheetData>", b"</sheetData><mergeCells>" + b"<x/>" * MB),
        (SHEET, b"<sheetData>", b"<x/>" * MB),
        (SHEET, b"</sheetData>", b" " * 101 * MB),
    ],
    ids=lambda each: each if isinstance(each, str) else each[:12].decode(),
)
def test_a_small_workbook_that_unpacks_to_a_lot_costs_little(part: str, before: bytes, bomb: bytes) -> None:
    content = with_change(part, before, bomb + before)
    assert len(content) < 2 * MB
    file = io.BytesIO(content)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest) as caught:
            for _ in open_table(file).rows:
                pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.attr == "file"
    assert peak < 12 * MB


def test_what_a_list_does_not_need_is_not_opened() -> None:
    logo = {"xl/media/logo.png": b"\0" * 30 * MB, "xl/theme/theme2.xml": b"<x/>" * MB, "docProps/more.xml": b"<!DOCTYPE x>"}
    assert read(repacked(lambda _name, content: content, logo))[1] == [(2, ["0711000123"])]


def test_a_package_of_very_many_parts_is_refused_before_its_directory_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    content = repacked(lambda _name, content: content, {f"x{each}": b"" for each in range(1000)})
    monkeypatch.setattr(zipfile, "ZipFile", None)
    assert "too much" in refused(content)


def test_another_way_of_packing_is_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook(["Phone"]))) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    refused(out.getvalue())


def test_the_sheet_in_front_is_read() -> None:
    book = Workbook()
    book.active.append(["Notes"])
    for each in (["Phone"], ["0711000123"]):
        (book["List"] if "List" in book else book.create_sheet("List")).append(each)
    book.active = 1
    out = io.BytesIO()
    book.save(out)
    assert read(out.getvalue()) == (["Phone"], [(2, ["0711000123"])])
    book.create_chartsheet("Chart", 0)
    book.active = 0
    book.save(out := io.BytesIO())
    assert read(out.getvalue())[0] == ["Notes"]


def test_dates_of_an_old_mac_and_times_in_styles_of_ones_own() -> None:
    book = Workbook()
    book.epoch = CALENDAR_MAC_1904
    book.active.append(["Due", "Worked", "Code"])
    book.active.append([date(2026, 3, 1), 1.25, 7])
    book.active["B2"].number_format, book.active["C2"].number_format = "[h]:mm", '0 "days"'
    out = io.BytesIO()
    book.save(out)
    assert read(out.getvalue())[1] == [(2, ["2026-03-01", "1 day, 6:00:00", "7"])]


def test_texts_in_pieces_without_how_they_are_spoken_and_prefixed_elements() -> None:
    rich = b'<c t="inlineStr"><is><r><t>Ja</t></r><r><t xml:space="preserve">ne </t></r><rPh><t>x</t></rPh></is></c>'
    content = with_change(SHEET, b"</sheetData>", b"<row>" + rich + b"<c><v>7</v></c></row></sheetData>")
    assert read(content)[1] == [(2, ["0711000123"]), (3, ["Jane", "7"])]

    def prefixed(name: str, content: bytes) -> bytes:
        if name not in (SHEET, TEXTS, STYLES, BOOK):
            return content
        content = re.sub(rb"<(/?)([A-Za-z])", rb"<\1x:\2", content)
        return content.replace(b' xmlns="http', b' xmlns:x="http')

    assert read(repacked(prefixed)) == (["Phone"], [(2, ["0711000123"])])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'<row r="2"', b'<row r="1"'),
        (b'<row r="2"', b'<row r="1048577"'),
        (b'<row r="2"', b'<row r="x"'),
        (b'<c r="A2"', b'<c r="2"'),
        (b"</sheetData>", b'<row><c t="s"><v>99</v></c></row></sheetData>'),
        (b"</sheetData>", b'<row><c t="s"><v>one</v></c></row></sheetData>'),
        (b"</sheetData>", b"<row><c><v>one</v></c></row></sheetData>"),
    ],
)
def test_a_sheet_that_contradicts_itself_is_refused(old: bytes, new: bytes) -> None:
    assert "damaged" in refused(with_change(SHEET, old, new))


def test_a_row_far_too_wide_is_refused_and_costs_nothing() -> None:
    wide = with_change(SHEET, b"</sheetData>", b'<row><c r="XFD3"><v>7</v></c></row></sheetData>')
    assert "60 columns" in refused(wide)


def test_a_long_workbook_is_read_with_flat_memory() -> None:
    row = b'<row><c t="inlineStr"><is><t>0711000123</t></is></c><c><v>7</v></c></row>'
    content = with_change(SHEET, b"</sheetData>", row * 20_000 + b"</sheetData>")
    file = io.BytesIO(content)
    tracemalloc.start()
    count = sum(1 for _ in open_table(file).rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (count, peak < 3 * MB) == (20_001, True)


def test_a_part_in_another_encoding() -> None:
    content = repacked(lambda name, content: content.decode().encode("utf-16") if name == SHEET else content)
    assert read(content)[1] == [(2, ["0711000123"])]


def test_elements_inside_of_rows_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    content = with_change(SHEET, b"</row>", b"<c/>" * 1000 + b"</row>")
    assert read(content)[1] == [(2, ["0711000123"])]
    monkeypatch.setattr(files, "MOST_ELEMENTS", 1000)
    assert "too much" in refused(content)


def test_texts_that_cells_share() -> None:
    def shared(name: str, content: bytes) -> bytes:
        if name == TEXTS:
            texts = ["<t>Zoë</t>", "<r><t>Ja</t></r><r><t>ne</t></r><rPh><t>x</t></rPh>", "", "<t>Joe</t>"]
            return f"<sst>{''.join(f'<si>{each}</si>' for each in texts)}</sst>".encode()
        if name != SHEET:
            return content
        rows = b"".join(b'<row><c t="s"><v>%d</v></c><c t="s"><v>3</v></c></row>' % each for each in range(3))
        return content.replace(b"</sheetData>", rows + b"</sheetData>")

    assert read(repacked(shared))[1][1:] == [(3, ["Zoë", "Joe"]), (4, ["Jane", "Joe"]), (5, ["", "Joe"])]


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
