"""README.md and docs/gateways.md say what the gateways' declarations say, no more and no less."""

from __future__ import annotations

import re
import shutil
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from integrations.contracts.money import Money
from integrations.contracts.payment_features import GatewayOperation
from integrations.registry import providers_of
from payments import capability_matrix as matrix
from payments.gateway import gateway_class

ROOT = Path(settings.BASE_DIR)


def rows(text: str) -> list[list[str]]:
    """Return the cells of each table line of `text`, rulers left out."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("| ---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def section(name: str) -> str:
    return matrix.full_page().split(f"### {name}\n", 1)[1].split("\n### ", 1)[0]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with both files, up to date."""
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "README.md", tmp_path)
    call_command("capability_matrix", "--write", root=tmp_path, stdout=StringIO())
    return tmp_path


def test_the_committed_files_are_what_would_be_written() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert readme == matrix.inserted(readme)
    assert (ROOT / "docs/gateways.md").read_text("utf-8") == matrix.full_page()
    call_command("capability_matrix", "--check")


def test_the_page_has_a_cell_for_every_gateway_and_operation() -> None:
    gateways = providers_of("payment")
    assert len(gateways) >= 5
    heads, *lines = rows(matrix.full_page().split("## Currencies", 1)[0])
    assert heads == ["operation", *(provider.name for provider in gateways)]
    expected = {
        f"`{operation.value}`": [
            "yes" if operation.value in gateway_class(provider.slug).features.operations else "no" for provider in gateways
        ]
        for operation in GatewayOperation
    }
    assert {line[0]: line[1:] for line in lines} == expected


def test_the_readmes_columns_cover_every_operation() -> None:
    grouped = [operation for _name, operations in matrix._GROUPS for operation, _word in operations]
    assert sorted(grouped) == sorted(set(GatewayOperation) - {GatewayOperation.AUTHORIZE})
    for provider in providers_of("payment"):
        assert GatewayOperation.AUTHORIZE in gateway_class(provider.slug).features.operations


@pytest.mark.parametrize("slug", [provider.slug for provider in providers_of("payment")])
def test_each_currency_stands_there_once_with_the_limits_that_are_checked(slug: str) -> None:
    (provider,) = (each for each in providers_of("payment") if each.slug == slug)
    features = gateway_class(slug).features
    found = {}
    for codes, digits, writes, smallest, largest, step in rows(section(provider.name))[1:]:
        for code in codes.split():
            assert code not in found
            numbers = [Money.from_decimal(text.replace(",", ""), code).minor_units for text in (smallest, largest, step)]
            found[code] = (*numbers, int(writes))
            assert len(smallest.partition(".")[2]) == int(digits)
    assert found == {code: (rule.minimum, rule.maximum, rule.step, rule.decimals) for code, rule in features.currencies.items()}
    for note in (features.notes or {}).values():
        assert note in section(provider.name)


def test_the_command_prints_the_compact_table_and_changes_nothing(copy: Path) -> None:
    out = StringIO()
    (copy / "docs/gateways.md").write_text("old", "utf-8")
    call_command("capability_matrix", root=copy, stdout=out)
    assert out.getvalue().strip() == matrix.compact_table()
    assert (copy / "docs/gateways.md").read_text("utf-8") == "old"


def test_check_names_what_is_stale_and_write_mends_it(copy: Path) -> None:
    readme = copy / "README.md"
    good = readme.read_text("utf-8")
    call_command("capability_matrix", "--check", root=copy)
    spoilt = re.sub(r"(?<=\| )full, partial, several(?= \|)", "full", good, count=1)
    assert spoilt != good
    readme.write_text(spoilt, "utf-8")
    (copy / "docs/gateways.md").unlink()

    with pytest.raises(CommandError, match=r"not up to date: README\.md, gateways\.md"):
        call_command("capability_matrix", "--check", root=copy)
    assert readme.read_text("utf-8") == spoilt
    assert not (copy / "docs/gateways.md").exists()

    call_command("capability_matrix", "--write", root=copy, stdout=StringIO())
    assert readme.read_text("utf-8") == good
    assert (copy / "docs/gateways.md").read_text("utf-8") == matrix.full_page()


def test_a_readme_without_the_markers_is_refused_and_left_alone(copy: Path) -> None:
    (copy / "README.md").write_text("# Hub\n", "utf-8")
    with pytest.raises(CommandError, match="expected the lines"):
        call_command("capability_matrix", "--write", root=copy)
    assert (copy / "README.md").read_text("utf-8") == "# Hub\n"
