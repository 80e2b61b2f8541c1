"""What the README shows is what there is."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stir_ray.cli import app
from tests.readme import FILES, README, ROOT, shown_commands


def _commands() -> list[str]:
    found = (re.split(r"(?:^|\s)stir-ray ", one.text, maxsplit=1)[1:] for one in shown_commands())
    return sorted({re.split(r"&&|;", after[0])[0].strip() for after in found if after})


@pytest.mark.parametrize("command", _commands())
def test_every_verb_and_option_of_a_shown_command_exists(command: str) -> None:
    verb, *arguments = shlex.split(command, comments=True)
    help_text = CliRunner().invoke(app, [verb, "--help"]).stdout
    assert f"stir-ray {verb}" in help_text
    for option in (one.split("=")[0] for one in arguments if one.startswith("--")):
        assert option in help_text
    for path in (one for one in arguments if one.startswith("jobs/")):
        found = list(ROOT.glob(path))
        assert found
        assert all(one.is_file() for one in found)


def test_the_architecture_section_names_every_room() -> None:
    tree = README.split("## Architecture")[1]
    drawn = set(re.findall(r"^([a-z_]+(?:\.py|/))  ", tree, re.MULTILINE))
    rooms = {path.name for path in (ROOT / "stir_ray").iterdir() if is_module(path)}
    assert {room if room.endswith(".py") else f"{room}/" for room in rooms} == drawn - {
        "workflows/"
    }


def is_module(path: Path) -> bool:
    return (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").is_file()


@pytest.mark.parametrize("readme", FILES, ids=lambda path: path.parent.name)
def test_every_link_leads_somewhere(readme: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)]+)\)", readme.read_text())
    assert [link for link in links if not leads_somewhere(readme, link)] == []


def leads_somewhere(readme: Path, link: str) -> bool:
    path, _, heading = link.partition("#")
    target = readme.parent / path if path else readme
    return target.exists() and (not heading or heading in anchors(target))


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", text.lower()).replace(" ", "-") for text in headings}


def test_the_first_one_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 250


def test_every_fault_in_the_table_has_its_test() -> None:
    named = re.findall(r"`(tests/[a-z_/]+\.py)(?: -k (\w+))?` \|$", README, re.MULTILINE)
    assert len(named) >= 12
    for path, word in named:
        names = re.findall(r"^def (test_\w+)", (ROOT / path).read_text(), re.MULTILINE)
        assert any(word in name for name in names), (path, word)
