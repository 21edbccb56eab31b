"""Break the code on purpose and see whether a test fails: ``python -m tests.mutations``.

Each mutation changes one place of `skscratch.core`, `.linear` or `.estimators`: an operator, a
sign, a constant, a comparison, a dropped statement or a dropped ``.copy()``. The tests of that
module run against a copy of the project; a mutation that none of them catches is printed as a
survivor.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Add,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
# The tests of each module, besides the test file of the same name.
TESTS = {
    "core/functions": ["core/test_activations", "core/test_losses"],
    "core/interrupts": ["core/test_interrupts"],
    "core/checks": ["core/test_checks"],
    "core/named": ["core/test_ranges", "core/test_checks"],
    "core/rows": ["core/test_sparse_rows", "core/test_training", "estimators/test_networks"],
    "core/evaluate": [
        "core/test_training",
        "core/test_sparse_rows",
        "core/test_interrupts",
        "estimators/test_mlp",
    ],
    "core/update": ["core/test_training", "core/test_interrupts"],
    "core/layers": [
        "core/test_checks",
        "core/test_ranges",
        "core/test_gradients",
        "core/test_network",
        "core/test_sparse_rows",
        "core/test_training",
        "estimators/test_autoencoder",
    ],
    "core/activations": ["core/test_activations", "core/test_checks", "core/test_gradients"],
    "core/losses": [
        "core/test_losses",
        "core/test_checks",
        "core/test_ranges",
        "core/test_gradients",
        "estimators/test_mlp",
    ],
    "core/network": ["core/test_sparse_rows"],
    "core/objective": ["core/test_training", "core/test_gradients", "core/test_sparse_rows"],
    "core/optimizers": [
        "core/test_optimizers",
        "core/test_checks",
        "core/test_ranges",
        "core/test_training",
        "estimators/test_mlp",
    ],
    "core/schedules": [
        "core/test_schedules",
        "core/test_ranges",
        "core/test_training",
        "estimators/test_mlp",
    ],
    "core/gradcheck": ["core/test_gradients"],
    "core/training": [
        "core/test_training",
        "core/test_interrupts",
        "estimators/test_mlp",
        "estimators/test_networks",
    ],
    "core/workers": ["core/test_workers", "core/test_training", "core/test_sparse_rows"],
    **{
        f"linear/{name}": ["linear/test_solver", "estimators/test_linear_svm"]
        for name in (
            "arrays",
            "losses",
            "products",
            "systems",
            "problems",
            "directions",
            "line_search",
            "solver",
        )
    },
    "estimators/_base": [
        "estimators/test_networks",
        "estimators/test_mlp",
        "estimators/test_interrupts",
        "estimators/test_with_scikit_learn",
    ],
    **{
        f"estimators/{name}": [
            "estimators/test_networks",
            "estimators/test_linear_svm",
            "estimators/test_with_scikit_learn",
        ]
        for name in ("_sklearn", "_available", "_data", "_random", "_threads")
    },
    "estimators/_stream": ["estimators/test_stream", "estimators/test_linear_svm"],
    "estimators/_state": [
        "estimators/test_networks",
        "estimators/test_linear_svm",
        "estimators/test_threads",
        "estimators/test_interrupts",
    ],
    "estimators/_targets": ["estimators/test_mlp", "estimators/test_linear_svm"],
    "core/lbfgs": ["core/test_lbfgs", "estimators/test_mlp"],
    "estimators/_plan": ["estimators/test_networks", "estimators/test_mlp"],
    "estimators/_parameters": ["estimators/test_parts"],
    "estimators/_kinds": ["estimators/test_networks"],
    "estimators/_perceptron": [
        "estimators/test_mlp",
        "estimators/test_networks",
        "estimators/test_scikit_learns_mlp_tests",
        "estimators/test_with_scikit_learn",
    ],
    "estimators/mlp_classifier": [
        "estimators/test_mlp",
        "estimators/test_networks",
        "estimators/test_scikit_learns_mlp_tests",
        "estimators/test_with_scikit_learn",
    ],
    "estimators/mlp_regressor": [
        "estimators/test_mlp",
        "estimators/test_networks",
        "estimators/test_scikit_learns_mlp_tests",
        "estimators/test_with_scikit_learn",
    ],
    "estimators/autoencoder": ["estimators/test_autoencoder", "estimators/test_networks"],
    "estimators/linear_svm": [
        "estimators/test_linear_svm",
        "estimators/test_scikit_learns_svm_tests",
    ],
}
IGNORED = shutil.ignore_patterns(".git", ".venv", "out", "__pycache__", ".*_cache")


@dataclass(frozen=True)
class Mutation:
    """One changed place."""

    module: str
    line: int
    what: str
    text: str


def places(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Yield the nodes that can be changed, each with the kind of change."""
    # Annotations are not executed.
    skipped = {id(part) for note in _annotations(tree) for part in ast.walk(note)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in OPERATORS:
            yield node, "operator"
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            yield node, "sign"
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
            yield node, "comparison"
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
            yield node, "constant"
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "copy":
            yield node, "copy"
        elif isinstance(node, ast.AugAssign | ast.Assign) or _is_call(node):
            yield node, "statement"


def _annotations(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            if isinstance(note := getattr(node, name, None), ast.AST):
                yield note


def _is_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)


def change(tree: ast.Module, number: int) -> tuple[ast.AST, str]:
    """Change the place of that number in the tree; return the old node and the kind of change."""
    node, what = list(places(tree))[number]
    before = copy.deepcopy(node)
    if what == "operator":
        node.op = OPERATORS[type(node.op)]()
    elif what == "sign":
        node.op = ast.UAdd()
    elif what == "comparison":
        node.ops[0] = COMPARISONS[type(node.ops[0])]()
    elif what == "constant":
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1
    elif what == "copy":
        _replace(tree, node, node.func.value)
    else:
        _replace(tree, node, ast.copy_location(ast.Pass(), node))
    return before, what


def _replace(tree: ast.Module, node: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is node:
                setattr(parent, name, new)
            elif isinstance(value, list) and any(item is node for item in value):
                value[[item is node for item in value].index(True)] = new


def draw(n: int, seed: int) -> list[Mutation]:
    """Draw mutations, all places with the same probability."""
    modules = sorted((ROOT / "skscratch").glob("core/*.py"))
    modules += sorted((ROOT / "skscratch").glob("linear/*.py"))
    modules += sorted((ROOT / "skscratch").glob("estimators/*.py"))
    candidates = []
    for path in modules:
        module = path.relative_to(ROOT / "skscratch").with_suffix("").as_posix()
        source = path.read_text(encoding="utf-8")
        candidates += [(module, source, k) for k in range(len(list(places(ast.parse(source)))))]
    mutations = []
    for module, source, number in random.Random(seed).sample(candidates, n):
        tree = ast.parse(source)
        before, what = change(tree, number)
        text = f"{what}: {ast.unparse(before)[:80]}"
        mutations.append(Mutation(module, before.lineno, text, ast.unparse(tree)))
    return mutations


def tests_of(module: str) -> list[str]:
    """Return the paths of the tests of a module."""
    folder, name = module.split("/")
    own = [f"{folder}/test_{name}"] if (ROOT / f"tests/{folder}/test_{name}.py").exists() else []
    return [f"tests/{test}.py" for test in dict.fromkeys([*own, *TESTS.get(module, [])])]


def survives(mutation: Mutation, folder: Path, limit: float) -> bool:
    """Run the tests of the module against the mutation; return whether all of them pass."""
    path = folder / "skscratch" / f"{mutation.module}.py"
    source = path.read_text(encoding="utf-8")
    path.write_text(mutation.text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        run = subprocess.run(
            [*command, *tests_of(mutation.module)],
            cwd=folder,
            env=environment,
            capture_output=True,
            check=False,
            timeout=limit,
        )
        return run.returncode == 0
    except subprocess.TimeoutExpired:
        # An endless loop counts as caught.
        return False
    finally:
        path.write_text(source, encoding="utf-8")


def main() -> int:
    """Draw mutations, run the tests and print the survivors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=60, help="number of mutations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--limit", type=float, default=900, help="seconds for one mutation")
    arguments = parser.parse_args()
    mutations = draw(arguments.n, arguments.seed)
    survivors = []
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / str(k) for k in range(arguments.processes)]
        for folder in folders:
            shutil.copytree(ROOT, folder, ignore=IGNORED)

        def run(folder: Path, mine: list[Mutation]) -> None:
            for mutation in mine:
                survived = survives(mutation, folder, arguments.limit)
                word = "SURVIVED" if survived else "caught"
                print(f"{word:9s} {mutation.module}:{mutation.line} {mutation.what}", flush=True)
                if survived:
                    survivors.append(mutation)

        with ThreadPoolExecutor(len(folders)) as pool:
            shares = [mutations[k :: len(folders)] for k in range(len(folders))]
            list(pool.map(run, folders, shares))
    caught = len(mutations) - len(survivors)
    print(f"{caught} of {len(mutations)} caught ({100 * caught / len(mutations):.0f} %)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
