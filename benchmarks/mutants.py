"""How many small changes of the code do the tests notice? A sample of mutants over the code that judges and counts.

    python -m benchmarks.mutants                        # 200 mutants, as benchmarks/MUTANTS.md records
    python -m benchmarks.mutants --mutants 20 --seed 2  # a quick look at others
    python -m benchmarks.mutants --only verdict         # every mutant of one module
    python -m benchmarks.mutants --show 17              # what mutant 17 of this sample changes

A mutant is one change in the syntax tree of one module: another comparison, another arithmetic or logical operator, a
negated condition, a number one more or less, another string or truth value, a returned None, a call that is left out or
replaced by its argument, a branch or statement that is not run. Docstrings, annotations and imports stay as they are.

The source files are never touched. Each mutant runs in a process of its own, forked from one that has loaded numpy,
pandas, duckdb and pytest but nothing that imports the module; there, importing the module gives the mutated one. It is
killed when one of the module's test files fails, or by its limit of processor time: a loop that does not end is noticed
too. The same seed picks the same mutants as long as the code is the same.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import types
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # browsers and schemas: loading them costs more than the tests
ROOT = Path(__file__).resolve().parent.parent
SEED, MUTANTS, CPU_LIMIT_S = 1, 200, 60
SURVIVED, KILLED, TIMED_OUT, BROKEN, SAME = "survived", "killed", "timed out", "broken", "equivalent"


@dataclass(frozen=True)
class Target:
    """A module, and the test files that say what it must do, those that are fast first."""

    name: str
    module: str
    tests: Sequence[str]

    @property
    def path(self) -> Path:
        """Where its source is; found without importing a package, which might import the module."""
        package, _, rest = self.module.partition(".")
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        return Path(spec.submodule_search_locations[0], *rest.split(".")).with_suffix(".py")


RECORDED, EVALUATION = "tests/pilots/test_evaluation_recorded.py", "tests/pilots/test_evaluation.py"
TARGETS = [
    Target("verdict", "techport_pilots.evaluation.verdict", ["tests/pilots/test_verdict.py"]),
    Target("interval", "techport_pilots.evaluation.interval", ["tests/pilots/test_interval.py", RECORDED, EVALUATION]),
    Target("samples", "techport_pilots.evaluation.samples", ["tests/pilots/test_samples.py", RECORDED]),
    Target(
        "completeness",
        "techport_pilots.quality.completeness",
        ["tests/pilots/test_completeness.py", "tests/pilots/test_samples.py"],
    ),
    Target("device_status", "techport_dashboards.services.device_status", ["tests/dashboards/test_device_status.py"]),
]

EQUIVALENT = {
    "samples: branch: parts[0] if len(parts) == 1 else [np.concatenate(column) for column in zip(*parts, strict=True)]"
    " -> parts[0] if False else [np.concatenate(column) for column in zip(*parts, strict=True)]": (
        "one part joined with nothing is that part; the branch only saves a copy"
    ),
    "samples: comparison: expected >= 1 -> expected > 1": (
        "at exactly one expected reading the factor is max(1, 1 / readings), which is 1"
    ),
    "samples: call: float(len(np.unique(when.hour[in_hours]))) -> len(np.unique(when.hour[in_hours]))": (
        "the same number as an int"
    ),
    "samples: call: tuple(some) -> some": "a list of the same streams selects the same; only the declared type differs",
}
"""Mutants that no test can notice, as `describe` names them, with the reason. They are drawn, but not run, and count as
not killed."""

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


# -- What can be changed


@dataclass(frozen=True)
class Mutant:
    """One change of a module: what is replaced, and where in its syntax tree."""

    target: Target
    place: int  # in the order of _places
    alternative: int  # in the order of alternatives
    line: int
    kind: str
    before: str
    after: str

    def describe(self) -> str:
        """Names the change, whatever else of the module changes."""
        return f"{self.target.name}: {self.kind}: {self.before} -> {self.after}"

    def tree(self) -> ast.Module:
        """The whole changed module."""
        tree = ast.parse(self.target.path.read_text("utf-8"))
        parent, name, index, node = next(itertools.islice(_places(tree), self.place, None))
        _, replacement = list(alternatives(node))[self.alternative]
        if index is None:
            setattr(parent, name, replacement)
        else:
            getattr(parent, name)[index] = replacement
        return ast.fix_missing_locations(tree)


def alternatives(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What may stand in place of a node, with the kind of change."""
    match node:
        case ast.Compare(ops=[operator]):
            for other in COMPARISONS[type(operator)]:
                yield "comparison", _with(node, ops=[other()])
        case ast.BinOp(op=operator) if type(operator) in OPERATORS:
            yield "operator", _with(node, op=OPERATORS[type(operator)]())
        case ast.BoolOp(op=ast.And()):
            yield "logic", _with(node, op=ast.Or())
        case ast.BoolOp(op=ast.Or()):
            yield "logic", _with(node, op=ast.And())
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield "negation", operand
        case ast.Constant(value=bool(value)):
            yield "truth value", _with(node, value=not value)
        case ast.Constant(value=int(value) | float(value)):
            yield "number", _with(node, value=value + 1)
            yield "number", _with(node, value=value - 1)
        case ast.Constant(value=str(value)) if value:
            yield "string", _with(node, value=f"{value}?")
        case ast.If(test=test) | ast.IfExp(test=test):
            yield "condition", _with(node, test=ast.UnaryOp(ast.Not(), test))
            yield "branch", _with(node, test=ast.Constant(False))
        case ast.Return(value=value) if value is not None and not _is_none(value):
            yield "return", _with(node, value=ast.Constant(None))
        case ast.Call(args=[first], keywords=[]) if not isinstance(first, ast.Starred | ast.GeneratorExp):
            yield "call", first
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise():
            yield "statement", ast.Pass()
        case ast.comprehension(ifs=[_, *_]):
            yield "filter", _with(node, ifs=[])


def mutants_of(target: Target) -> list[Mutant]:
    """Every mutant of a module, in the order of its syntax tree."""
    tree = ast.parse(target.path.read_text("utf-8"))
    return [
        Mutant(target, place, number, getattr(node, "lineno", 0), kind, ast.unparse(node), ast.unparse(replacement))
        for place, (_, _, _, node) in enumerate(_places(tree))
        for number, (kind, replacement) in enumerate(alternatives(node))
        if ast.unparse(node) != ast.unparse(replacement)
    ]


def _places(tree: ast.Module) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Every node that may be changed, with where it hangs. Annotations, imports and docstrings are left out."""
    for parent in ast.walk(tree):
        if getattr(parent, "_keep", False):
            continue
        for name, value in ast.iter_fields(parent):
            children = value if isinstance(value, list) else [value]
            for index, child in enumerate(children):
                if not isinstance(child, ast.AST):
                    continue
                if name in ("annotation", "returns", "decorator_list", "type_params") or _is_text(child):
                    _keep(child)
                    continue
                if isinstance(child, ast.Import | ast.ImportFrom):
                    continue
                if isinstance(parent, ast.MatchValue | ast.JoinedStr | ast.FormattedValue):
                    _keep(child)
                    continue
                yield parent, name, index if isinstance(value, list) else None, child


def _keep(node: ast.AST) -> None:
    """Nothing below is changed."""
    for below in ast.walk(node):
        below._keep = True  # type: ignore[attr-defined]


def _is_text(node: ast.AST) -> bool:
    """A docstring, or the text below a constant."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _with(node: ast.AST, **fields: object) -> ast.AST:
    """A copy of the node with other fields."""
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


# -- Does a test notice?


class MutatedModule(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the mutated module to whoever imports it."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._mutant.target.module:
            return None
        return importlib.util.spec_from_file_location(fullname, self._mutant.target.path, loader=self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        exec(compile(self._mutant.tree(), str(self._mutant.target.path), "exec"), module.__dict__)


def preload() -> None:
    """What every test needs and no mutant touches."""
    for name in ("numpy", "pandas", "pyarrow", "duckdb", "scipy.special", "hypothesis", "pytest", "fastapi", "babel"):
        importlib.import_module(name)
    for name in ("techport_storage.store", "techport_storage.duckdb", "techport_pilots.model", "techport_pilots.i18n"):
        importlib.import_module(name)
    loaded = [target.module for target in TARGETS if target.module in sys.modules]
    if loaded:
        raise SystemExit(f"mutants.py loads {loaded} before it can be mutated: shorten the list in preload()")


def run(mutant: Mutant | None, tests: Sequence[str], cpu_limit: int) -> tuple[str, float]:
    """Run the tests against a mutant in a process of its own: what became of it, and the processor time in seconds."""
    child = os.fork()
    if child == 0:
        _run_tests(mutant, tests, cpu_limit)
    deadline = time.monotonic() + 10 * cpu_limit  # of a test that waits instead of computing
    while True:
        finished, status, usage = os.wait4(child, os.WNOHANG)
        if finished:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    spent = usage.ru_utime + usage.ru_stime
    if os.WIFSIGNALED(status):
        return TIMED_OUT, spent
    code = os.WEXITSTATUS(status)
    return {0: SURVIVED, 1: KILLED, 2: KILLED}.get(code, BROKEN), spent  # 2: not even collected


def _run_tests(mutant: Mutant | None, tests: Sequence[str], cpu_limit: int) -> None:
    """Never returns: ends the process with pytest's exit code."""
    import hypothesis
    import pytest

    resource.setrlimit(resource.RLIMIT_CPU, (cpu_limit, cpu_limit + 5))
    if mutant is not None:
        sys.meta_path.insert(0, MutatedModule(mutant))
    sys.dont_write_bytecode = True
    # A failing example is enough: nobody reads the shortest one.
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile("mutants", database=None, derandomize=True, deadline=None, phases=phases)
    hypothesis.settings.load_profile("mutants")
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        with tempfile.TemporaryDirectory() as folder:
            options = ["-x", "-q", "-p", "no:cacheprovider", "--basetemp", f"{folder}/tests", "--rootdir", str(ROOT)]
            code = pytest.main([*options, *(str(ROOT / test) for test in tests)])
    os._exit(int(code))


# -- A sample of them


def sample(mutants: Sequence[Mutant], number: int, seed: int) -> list[Mutant]:
    """`number` mutants of all modules together, picked by chance, in the order of the source."""
    chosen = random.Random(seed).sample(list(mutants), min(number, len(mutants)))
    order = {target.name: place for place, target in enumerate(TARGETS)}
    return sorted(chosen, key=lambda mutant: (order[mutant.target.name], mutant.place, mutant.alternative))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=MUTANTS, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the choice (default: %(default)s)")
    parser.add_argument("--only", choices=[target.name for target in TARGETS], help="every mutant of one module")
    parser.add_argument("--first", type=int, default=0, metavar="PLACE", help="begin there in the sample")
    parser.add_argument("--show", type=int, metavar="PLACE", help="print one mutant of the sample; run nothing")
    parser.add_argument(
        "--cpu-limit", type=int, default=CPU_LIMIT_S, help="seconds for a mutant (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, help="write the result of each mutant to this file")
    options = parser.parse_args()
    os.chdir(ROOT)
    targets = [target for target in TARGETS if options.only in (None, target.name)]
    every_mutant = [mutant for target in targets for mutant in mutants_of(target)]
    number = len(every_mutant) if options.only else options.mutants
    chosen = sample(every_mutant, number, options.seed)
    if options.show is not None:
        mutant = chosen[options.show]
        print(f"{mutant.target.path}:{mutant.line}\n{mutant.describe()}")
        return
    print(f"{len(every_mutant)} mutants, {len(chosen)} of them drawn with seed {options.seed}")
    preload()
    spent = 0.0
    for target in targets:
        outcome, seconds = run(None, target.tests, 10 * options.cpu_limit)
        spent += seconds
        print(f"{target.name}: tests of the code as it is: {outcome}, {seconds:.1f} s", flush=True)
        if outcome != SURVIVED:
            raise SystemExit(f"the tests of {target.name} fail without any mutant: run them, mend them")
    outcomes: list[tuple[Mutant, str]] = []
    for place, mutant in list(enumerate(chosen))[options.first :]:
        if mutant.describe() in EQUIVALENT:
            outcome, seconds = SAME, 0.0
        else:
            outcome, seconds = run(mutant, mutant.target.tests, options.cpu_limit)
        spent += seconds
        outcomes.append((mutant, outcome))
        if outcome in (SURVIVED, BROKEN):
            print(f"{outcome}: {place}: line {mutant.line}: {mutant.describe()} ({seconds:.1f} s)", flush=True)
    report(outcomes, spent)
    if options.json:
        rows = [{"mutant": mutant.describe(), "line": mutant.line, "outcome": outcome} for mutant, outcome in outcomes]
        options.json.write_text(json.dumps(rows, indent=1), "utf-8")


def report(outcomes: Sequence[tuple[Mutant, str]], spent: float) -> None:
    """The table of benchmarks/MUTANTS.md."""
    print("\n| module | mutants | killed | equivalent | survived | killed % |\n|---|---|---|---|---|---|")
    print(table(outcomes))
    print(f"\n{spent / 60:.1f} CPU-minutes")


def table(outcomes: Sequence[tuple[Mutant, str]]) -> str:
    rows = []
    for name in [*dict.fromkeys(mutant.target.name for mutant, _ in outcomes), "all"]:
        counts = Counter(outcome for mutant, outcome in outcomes if name in (mutant.target.name, "all"))
        killed, total = counts[KILLED] + counts[TIMED_OUT], counts.total()
        survived = total - killed - counts[SAME]
        rows.append(f"| {name} | {total} | {killed} | {counts[SAME]} | {survived} | {100 * killed / total:.1f} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
