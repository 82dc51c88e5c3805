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
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
FAMILIES = ("hierarchical", "grids", "combiner", "coinpp", "coin", "bitswap")
SHARED_BY_CODECS = ("base", "prior_file", "packed_weights", "planes", "patches", "tiles", "loudness", "messages")
ORDER: tuple[tuple[str, ...], ...] = (
    ("errors", "limits", "version"),
    ("storage", "coding", "nn"),
    ("signals", "display"),
    ("container",),
    ("parallel", "training"),
    tuple(f"codecs.{name}" for name in SHARED_BY_CODECS),
    tuple(f"codecs.{name}" for name in FAMILIES),
    ("codecs.registry", "codecs.prior_store"),
    ("settings", "decoding"),
    ("encoding", "rate_targets"),
    ("evaluate", "api", "prior_training", "viewer"),
    ("cli", "audio", "pillow", "xarray_backend", "__main__", ""),
)
"""Names below ``inrcodec``, from the ground up: a module imports from its own row and from earlier rows."""


def row_of(module: str) -> int:
    """Return the row of ``ORDER`` that a module of the package stands in."""
    name = module.removeprefix("inrcodec").removeprefix(".")
    for row, entries in enumerate(ORDER):
        if any(name == entry or (entry and name.startswith(entry + ".")) for entry in entries):
            return row
    return len(ORDER) - 1 if name in ("codecs",) else -1


def family_of(module: str) -> str | None:
    """Return the codec folder that a module lies in, if any."""
    parts = module.split(".")
    return parts[2] if len(parts) > 2 and parts[1] == "codecs" and parts[2] in FAMILIES else None


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
    assert row_of(module) >= 0, f"{module} has no place in ORDER"
    upward = {name for name in all_imports(module) if name in MODULES and row_of(name) > row_of(module)}
    assert not upward, f"{module} imports what is later in the order: {upward}"


@pytest.mark.parametrize("family", FAMILIES)
def test_no_codec_imports_another(family: str) -> None:
    edges = {
        (module, name)
        for module in MODULES
        if family_of(module) == family
        for name in all_imports(module)
        if family_of(name) not in (None, family)
    }
    assert not edges


DECODER_STARTS = ("inrcodec.decoding", *(f"inrcodec.codecs.{family}.codec" for family in FAMILIES))
ENCODERS = {
    "adaptation",
    "annealing",
    "encoder",
    "encoding",
    "evaluation",
    "fit",
    "flat_parameters",
    "functa",
    "image_bank",
    "job",
    "rate_search",
    "refinement",
    "training",
    "training_gpu",
    "weight_scales",
}
"""Last names of modules that only encoders and trainings need."""


def test_the_decoder_imports_no_optimiser() -> None:
    """Decoding loads neither optimisers nor encoders, which are imported where they are called."""
    seen: set[str] = set()
    waiting = list(DECODER_STARTS)
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        if module in MODULES:
            waiting += imports_at_load(module)
    assert not {name for name in seen if name.startswith(("torch.optim", "inrcodec.training"))}
    assert not {name for name in seen if name in MODULES and name.rsplit(".", 1)[-1] in ENCODERS}


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
    source = "from . import errors\nfrom inrcodec.container import inr\ndef f():\n    import inrcodec.signals.header"
    found = set(imports_of(ast.walk(ast.parse(source)), "inrcodec"))
    assert found == {"inrcodec.errors", "inrcodec.container.inr", "inrcodec.signals.header"}
    assert row_of("inrcodec.container.inr") > row_of("inrcodec.errors") == 0
    assert row_of("inrcodec.codecs.grids.fit") > row_of("inrcodec.codecs.base")
    assert row_of("inrcodec") == row_of("inrcodec.cli.compress") == len(ORDER) - 1
    assert family_of("inrcodec.codecs.coinpp.codec") == "coinpp" and family_of("inrcodec.codecs.planes") is None


FREE_OF_TORCH = ("errors", "limits", "version", "storage", "coding", "signals", "container")


@pytest.mark.parametrize(
    "module", [name for name in MODULES if name.split(".")[1:2] and name.split(".")[1] in FREE_OF_TORCH]
)
def test_files_and_entropy_coding_are_free_of_torch(module: str) -> None:
    # MS-SSIM is optimised by gradients; scores of shared candidates are one matrix product.
    allowed = {"inrcodec.signals.ms_ssim", "inrcodec.coding.relative_entropy"}
    assert module in allowed or not {name for name in all_imports(module) if name.split(".")[0] == "torch"}


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
    assert {name for name in added if name.startswith("inrcodec")} == {"inrcodec", "inrcodec.version"}
    assert len(added) <= 10, f"import inrcodec loads {sorted(added)}"


def test_containers_open_without_torch() -> None:
    added, printed = loaded_by("import inrcodec.container.inr, inrcodec.container.inrs")
    assert printed == ""
    assert not {name for name in added if name.split(".")[0] in {"torch", "scipy", "matplotlib", "PIL"}}


def test_public_names() -> None:
    import inrcodec

    functions = {"compress", "decompress", "encode", "open", "read_signal"}
    classes = {"Encoded", "InrFile", "Limits", "Settings", "Signal"}
    raised = {"DataError", "FormatError", "InrcodecError", "LimitError", "PriorError", "UnsupportedError", "UsageError"}
    assert set(inrcodec.__all__) == functions | classes | raised | {"WorkersError", "__version__"}
    assert set(inrcodec.__all__) == set(dir(inrcodec)) and all(hasattr(inrcodec, name) for name in inrcodec.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        inrcodec.no_such_name  # noqa: B018


def test_every_folder_is_packaged() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    folders = {module for module, path in MODULES.items() if path.name == "__init__.py"}
    assert set(settings["packages"]) == folders | {"inrcodec._priors"}
    assert settings["package-dir"]["inrcodec._priors"] == "priors"
