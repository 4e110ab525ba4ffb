"""Every public name can be the first one that somebody imports."""

import subprocess
import sys

import pytest

SCRIPT = """
import importlib, sys, dipjax
for name in dipjax.__all__:
    for module in [module for module in sys.modules if module.startswith("dipjax.")]:
        del sys.modules[module]
    package = importlib.reload(sys.modules["dipjax"])
    for submodule in ("after", "core", "fitting", "generators", "large", "operators", "recipes", "tasks", "files", "metrics", "interop"):
        vars(package).pop(submodule, None)
    assert getattr(package, name) is not None, name
print("all")
"""


@pytest.mark.slow
def test_any_public_name_can_be_imported_first():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "all", done.stderr
