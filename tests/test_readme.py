"""What the README and the guide show works: their Python runs, their commands are understood, their links lead somewhere."""

import importlib.util
import os
import re
import shlex
from pathlib import Path

import pytest

from dipjax.app import cli
from dipjax.tasks.door import TASKS

ROOT = Path(__file__).parents[1]
PAGES = {path: path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.md"), *sorted(ROOT.glob("docs/pages/**/*.md"))]}
TEXT = "\n".join(text for path, text in PAGES.items() if path.name == "README.md" or ROOT / "docs" in path.parents)
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
_LINES = [line.split("#")[0] for language, code in BLOCKS if language == "bash" for line in code.replace("\\\n", " ").splitlines()]
COMMANDS = sorted({
    command.strip().split("dipjax ", 1)[1]
    for command in [*(part for line in _LINES for part in re.split(r"&&|;", line)), *re.findall(r"`(dipjax [^`]*)`", TEXT)]
    if re.match(r"(\S*/)?dipjax ", command.strip())
})  # fmt: skip
WORDS = {"COMMAND": "denoise", "NAME": "skip", "R": "1"}  # what stands for anything


@pytest.mark.usefixtures("quick_compilation")
@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
@pytest.mark.slow
def test_the_python_of_the_readme_runs(code, tmp_path, monkeypatch):
    if "torch" in code and not importlib.util.find_spec("torch"):
        pytest.skip("the block needs torch, which is not installed")
    monkeypatch.chdir(tmp_path)
    code = re.sub(r"\bnum_iter=\d+", "num_iter=2", code)  # the same program, sooner done
    environment = dict(os.environ)
    try:
        exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    finally:
        os.environ.clear()
        os.environ.update(environment)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_readme_are_understood(command, capsys):
    words = [WORDS.get(word, word) for word in shlex.split(command)]
    try:
        assert cli.parse(words).run
    except SystemExit as leaving:
        assert leaving.code == 0, capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_to_files_lead_to_files(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", PAGES[page])
    lost = [link for link in links if "://" not in link and not link.startswith("mailto:") and not (page.parent / link).exists()]
    assert not lost


def test_the_front_page_is_short_and_says_first_how_to_begin():
    lines = PAGES[ROOT / "README.md"].splitlines()
    assert len(lines) <= 200
    assert any("dipjax denoise" in line for line in lines[:20])


def test_there_is_something_to_check():
    assert PYTHON
    assert {command.split()[0] for command in COMMANDS} >= {*TASKS, "demo", "doctor"}
