import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import dipjax
from dipjax.core import loop as train
from dipjax.generators import blocks
from dipjax.generators import conv as convolution

ROOT = Path(dipjax.__file__).parent
MODULES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
NAMED = [getattr(dipjax, name) for name in dipjax.__all__]
PUBLIC = [train, blocks, convolution, *filter(inspect.ismodule, NAMED)]


def imports(tree):
    """Yields the names of what a module imports of dipjax, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "dipjax")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module == "dipjax":
                yield from (f"dipjax.{alias.name}" for alias in node.names)
            elif node.module.startswith("dipjax."):
                yield node.module


# Module: all that it may import of dipjax.
ALLOWED = {
    "resampling.py": set(),
    "psfs.py": set(),
    "inputs.py": set(),
    "losses.py": set(),
    "metrics.py": set(),
    "images.py": set(),
    "batching.py": set(),
    "operators.py": {"resampling"},
    "problem.py": {"operators", "psfs", "resampling"},
    "hashing.py": set(),
    "train.py": {"batching", "hashing", "losses", "metrics", "problem"},
}


@pytest.mark.parametrize("name", ALLOWED)
def test_imports_run_one_way(name):
    assert {module.removeprefix("dipjax.") for module in imports(MODULES[name])} <= ALLOWED[name]


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("generators/")])
def test_generators_import_only_their_blocks_and_resampling(name):
    found = set(imports(MODULES[name]))
    assert all(module == "dipjax.resampling" or module.startswith("dipjax.generators") for module in found)


def test_flax_appears_only_in_generators_and_as_the_struct_of_records():
    for name, tree in MODULES.items():
        if name.startswith("generators/"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("flax") for alias in node.names), name
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flax"):
                assert [alias.name for alias in node.names] == ["struct"], name


def test_importing_dipjax_does_not_import_jax():
    code = "import sys, dipjax; dir(dipjax); print([m for m in ('jax', 'flax', 'optax', 'PIL', 'skimage') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert found.stdout.strip() == "[]"


def test_no_module_sets_a_flag_of_jax_or_the_environment():
    for name, tree in MODULES.items():
        if name in {"cli.py", "startup.py"}:
            continue  # a program, not a library
        for node in ast.walk(tree):
            text = ast.unparse(node) if isinstance(node, ast.Call | ast.Assign | ast.AugAssign) else ""
            assert "config.update" not in text, name
            assert not text.startswith("os.environ["), name
            assert not (text.startswith("print(") and name in ALLOWED), name


def test_every_public_name_exists_and_is_listed_by_dir():
    assert set(dipjax.__all__) <= set(dir(dipjax))
    for name in dipjax.__all__:
        assert getattr(dipjax, name) is not None


def test_every_module_imports_and_says_what_lives_there():
    for info in pkgutil.walk_packages([str(ROOT)], "dipjax."):
        if not info.name.endswith("__main__"):
            assert importlib.import_module(info.name).__doc__, info.name


@pytest.mark.parametrize("name", dipjax.__all__)
def test_every_public_name_has_a_docstring(name):
    thing = getattr(dipjax, name)
    assert inspect.getdoc(thing), name
    if inspect.isclass(thing):
        assert "(" not in inspect.getdoc(thing).splitlines()[0][:1]  # a record's generated signature is no docstring


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_everything_public_in_a_module_has_a_docstring(module):
    for name, thing in vars(module).items():
        mine = getattr(thing, "__module__", None) == module.__name__
        if name.startswith("_") or not (inspect.isroutine(thing) or inspect.isclass(thing)) or not mine:
            continue
        doc = inspect.getdoc(thing)
        assert doc, f"{module.__name__}.{name}"
        assert not doc.startswith(f"{name}("), f"{module.__name__}.{name} has only its generated signature"


def test_nothing_asks_for_positional_options():
    """Options come with a keyword: at most one default may be given by position (the channels of a recipe, a key's seed)."""
    for module in PUBLIC:
        for name, thing in vars(module).items():
            if name.startswith("_") or not inspect.isfunction(thing) or thing.__module__ != module.__name__:
                continue
            parameters = inspect.signature(thing).parameters.values()
            by_position = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty]
            assert len(by_position) <= 1, f"{module.__name__}.{name}"
