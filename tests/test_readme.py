"""What the README shows is what there is."""

import re
import shlex

import pytest
from typer.testing import CliRunner

from stir_ray.cli import app
from tests.readme import README, ROOT, shown_commands


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
    drawn = set(re.findall(r"^  ([a-z_]+(?:\.py|/))", tree, re.MULTILINE))
    rooms = {path.name for path in (ROOT / "stir_ray").iterdir() if path.name[0] not in "._"}
    assert {room if room.endswith(".py") else f"{room}/" for room in rooms} == drawn


def test_every_link_to_a_file_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!http|#)([^)]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []
