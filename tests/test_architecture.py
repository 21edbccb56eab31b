"""Imports run one way: core, then estimators, then the modules and commands that use them."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skscratch

ROOT = Path(skscratch.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}

# The layers of the architecture, lowest first. A module may import modules of lower layers and,
# within a package, those before it in its list.
CORE = [
    "named",
    "functions",
    "interrupts",
    "blas",
    "initializers",
    "rows",
    "layers",
    "activations",
    "losses",
    "network",
    "objective",
    "gradcheck",
    "optimizers",
    "schedules",
    "workers",
    "evaluate",
    "update",
    "training",
    "lbfgs",
    "checks",
]
LINEAR = [
    "arrays",
    "losses",
    "products",
    "systems",
    "problems",
    "best",
    "task",
    "line_search",
    "small",
    "row_space",
    "basis",
    "directions",
    "solver",
    "l1",
]
ESTIMATORS = [
    "_kinds",
    "_sklearn",
    "_state",
    "_available",
    "_data",
    "_random",
    "_checkpoint",
    "_threads",
    "_parameters",
    "_targets",
    "_plan",
    "_from_network",
    "_base",
    "_perceptron",
    "mlp_classifier",
    "mlp_regressor",
    "autoencoder",
    "_stream",
    "linear_svm",
]
USERS = ["datasets", "images", "display", "persistence", "callbacks", "keras"]
LAYERS = [
    *[f"skscratch.core.{name}" for name in CORE],
    "skscratch.core",
    *[f"skscratch.linear.{name}" for name in LINEAR],
    "skscratch.linear",
    *[f"skscratch.estimators.{name}" for name in ESTIMATORS],
    "skscratch.estimators",
    "skscratch._version",
    "skscratch",
    *[f"skscratch.{name}" for name in USERS],
    "skscratch.experiments",
    "skscratch._command_line",
    "skscratch.__main__",
]
# Third-party packages that each package may import.
THIRD_PARTY = {
    "skscratch.core": {"numpy", "scipy", "threadpoolctl"},
    "skscratch.linear": {"numpy", "scipy"},
    "skscratch.estimators": {"numpy", "scipy", "sklearn", "joblib"},
    "skscratch.keras": {"numpy", "sklearn", "keras"},
}
# Modules of the core that must not import each other, although their order would allow it.
INDEPENDENT = {
    "losses": {"layers", "activations", "network"},
    "optimizers": {"layers", "activations", "losses", "network", "objective"},
    "schedules": {"layers", "activations", "losses", "network", "objective", "optimizers"},
    "network": {"losses", "activations"},
    "layers": {"activations", "losses"},
    "workers": {"objective", "optimizers", "schedules", "losses"},
}


def layer_of(module):
    """Return the layer of a module; all experiments are one layer and may import each other."""
    if module.startswith("skscratch.experiments"):
        module = "skscratch.experiments"
    return LAYERS.index(module)


def imports(path):
    """Yield every module that a file imports, at any place in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


def test_every_module_belongs_to_a_layer():
    for module in MODULES:
        layer_of(module)


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way(module):
    for imported in imports(MODULES[module]):
        if not imported.startswith("skscratch") or imported == module:
            continue
        both_experiments = layer_of(module) == layer_of(imported)
        assert layer_of(imported) < layer_of(module) or both_experiments, (
            f"{module} imports {imported}, which is in a higher layer"
        )


@pytest.mark.parametrize("package", THIRD_PARTY)
def test_third_party_imports_are_allowed_ones(package):
    for module, path in MODULES.items():
        if module.startswith(package):
            foreign = {name.partition(".")[0] for name in imports(path)} - {"skscratch"}
            foreign -= set(sys.stdlib_module_names)
            assert foreign <= THIRD_PARTY[package], (
                f"{module} imports {foreign - THIRD_PARTY[package]}"
            )


@pytest.mark.parametrize("name", INDEPENDENT)
def test_independent_modules_do_not_import_each_other(name):
    used = {m.removeprefix("skscratch.core.") for m in imports(MODULES[f"skscratch.core.{name}"])}
    assert not used & INDEPENDENT[name]


def test_private_names_of_scikit_learn_are_used_in_one_file():
    for module, path in MODULES.items():
        if module == "skscratch.estimators._sklearn":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("sklearn"):
                private = [part for part in node.module.split(".") if part.startswith("_")]
                private += [alias.name for alias in node.names if alias.name.startswith("_")]
                assert not private, f"{module} names {private} of scikit-learn"
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not node.value.startswith(("_skl_", "_sklearn_")), f"{module}: {node.value}"


def test_experiments_use_public_names_only():
    for module, path in MODULES.items():
        if module.startswith("skscratch.experiments"):
            for imported in imports(path):
                assert not imported.startswith("skscratch.estimators"), f"{module}: {imported}"
                inside_core = imported.startswith("skscratch.core.")
                assert not inside_core, f"{module} imports {imported}; skscratch.core has it"


def test_benchmarks_use_the_package_and_never_the_other_way_round():
    benchmarks = sorted((ROOT.parent / "benchmarks").rglob("*.py"))
    assert any("skscratch.core" in imports(path) for path in benchmarks)
    for module, path in MODULES.items():
        assert not any(name.startswith("benchmarks") for name in imports(path)), module
        loads_keras = any(name.startswith(("keras", "tensorflow")) for name in imports(path))
        assert loads_keras == (module == "skscratch.keras"), module


def test_the_linear_solver_and_the_networks_are_independent():
    for module, path in MODULES.items():
        for here, there in (("core", "linear"), ("linear", "core")):
            if module.startswith(f"skscratch.{here}"):
                foreign = [name for name in imports(path) if name.startswith(f"skscratch.{there}")]
                assert not foreign, f"{module} imports {foreign}"


@pytest.mark.parametrize("package", ["skscratch.core", "skscratch.linear"])
def test_the_cores_load_nothing_of_scikit_learn_even_indirectly(package):
    code = (
        f"import sys, types; sys.modules['skscratch'] = types.ModuleType('skscratch'); "
        f"sys.modules['skscratch'].__path__ = [{str(ROOT)!r}]; import {package}; "
        "assert not {'sklearn', 'joblib'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_two_classes_share_a_name():
    places = {}
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(module)
    assert not {name: found for name, found in places.items() if len(found) > 1}


def test_errors_of_the_cores_do_not_mention_scikit_learn():
    for module, path in MODULES.items():
        if module.startswith(("skscratch.core", "skscratch.linear")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Raise):
                    assert "Scaler" not in ast.unparse(node), module


def test_no_module_unpickles():
    for module, path in MODULES.items():
        for imported in imports(path):
            assert imported.partition(".")[0] not in {"pickle", "dill", "shelve"}, module
        assert "allow_pickle=True" not in path.read_text(encoding="utf-8")


def test_importing_the_package_leaves_matplotlib_and_tensorflow_alone():
    code = (
        "import sys, skscratch, skscratch.core, skscratch.datasets, skscratch.keras\n"
        "print(sorted({'keras', 'matplotlib', 'tensorflow', 'torch'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
