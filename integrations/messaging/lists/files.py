"""Reading lists of recipients from files: CSV in the forms that office programs write, and Excel workbooks.

Files come from strangers' mailboxes: nothing of one is trusted, and it is read row by row, never as a whole.
"""

from __future__ import annotations

import codecs
import csv
import io
import posixpath
import re
import zipfile
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import IO, Any
from xml.parsers import expat

from openpyxl.styles.numbers import builtin_format_code, is_date_format, is_timedelta_format
from openpyxl.utils.cell import coordinate_to_tuple
from openpyxl.utils.datetime import MAC_EPOCH, WINDOWS_EPOCH, from_excel, from_ISO8601

from integrations.contracts.errors import InvalidRequest

LARGEST_FILE = 20 * 1024 * 1024
MOST_ROWS = 100_000
MOST_COLUMNS = 60
LONGEST_CELL = 5_000
UNPACKED_LIMIT = 300 * 1024 * 1024
SHARED_TEXTS_LIMIT = 60 * 1024 * 1024
"""Excel keeps each distinct text once, in a part that has to be held in memory."""
SHEET_LIMIT = 100 * 1024 * 1024
SMALL_PART_LIMIT = 2 * 1024 * 1024
"""For a workbook's other parts that are read."""
MOST_PARTS, MOST_ELEMENTS, MOST_BESIDE_ROWS = 1000, 5_000_000, 200_000
MOST_NAMED, DEEPEST, LONGEST_TAG, CHUNK = 100_000, 40, 256 * 1024, 64 * 1024
EXCELS_LONGEST_CELL = 32_767
SHEET_ROWS = 1_048_576
ROW = "/worksheet/sheetData/row"
WORKBOOK = "xl/workbook.xml"
TOO_MUCH = "The workbook unpacks to too much. Keep the list alone in it, or save it as CSV."
UNUSUAL = "The workbook can't be read: its XML is unusual."
DELIMITERS = ",;\t|"
SAMPLE = 64 * 1024
FORMULA_ERRORS = frozenset({"#N/A", "#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#SPILL!", "#CALC!"})

_NUMBER_LIKE = re.compile(r"\+?[0-9][0-9 ()./-]{6,}")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
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
    return _table(enumerate(_csv_rows(file, head), start=1))


def _table(rows: Iterable[tuple[int, list[str]]]) -> Table:
    numbered = ((number, _trimmed(row, number)) for number, row in rows)
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
        if _NO_TEXT.search(cell):
            raise _bad(f"A cell in row {number} holds what is no text.")
    return cells


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


# --- Excel: 20 kB can unpack to a gigabyte of elements, so only what a list needs is opened, streamed, and kept within limits.


def _workbook_rows(file: IO[bytes]) -> Iterator[tuple[int, list[str]]]:
    try:
        # What fails in a damaged workbook is anything at all.
        _check_members(file)
        with zipfile.ZipFile(file) as package:
            yield from _sheet_rows(package)
    except InvalidRequest:
        raise
    except Exception as error:
        raise _bad("The workbook can't be read: it is damaged, or no .xlsx file.") from error


def _check_members(file: IO[bytes]) -> None:
    """Refuse a package of very many parts before its directory is read, by the mark of the directory's entries."""
    if sum(chunk.count(b"PK\x01\x02") for chunk in iter(lambda: file.read(1024 * 1024), b"")) > MOST_PARTS:
        raise _bad(TOO_MUCH)
    file.seek(0)


def _sheet_rows(package: zipfile.ZipFile) -> Iterator[tuple[int, list[str]]]:
    """Return the filled rows of the sheet that was in front when the workbook was saved (the first, if that is a chart)."""
    if any(part.flag_bits & 1 for part in package.infolist()):
        raise _bad("The workbook is encrypted. Save it without a password.")
    if sum(part.file_size for part in package.infolist()) > UNPACKED_LIMIT:
        raise _bad(TOO_MUCH)
    present = set(package.namelist())
    if WORKBOOK not in present:
        raise _bad("This is no Excel workbook (.xlsx). Save it as .xlsx or CSV.")
    related: dict[str, tuple[str, str]] = {}
    for path, said, _ in _elements(package, "xl/_rels/workbook.xml.rels"):
        if path == "/Relationships/Relationship" and said.get("TargetMode") != "External":
            target = posixpath.normpath(posixpath.join("/xl", said["Target"])).lstrip("/")
            related[said["Id"]] = (said["Type"].rpartition("/")[2], target)
    others = {kind: target for kind, target in related.values() if target in present}
    sheets, front, epoch = [], 0, WINDOWS_EPOCH
    for path, said, _ in _elements(package, WORKBOOK):
        if path == "/workbook/sheets/sheet":
            sheets += [related[value] for key, value in said.items() if key.rpartition(":")[2] == "id"]
        elif path == "/workbook/bookViews/workbookView":
            front = front or int(said.get("activeTab", 0))
        elif path == "/workbook/workbookPr" and said.get("date1904") in ("1", "true"):
            epoch = MAC_EPOCH
    sheet = next(target for kind, target in sheets[front : front + 1] + sheets if kind == "worksheet")
    texts = _Texts(_elements(package, others["sharedStrings"], SHARED_TEXTS_LIMIT) if "sharedStrings" in others else ())
    dates = _date_styles(_elements(package, others["styles"]) if "styles" in others else ())
    number, column, beside, inline, plain = 0, 0, 0, "", ""
    cells: list[str] = []
    for path, said, text in _elements(package, sheet, SHEET_LIMIT):
        if path == "/worksheet/sheetData/row/c/v":
            plain = text
        elif path in ("/worksheet/sheetData/row/c/is/t", "/worksheet/sheetData/row/c/is/r/t"):
            inline = _joined(inline, text)
        elif path == "/worksheet/sheetData/row/c":
            column = coordinate_to_tuple(said["r"])[1] if "r" in said else column + 1
            raw = inline if said.get("t") == "inlineStr" else plain
            place = min(column, MOST_COLUMNS + 1)  # a row of more columns is refused, however many they are
            cells += [""] * (place - len(cells))
            cells[place - 1] = _text(_value(raw, said, texts, dates, epoch)) if raw else ""
            inline = plain = ""
        elif not path.startswith(ROW) and (beside := beside + 1) > MOST_BESIDE_ROWS:
            raise _bad(TOO_MUCH)
        elif path == ROW:
            if not number < (number := int(float(said.get("r", number + 1)))) <= SHEET_ROWS:
                raise ValueError(number)
            yield number, cells
            column, cells = 0, []


def _elements(package: zipfile.ZipFile, name: str, limit: int = SMALL_PART_LIMIT) -> Iterator[tuple[str, dict[str, str], str]]:
    """Yield each element of an XML part when it ends: the names down to it (`/sst/si`), its attributes, the text at its end."""
    part = package.getinfo(name)
    if part.file_size > limit or part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _bad(TOO_MUCH)
    open_ones: list[tuple[str, dict[str, str]]] = [("", {})]
    ended: list[tuple[str, dict[str, str], str]] = []
    names: dict[str, str] = {}
    begun, fed, text = 0, 0, ""

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal begun, text
        begun, text = begun + 1, ""
        if begun > MOST_ELEMENTS or len(open_ones) > DEEPEST:
            raise _bad(TOO_MUCH)
        open_ones.append((f"{open_ones[-1][0]}/{tag.rpartition(':')[2]}", attributes))

    def end(_tag: str) -> None:
        nonlocal text
        ended.append((*open_ones.pop(), text))
        text = ""

    def characters(found: str) -> None:
        nonlocal text
        text = _joined(text, found)

    parser = expat.ParserCreate(intern=names)
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = characters, _refuse_entities
    with package.open(part) as opened:
        while chunk := opened.read(CHUNK):
            parser.Parse(chunk, False)
            fed += len(chunk)
            # The parser itself keeps each name, and a tag or comment until it is complete.
            if sum(map(len, names)) > MOST_NAMED or fed - parser.CurrentByteIndex > LONGEST_TAG:
                raise _bad(UNUSUAL)
            yield from ended
            ended.clear()
    parser.Parse(b"", True)
    yield from ended


def _refuse_entities(*_declared: object) -> None:
    raise _bad(UNUSUAL)


def _joined(text: str, more: str) -> str:
    if len(text) + len(more) > EXCELS_LONGEST_CELL:
        raise _bad(f"A cell of the workbook has more than {LONGEST_CELL:,} characters.")
    return text + more


class _Texts:
    """The texts that cells refer to by number; one after another in memory, as there may be very many."""

    def __init__(self, elements: Iterable[tuple[str, dict[str, str], str]]) -> None:
        self._whole, self._ends, text = bytearray(), array("Q", [0]), ""
        for path, _, found in elements:
            if path in ("/sst/si/t", "/sst/si/r/t"):
                text = _joined(text, found)
            elif path == "/sst/si":
                self._whole += text.encode()
                self._ends.append(len(self._whole))
                text = ""

    def __getitem__(self, number: int) -> str:
        return self._whole[self._ends[number] : self._ends[number + 1]].decode()


def _date_styles(elements: Iterable[tuple[str, dict[str, str], str]]) -> dict[int, bool]:
    """Return {style: whether it is for lengths of time}, for the styles that are for dates, times, or lengths of time."""
    codes, used = {}, []
    for path, said, _ in elements:
        if path == "/styleSheet/numFmts/numFmt":
            codes[int(said["numFmtId"])] = said["formatCode"][:255]
        elif path == "/styleSheet/cellXfs/xf":
            used.append(int(said.get("numFmtId", 0)))
    known = {number: codes.get(number) or builtin_format_code(number) for number in set(used)}
    kinds = {number: is_timedelta_format(code) for number, code in known.items() if is_date_format(code)}
    return {style: kinds[number] for style, number in enumerate(used) if number in kinds}


def _value(raw: str, said: dict[str, str], texts: _Texts, dates: dict[int, bool], epoch: datetime) -> object:
    kind, style = said.get("t", "n"), int(said.get("s", 0))
    if kind == "n":
        number = float(raw) if set(raw) & set(".eE") else int(raw)
        try:
            return from_excel(number, epoch, timedelta=dates[style]) if style in dates else number
        except (OverflowError, ValueError):  # Excel shows such a date as ####
            return None
    if kind == "b":
        return bool(int(raw))
    return from_ISO8601(raw) if kind == "d" else texts[int(raw)] if kind == "s" else raw


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
