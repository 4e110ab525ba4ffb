"""The shape of the library: who may import whom, what importing does, what is said once, what is explained."""

import ast
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import dipjax

ROOT = Path(dipjax.__file__).parent
SOURCES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(text) for name, text in SOURCES.items()}
each_module = pytest.mark.parametrize("name", SOURCES)

# Packages and the modules beside them. Imports run downwards, or stay in the package.
FLOORS = {
    "machine": -2, "shelf": -1, "record": 0, "hashing": 0, "compiling": 0, "struct": 0, "vector": 0, "files": 0, "core": 1, "container": 1,
    "metrics": 2, "checkpoint": 2, "operators": 2, "stopping": 2,
    "residuals": 2,
    "patches": 3, "uncertainty": 3, "fitting": 3, "kriging": 4, "generators": 4, "recipes": 5, "large": 6, "interop": 7, "tasks": 7,
    "after": 8, "app": 9, "__init__": 10, "__main__": 10,
}  # fmt: skip
ALONE = {"machine", "record", "hashing", "struct", "vector", "files"}  # which import nothing of dipjax but themselves


def package(name):
    """Returns the part of dipjax that a file, or a module by its full name, belongs to."""
    name = name.removeprefix("dipjax.").removesuffix(".py")
    return re.split(r"[./]", name)[0]


@cache
def is_module(name):
    path = ROOT.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def imports(tree):
    """Yields the full names of the modules of dipjax that a module imports, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "dipjax")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module.split(".")[0] == "dipjax":
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                yield from (name if is_module(name) else node.module for name in names)


def test_every_module_has_a_floor_and_every_floor_a_module():
    assert {package(name) for name in SOURCES} == set(FLOORS)


@each_module
def test_imports_run_downwards(name):
    own = package(name)
    for module in imports(TREES[name]):
        other = package(module)
        if module == "dipjax":  # `__version__`, and the functions for people
            assert FLOORS[own] >= FLOORS["app"], name
        elif other != own:
            assert own not in ALONE and FLOORS[other] < FLOORS[own], f"{name} imports {module}"


def test_the_rule_would_find_an_import_upwards():
    found = set(imports(ast.parse("def f():\n    from dipjax.app import cli\n    import dipjax.core.loop\n    from dipjax import record")))
    assert found == {"dipjax.app.cli", "dipjax.core.loop", "dipjax.record"}


def test_inside_the_core_nobody_imports_in_a_circle():
    graph = {name: {module.rpartition(".")[2] + ".py" for module in imports(TREES[name])} for name in SOURCES if name.startswith("core/")}
    left = {Path(name).name: others for name, others in graph.items()}
    while free := [name for name, others in left.items() if not others & set(left)]:
        left = {name: others for name, others in left.items() if name not in free}
    assert not left


@pytest.mark.parametrize("name", [name for name in SOURCES if name.startswith("generators/")])
def test_generators_import_of_others_only_resampling_and_inputs(name):
    others = {module for module in imports(TREES[name]) if package(module) != "generators"}
    assert others <= {"dipjax.operators.resampling", "dipjax.fitting.inputs"}


def test_flax_appears_only_in_generators_and_as_the_struct_of_records():
    for name, tree in TREES.items():
        if name.startswith("generators/"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("flax") for alias in node.names), name
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flax"):
                assert [alias.name for alias in node.names] == ["struct"], name


def test_the_core_is_read_in_fifteen_minutes():
    def lines(*texts):  # without empty ones
        return sum(bool(line.strip()) for text in texts for line in text.splitlines())

    core = {name: text for name, text in SOURCES.items() if name.startswith("core/")}
    code = {name: re.sub(r'"""[\s\S]*?"""', "", text) for name, text in core.items()}  # with all comments; docstrings are looked up
    assert lines(*code.values()) < 720 and lines(code["core/loop.py"]) < 140
    assert lines(*core.values()) < 1080


# What is said once.


@pytest.mark.parametrize(("pattern", "allowed"), [
    (r"def psnr\b", ["core/state.py"]),
    (r"\blog10\(", ["core/loop.py", "core/state.py"]),  # in the loop, of how well the measurement is fitted
    (r"ddof|def deviation\b|over_seeds\(", ["core/state.py"]),
    (r'WORDS = \{|"fast": |"paper": ', ["recipes/by_name.py"]),
    (r"\bchoose\(task\.setting", ["tasks/restore.py"]),
    (r"tiling\.plan\(", ["tasks/restore.py"]),
    (r"isinstance\([\w.]+, optax\.GradientTransformation\)", ["core/recipe.py"]),
    (r"fori_loop|lax\.scan|while_loop", ["core/loop.py", "generators/conv_forms.py"]),  # there, over the terms of one convolution
    (r"shard_map", ["core/layouts.py"]),
    (r"indent=2", ["app/html/page.py", "record.py"]),
    (r"jax\.value_and_grad|jax\.grad\(", ["app/doctor.py", "core/loop.py"]),
])  # fmt: skip
def test_there_is_one_copy(pattern, allowed):
    def code(name):  # without docstrings and comments
        return re.sub(r'"""[\s\S]*?"""|#[^\n]*', "", SOURCES[name])

    assert [name for name in SOURCES if re.search(pattern, code(name))] == allowed


# What importing does.


def run(code, *options):
    done = subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


HEAVY = "[m for m in ('jax', 'jaxlib', 'flax', 'optax', 'PIL', 'skimage', 'matplotlib', 'scipy') if m in sys.modules]"


def test_importing_dipjax_does_not_import_jax():
    assert run(f"import sys, dipjax; dir(dipjax); print({HEAVY})") == "[]"


@pytest.mark.parametrize("arguments", [["--help"], ["denoise", "--help"], ["denoise", "--seeds", "none"], ["--version"]], ids=" ".join)
def test_help_and_misuse_do_not_wait_for_jax(arguments):
    code = f"""
import atexit, sys
sys.argv = ["dipjax", *{arguments}]
atexit.register(lambda: print("\\n" + str([m for m in {HEAVY} if m not in ("PIL", "scipy")])))
try:
    import runpy; runpy.run_module("dipjax", run_name="__main__")
except SystemExit:
    pass
"""
    assert run(code) == "[]"


def test_importing_everything_sets_no_flag_of_jax_and_nothing_in_the_environment():
    code = """
import importlib, json, os, pkgutil, jax
before, environment = dict(jax.config.values), dict(os.environ)
import dipjax
for info in pkgutil.walk_packages(dipjax.__path__, "dipjax."):
    if not info.name.endswith("__main__"):
        importlib.import_module(info.name)
new = {name: str(value) for name, value in jax.config.values.items() if before.get(name) != value}
print(json.dumps([new, dict(os.environ) == environment]))
"""
    assert json.loads(run(code)) == [{}, True]


@pytest.mark.parametrize("name", [name for name in SOURCES if package(name) != "app"])
def test_a_library_prints_nothing_and_sets_nothing(name):
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Call):
            assert not re.match(r"print\(|\w+\.config\.update\(|warnings\.filterwarnings\(", ast.unparse(node)), ast.unparse(node)
        if isinstance(node, ast.Assign | ast.AugAssign | ast.Delete):
            assert "os.environ[" not in ast.unparse(node).partition("=")[0], ast.unparse(node)


# What is explained.

DEFINED = [
    importlib.import_module(info.name) for info in pkgutil.walk_packages([str(ROOT)], "dipjax.") if not info.name.endswith("__main__")
]


def own(module):
    """Yields the public functions and classes that a module defines."""
    for name, thing in vars(module).items():
        mine = getattr(thing, "__module__", None) == module.__name__ and getattr(thing, "__name__", name) == name
        if not name.startswith("_") and mine and (inspect.isroutine(thing) or inspect.isclass(thing)):
            yield name, thing


def test_every_public_name_exists_and_is_listed_by_dir():
    assert set(dipjax.__all__) <= set(dir(dipjax))
    for name in dipjax.__all__:
        thing = getattr(dipjax, name)
        assert inspect.getdoc(thing), name


@pytest.mark.parametrize("module", DEFINED, ids=lambda module: module.__name__)
def test_a_module_and_everything_public_in_it_has_a_docstring(module):
    assert module.__doc__
    for name, thing in own(module):
        doc = inspect.getdoc(thing)
        assert doc, f"{module.__name__}.{name}"
        assert not doc.startswith(f"{name}("), f"{module.__name__}.{name} has only its generated signature"
        if inspect.isclass(thing):
            methods = [(method, function) for method, function in vars(thing).items() if inspect.isfunction(function)]
            for method, function in methods:  # a default that is a function is none
                explained = method.startswith("_") or function.__name__ == "<lambda>" or inspect.getdoc(function)
                assert explained, f"{module.__name__}.{name}.{method}"


@pytest.mark.parametrize("module", [module for module in DEFINED if package(module.__name__) != "app"], ids=lambda module: module.__name__)
def test_nothing_asks_for_positional_options(module):
    """Options come with a keyword: at most one default may be given by position (the channels of a recipe, a key's seed)."""
    for name, thing in own(module):
        if inspect.isfunction(thing) and not hasattr(thing, "__wrapped__"):  # a task's own parameters may be given by position
            parameters = inspect.signature(thing).parameters.values()
            by_position = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty]
            assert len(by_position) <= 1, f"{module.__name__}.{name}"
