"""The shape of the package: imports go down, none in circles, and importing it is quick and silent."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "inrcodec"
LAYERS = ("ground", "maths", "models", "methods", "encoders", "codecs", "evaluate")
DOORS = len(LAYERS)
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def layer_of(module: str) -> int:
    """0 for ground to 7 for the doors: files at the top of the package."""
    parts = module.split(".")
    if len(parts) > 1 and (PACKAGE / parts[1]).is_dir():
        return LAYERS.index(parts[1]) if parts[1] in LAYERS else DOORS
    return DOORS


def imports_of(nodes: Iterator[ast.AST], package: str) -> Iterator[str]:
    """Full names of what is imported; ``from package import module`` counts as the module."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            source = ".".join(filter(None, [base, node.module]))
            for alias in node.names:
                submodule = f"{source}.{alias.name}"
                yield submodule if submodule in MODULES else source


def all_imports(module: str) -> set[str]:
    return set(imports_of(ast.walk(ast.parse(MODULES[module].read_text("utf-8"))), _package(module)))


def imports_at_load(module: str) -> set[str]:
    """Imports that run when the module is loaded: at the top, not in functions nor under TYPE_CHECKING."""
    return set(imports_of(iter(ast.parse(MODULES[module].read_text("utf-8")).body), _package(module)))


def _package(module: str) -> str:
    return module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    upward = {name for name in all_imports(module) if name in MODULES and layer_of(name) > layer_of(module)}
    assert not upward, f"{module} (layer {layer_of(module)}) imports from above: {upward}"


def test_no_import_cycles() -> None:
    waiting = {module: {name for name in imports_at_load(module) if name in MODULES} - {module} for module in MODULES}
    while free := [module for module, needs in waiting.items() if not needs]:
        for module in free:
            del waiting[module]
        for needs in waiting.values():
            needs.difference_update(free)
    assert not waiting, f"these import each other: {sorted(waiting)}"


def test_the_rule_sees_what_it_must() -> None:
    """The checker itself: a relative import, a module named as an attribute, a hidden import in a function."""
    source = "from . import errors\nfrom inrcodec.maths import container\ndef f():\n    import inrcodec.ground.plain"
    found = set(imports_of(ast.walk(ast.parse(source)), "inrcodec.ground"))
    assert found == {"inrcodec.ground.errors", "inrcodec.maths.container", "inrcodec.ground.plain"}
    assert layer_of("inrcodec.maths.container") > layer_of("inrcodec.ground.errors") == 0
    assert layer_of("inrcodec") == layer_of("inrcodec.cli") == DOORS


@pytest.mark.parametrize("module", [module for module in MODULES if layer_of(module) == 0])
def test_ground_is_free_of_torch(module: str) -> None:
    assert not {name for name in all_imports(module) if name.split(".")[0] == "torch"}


def test_nothing_imports_pickle() -> None:
    unsafe = {"pickle", "dill", "cloudpickle", "shelve", "marshal"}
    assert not {module for module in MODULES if all_imports(module) & unsafe}


def loaded_by(statement: str) -> tuple[set[str], str]:
    """Modules that a statement adds in a fresh interpreter, and all that it printed."""
    script = (
        "import sys, json\nbefore = set(sys.modules)\n"
        f"{statement}\n"
        "added = sorted(set(sys.modules) - before)\nprint('\\n' + json.dumps(added))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    printed, _, added = done.stdout.rstrip("\n").rpartition("\n")
    return set(json.loads(added)), printed + done.stderr


def test_import_is_quick_and_silent() -> None:
    added, printed = loaded_by("import inrcodec; inrcodec.__version__")
    assert printed == ""
    assert {name for name in added if name.startswith("inrcodec")} == {
        "inrcodec", "inrcodec.ground", "inrcodec.ground.version",
    }  # fmt: skip
    assert len(added) <= 10, f"import inrcodec loads {sorted(added)}"


def test_containers_open_without_torch() -> None:
    added, printed = loaded_by("import inrcodec.maths.container, inrcodec.maths.archive")
    assert printed == ""
    assert not {name for name in added if name.split(".")[0] in {"torch", "scipy", "matplotlib", "PIL"}}


def test_public_names() -> None:
    import inrcodec

    assert len(inrcodec.__all__) <= 10
    assert set(inrcodec.__all__) == set(dir(inrcodec))
    with pytest.raises(AttributeError, match="no_such_name"):
        inrcodec.no_such_name  # noqa: B018


def test_every_folder_is_packaged() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    folders = {module for module, path in MODULES.items() if path.name == "__init__.py"}
    assert set(settings["packages"]) == folders | {"inrcodec._priors", "inrcodec._viewer"}
    assert settings["package-dir"]["inrcodec._priors"] == "priors"
    assert settings["package-dir"]["inrcodec._viewer"] == "docs/viewer"
