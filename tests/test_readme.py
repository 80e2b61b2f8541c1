"""What the README shows is what there is."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stir_ray.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def _commands() -> list[str]:
    blocks = re.findall(r"```(?:bash|console|sh)\n(.*?)```", README, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    found = [re.search(r"stir-ray (.*?)(?:&&|#|$)", line) for line in lines]
    return sorted({match[1].strip() for match in found if match})


@pytest.mark.parametrize("command", _commands())
def test_every_verb_and_option_of_a_shown_command_exists(command: str) -> None:
    verb, *arguments = shlex.split(command)
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
    drawn = set(re.findall(r"^  ([a-z_]+(?:\.py|/))", tree, re.MULTILINE))
    rooms = {path.name for path in (ROOT / "stir_ray").iterdir() if path.name[0] not in "._"}
    assert {room if room.endswith(".py") else f"{room}/" for room in rooms} == drawn


def test_every_link_to_a_file_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!http|#)([^)]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []
