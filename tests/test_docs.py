"""What the documents say is so: commands parse, links and paths exist, examples run, every setting is explained."""

import ast
import dataclasses
import importlib
import json
import re
import shlex
import typing

import docstring_parser
import numpy as np
import pytest
import yaml
from every_setting import SETTINGS
from places import PROJECT

from rtpe.cache import Cache
from rtpe.cli import COMMANDS, settings_class
from rtpe.cli.cache_build import CacheBuild
from rtpe.evaluation.settings import Validate
from rtpe.files import shipped
from rtpe.images import write_image
from rtpe.predictors.adapters.description import read_description
from rtpe.settings.parse import parse_settings, save_settings
from rtpe.training.settings import Train

PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("[md]*s/README.md")])
RECIPES = sorted((PROJECT / "rtpe/recipes").glob("*.yaml"))
SCRIPTS = [PROJECT / f"{name}.py" for name in ("teacher_inference", "train_student", "validate_teacher")]
MODULES = [
    *SCRIPTS,
    PROJECT / "rtpe/demo.py",
    *(PROJECT / "rtpe/cli").glob("*.py"),
    *(PROJECT / "rtpe/training").glob("*.py"),
]
TARGETS = set(re.findall(r"^([\w-]+):(?!=)", (PROJECT / "Makefile").read_text(), re.M))

COMMAND = re.compile(r"(?:rtpe \S|make \S|python \S+\.py\b|torchrun \S)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
TRACKED = re.compile(r"(?:rtpe|docs|tests)/[\w./]*")


def _in_plain_text(text):
    """Commands in a docstring or comment: lines that are indented, or begin or continue a paragraph of commands."""
    before = ""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        follows = not before.strip() or COMMAND.match(before.strip())
        if COMMAND.match(line.strip()) and (line.startswith("  ") or follows):
            yield line.strip()
        before = line
    yield from (span for span in SPAN.findall(text) if COMMAND.match(span))


def _in_page(text):
    for language, block in FENCE.findall(text):
        if language in ("", "bash"):
            lines = re.sub(r"\\\n\s*", "", block).splitlines()
            yield from (part for line in lines for part in line.split(" && ") if COMMAND.match(part))
    yield from (span for span in SPAN.findall(FENCE.sub("", text)) if COMMAND.match(span))


def _header(recipe):
    """The comment that opens a recipe."""
    lines = recipe.read_text().splitlines()
    count = next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "\n".join(re.sub("^# ?", "", line) for line in lines[:count])


def _commands():
    sources = {page: _in_page(page.read_text()) for page in PAGES}
    sources |= {recipe: _in_plain_text(_header(recipe)) for recipe in RECIPES}
    sources |= {path: _in_plain_text(ast.get_docstring(ast.parse(path.read_text())) or "") for path in MODULES}
    found = {(str(path.relative_to(PROJECT)), command) for path, commands in sources.items() for command in commands}
    return sorted(found)


def _runs(script):
    """Which command a script runs: the first argument of its `run`."""
    calls = [node for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.Call)]
    return next(call.args[0].value for call in calls if ast.unparse(call.func) == "run")


def _split(words):
    """The name of the command, and its settings."""
    if words[0] == "torchrun":
        words = ["python", *words[next(n for n, word in enumerate(words) if word.endswith(".py")) :]]
    if words[0] == "python":
        assert PROJECT / words[1] in SCRIPTS, f"there is no script {words[1]}"
        return _runs(PROJECT / words[1]), words[2:]
    names = [name for name in COMMANDS if words[1:][: len(name.split())] == name.split()]
    assert names, f"there is no command {' '.join(words[:3])}"
    return names[0], words[1 + len(names[0].split()) :]


def _with_files(words, settings, folder):
    """The settings, `--name=value` as two words, with a file in place of the settings of a run that was never made."""
    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    for place, value in enumerate(words):
        if re.fullmatch(r"runs/.+/settings\.yaml", value):
            words[place] = str(folder / "settings.yaml")
            save_settings(settings(), words[place])
        elif words[place - 1] == "--config":
            assert shipped(value).is_file(), f"there is no {value}"
    return [word for word in words if word != "--help"]


@pytest.mark.parametrize("source, command", _commands(), ids=str)
def test_a_command_in_the_documents_can_be_typed(source, command, tmp_path, monkeypatch):
    """It exists, and every setting parses, its value included."""
    monkeypatch.chdir(PROJECT)
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        assert set(words[1:]) <= TARGETS
        return
    name, rest = _split(words)
    settings = settings_class(name)
    parse_settings(settings, _with_files(rest, settings, tmp_path), name)


def test_commands_are_found_where_they_are():
    """If none were found, none would be wrong."""
    sources = {source for source, _ in _commands()}
    expected = {
        "README.md",
        "docs/training.md",
        "rtpe/recipes/hpe0001.yaml",
        "rtpe/cli/train.py",
        "rtpe/demo.py",
    }
    assert expected | {script.name for script in SCRIPTS} <= sources
    assert list(_in_plain_text("Text.\n\n    rtpe a --b 1 \\\n        --c 2\n\nrtpe d\nrtpe e\ntext\nmake do")) == [
        "rtpe a --b 1 --c 2", "rtpe d", "rtpe e",
    ]  # fmt: skip
    assert list(_in_page("`rtpe a`, `rtpe`\n```bash\nmake b && x\n```\n```python\nrtpe c\n```")) == ["make b", "rtpe a"]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_a_recipe_is_valid(recipe, monkeypatch):
    monkeypatch.chdir(PROJECT)
    raw = yaml.safe_load(recipe.read_text())
    for settings in (Train,) if "net" in raw else (CacheBuild, Validate):
        parse_settings(settings, ["--config", str(recipe)], "recipe")


def _slugs(page):
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_and_paths_lead_somewhere(page):
    text = FENCE.sub("", page.read_text())
    wrong = []
    for link in LINK.findall(text):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if "://" not in link and not (target.exists() and (not anchor or anchor in _slugs(target))):
            wrong.append(link)
    named = [span for span in SPAN.findall(text) if TRACKED.fullmatch(span)]
    assert wrong + [name for name in named if not (PROJECT / name).exists()] == []


def test_the_readme_is_short():
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 150


def _blocks(language):
    return [
        pytest.param(block, id=f"{page.name}-{number}")
        for page in PAGES
        for number, (found, block) in enumerate(FENCE.findall(page.read_text()))
        if found == language
    ]


@pytest.mark.parametrize("block", _blocks("python"))
def test_python_in_the_documents_compiles_and_imports_what_there_is(block):
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@pytest.mark.parametrize("block", _blocks("yaml"))
def test_a_network_in_the_documents_is_a_description(block, tmp_path):
    (tmp_path / "mine.yaml").write_text(block)
    assert read_description(tmp_path / "mine.yaml").name == "mine"


def test_the_teacher_in_the_documents_builds_a_cache(tmp_path, monkeypatch):
    """With the annotation file that docs/training.md gives for photographs without labels."""
    root = tmp_path / "datasets/coco"
    (root / "images/train2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    bare = next(span for span in SPAN.findall((PROJECT / "docs/training.md").read_text()) if span.startswith("{"))
    (root / "annotations/person_keypoints_train2017.json").write_text(bare)
    (image,) = json.loads(bare)["images"]
    write_image(root / "images/train2017" / image["file_name"], np.full((60, 80, 3), 99, np.uint8))
    heatmaps = np.zeros((17, 128, 128), np.float32)
    heatmaps[:, 64, 32] = 1
    (block,) = [param.values[0] for param in _blocks("python") if "my_network" in param.values[0]]
    monkeypatch.chdir(tmp_path)
    exec(block, {"my_network": lambda seen: heatmaps if seen.shape == (512, 512, 3) else None})
    (person,) = Cache.open("caches/mine").poses(image["id"]).points
    # the center of the lit cell is at (130, 258) of 512 x 512; letterboxed by 6.4, with 64 pixels of border above
    assert np.allclose(person, [130 / 6.4, (258 - 64) / 6.4], atol=1e-4)  # float32


def _leaves(settings):
    """Those of its own: what it inherits is described there."""
    types = typing.get_type_hints(settings)
    return [name for name in settings.__annotations__ if not dataclasses.is_dataclass(types[name])]


def _described(settings):
    return {part.arg_name: part.description for part in docstring_parser.parse(settings.__doc__).params}


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.__name__)
def test_every_setting_is_described_and_no_other(settings):
    assert list(_described(settings)) == _leaves(settings)


def _parts(settings, part=""):
    """The dotted beginning of every settings class, this one and all within."""
    yield part, settings
    for name, of in typing.get_type_hints(settings).items():
        if dataclasses.is_dataclass(of):
            yield from _parts(of, f"{part}{name}.")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_every_setting_with_its_description(name, monkeypatch, capsys):
    settings = settings_class(name)
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        parse_settings(settings, ["--help"], f"rtpe {name}")
    said = " ".join(capsys.readouterr().out.split())
    for part, of in _parts(settings):
        for field, description in _described(of).items():
            assert f"--{part}{field} " in said
            assert f"{' '.join(description.split())} (type: " in said


def test_the_page_on_architecture_has_the_table_that_is_kept():
    from test_architecture import FOUNDATION, MAY_IMPORT

    text = (PROJECT / "docs/architecture.md").read_text()
    words = {"nothing": set(), "foundation": FOUNDATION}
    told = {}
    for units, allowed in re.findall(r"^\| ([\w, ]+) \| ([\w, ]+) \|$", text, re.M):
        names = [words.get(name, {name}) for name in allowed.split(", ")]
        for unit in units.split(", "):
            told[unit] = None if allowed == "anything" else set().union(*names)
    there = {path.stem for path in (PROJECT / "rtpe").iterdir() if path.stem in MAY_IMPORT}
    assert {unit: told.get(unit, "not told") for unit in there} == {unit: MAY_IMPORT[unit] for unit in there}
