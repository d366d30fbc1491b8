"""Reading lists of recipients from files: CSV in the forms that office programs write, and Excel workbooks.

Files come from strangers' mailboxes: nothing of one is trusted, and it is read row by row, never as a whole.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import IO, Any

from openpyxl import load_workbook

from integrations.contracts.errors import InvalidRequest

LARGEST_FILE = 20 * 1024 * 1024
MOST_ROWS = 100_000
MOST_COLUMNS = 60
LONGEST_CELL = 5_000
UNPACKED_LIMIT = 300 * 1024 * 1024
SHARED_TEXTS_LIMIT = 60 * 1024 * 1024
"""Excel keeps each distinct text once, in a part that has to be held in memory."""
SHEET_ROWS = 1_048_576
DELIMITERS = ",;\t|"
SAMPLE = 64 * 1024
FORMULA_ERRORS = frozenset({"#N/A", "#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#SPILL!", "#CALC!"})

_ROOT = re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*\?>)?\s*<[A-Za-z]")
_NUMBER_LIKE = re.compile(r"\+?[0-9][0-9 ()./-]{6,}")
_EMAIL_LIKE = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


@dataclass(frozen=True, slots=True)
class Table:
    """A file's headings, and its rows as texts. Each row comes with its number as a person counts it (1 is the first line of
    the sheet); empty rows are left out, and so are empty cells at a row's end. Reading on may raise `InvalidRequest`."""

    headings: list[str]
    rows: Iterator[tuple[int, list[str]]]


def open_table(file: IO[bytes]) -> Table:
    """Read the headings of a CSV file or workbook (told by its content); the rows are read as they are asked for.

    Raises `InvalidRequest` (attr `file`) for what is empty, too large, encrypted, damaged, or has no line of headings.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if size == 0:
        raise _bad("The file is empty.")
    if size > LARGEST_FILE:
        raise _bad(f"The file is larger than {LARGEST_FILE // 1024**2} MB.")
    head = file.read(SAMPLE)
    file.seek(0)
    if head.startswith(b"PK\x03\x04"):
        return _table(_workbook_rows(file))
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        raise _bad("The workbook is encrypted or of an old format. Save it as .xlsx without a password, or as CSV.")
    return _table(_csv_rows(file, head))


def _table(rows: Iterable[list[str]]) -> Table:
    numbered = ((number, _trimmed(row, number)) for number, row in enumerate(rows, start=1))
    filled = ((number, row) for number, row in numbered if row)
    top, headings = next(filled, (0, []))
    if not headings:
        raise _bad("The file is empty.")
    if len(headings) > MOST_COLUMNS:
        raise _bad(f"The file has more than {MOST_COLUMNS} columns.")
    if any(_NUMBER_LIKE.fullmatch(each) or _EMAIL_LIKE.fullmatch(each) for each in headings):
        raise _bad("The first line must name the columns, such as “Phone” and “Name”; it holds a number or an address.")
    return Table(_unique(headings), _limited(filled, top))


def _limited(rows: Iterator[tuple[int, list[str]]], top: int) -> Iterator[tuple[int, list[str]]]:
    for number, row in rows:
        if number - top > MOST_ROWS:
            raise _bad(f"The file has more than {MOST_ROWS:,} rows.")
        if len(row) > MOST_COLUMNS:
            raise _bad(f"Row {number} has more than {MOST_COLUMNS} columns.")
        yield number, row


def _trimmed(row: list[str], number: int) -> list[str]:
    cells = [each.strip() for each in row]
    while cells and not cells[-1]:
        cells.pop()
    for cell in cells:
        if len(cell) > LONGEST_CELL:
            raise _bad(f"A cell in row {number} has more than {LONGEST_CELL:,} characters.")
        if "\0" in cell or not _writable(cell):
            raise _bad(f"A cell in row {number} holds what is no text.")
    return cells


def _writable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unique(headings: list[str]) -> list[str]:
    """Return the headings so that each can be told from the others: “Column 3” for an empty one, “Name (2)” for a second."""
    found: list[str] = []
    for place, heading in enumerate(headings, start=1):
        name = base = " ".join(heading.split())[:100] or f"Column {place}"
        count = 1
        while name in found:
            count += 1
            name = f"{base} ({count})"
        found.append(name)
    return found


# --- CSV


def _csv_rows(file: IO[bytes], head: bytes) -> Iterator[list[str]]:
    encoding = _encoding(file, head)
    text = io.TextIOWrapper(io.BufferedReader(_Unclosed(file)), encoding=encoding, newline="")
    try:
        sample = text.read(SAMPLE)
        text.seek(0)
        delimiter, told = _delimiter(sample)
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        if told:
            next(reader, None)
        yield from reader
    except csv.Error as error:
        raise _bad(f"Line {reader.line_num} can't be read: {error}. Look at its quotation marks.") from None
    except UnicodeError:
        raise _bad("The file's characters can't be read. Save it as CSV UTF-8.") from None
    finally:
        text.detach()


class _Unclosed(io.RawIOBase):
    """The caller's file for a wrapper that would close it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        found = self._file.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _encoding(file: IO[bytes], head: bytes) -> str:
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in head:
        # Without a mark: Latin letters have their zero byte second (little end first) or first.
        little, big = head[1::2].count(0), head[0::2].count(0)
        if max(little, big) < len(head) // 4:
            raise _bad("This is neither a CSV file nor an Excel workbook (.xlsx).")
        return "utf-16-le" if little > big else "utf-16-be"
    if any(byte < 9 or 13 < byte < 27 for byte in head):
        raise _bad("This is neither a CSV file nor an Excel workbook (.xlsx).")
    return "utf-8" if _is_utf8(file) else "cp1252"


def _is_utf8(file: IO[bytes]) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while chunk := file.read(1024 * 1024):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    finally:
        file.seek(0)
    return True


def _delimiter(sample: str) -> tuple[str, bool]:
    """Return the delimiter, and whether a first line of its own (`sep=;`, as Excel writes) told it."""
    first = sample.lstrip("\r\n ").splitlines()[0] if sample.strip() else ""
    if re.fullmatch(r"sep=.", first.strip("\"'")):
        return first.strip("\"'")[-1], True
    bare = re.sub(r'"(?:[^"]|"")*"', "", sample).lstrip("\r\n ")
    heading = bare.splitlines()[0] if bare else ""
    return max(DELIMITERS, key=heading.count), False


# --- Excel


def _workbook_rows(file: IO[bytes]) -> Iterator[list[str]]:
    _check_package(file)
    try:
        # What fails in a damaged workbook is anything at all, deep inside of the library.
        book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
        sheet = book.active if book.active is not None and hasattr(book.active, "iter_rows") else book.worksheets[0]
        sheet.reset_dimensions()  # what the file says of its own size may be wrong
        cells = sheet.iter_rows(values_only=True, max_col=MOST_COLUMNS + 1, max_row=SHEET_ROWS)
        advance = _guarded(lambda: next(cells, None))
    except Exception as error:
        raise _bad("The workbook can't be read: it is damaged, or no .xlsx file.") from error
    try:
        while (row := advance()) is not None:
            yield [_text(cell) for cell in row]
    finally:
        book.close()


def _guarded(step: Callable[[], Any]) -> Callable[[], Any]:
    def guarded() -> Any:
        try:
            return step()
        except Exception as error:
            raise _bad("The workbook can't be read to its end: it is damaged.") from error

    return guarded


def _check_package(file: IO[bytes]) -> None:
    """Refuse what would unpack to more than a list of recipients can need, and XML that declares entities."""
    try:
        with zipfile.ZipFile(file) as package:
            parts = package.infolist()
            if any(part.flag_bits & 1 for part in parts):
                raise _bad("The workbook is encrypted. Save it without a password.")
            shared = sum(part.file_size for part in parts if part.filename.endswith("sharedStrings.xml"))
            unpacked = sum(part.file_size for part in parts)
            if len(parts) > 2000 or unpacked > UNPACKED_LIMIT or shared > SHARED_TEXTS_LIMIT:
                raise _bad("The workbook unpacks to too much. Keep the list alone in it, or save it as CSV.")
            if "xl/workbook.xml" not in package.namelist():
                raise _bad("This is no Excel workbook (.xlsx). Save it as .xlsx or CSV.")
            for part in parts:
                if part.filename.endswith((".xml", ".rels")):
                    with package.open(part) as opened:
                        if not _ROOT.match(opened.read(2048)):
                            raise _bad("The workbook can't be read: its XML is unusual.")
    except (zipfile.BadZipFile, OSError, NotImplementedError, EOFError, zlib.error) as error:
        raise _bad("The workbook can't be read: it is damaged.") from error
    finally:
        file.seek(0)


def _text(cell: object) -> str:
    """Return a cell as a person reads it; a number without exponent or needless decimals, a date as ISO 8601."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e18 else f"{cell:.15g}"
    if isinstance(cell, datetime):
        return cell.date().isoformat() if cell.time() == time() else cell.isoformat(sep=" ", timespec="minutes")
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, time):
        return cell.isoformat(timespec="minutes")
    return "" if cell in FORMULA_ERRORS else str(cell)


def _bad(text: str) -> InvalidRequest:
    return InvalidRequest(text, attr="file")
