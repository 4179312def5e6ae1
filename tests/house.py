"""`python tests/house.py [FOLDER]`: the size and the order of the code, as CONTRIBUTING.md shows them.

Modules, lines and public functions of each package; circles of imports; small modules with one importer; private names
of libraries; and, with --trace, how many files run in a sweep of the sample corpus.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOTS = ("vocabopt", "trainer")
#: `os._exit` is documented, and operators of torch have no other name: these are private in look alone.
PUBLIC = {"_exit", "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention"}


@dataclass(frozen=True)
class Module:
    """name: with dots. imports: modules of ours that its import imports; later: those that its functions import."""

    name: str
    path: Path
    tree: ast.Module = field(repr=False)
    n_lines: int

    @property
    def package(self) -> str:
        """The first two parts of the name; the first alone for a module that lies in no package."""
        parts = self.name.split(".")
        is_folder = len(parts) > 2 or self.path.name == "__init__.py"
        return ".".join(parts[: 2 if is_folder else 1])

    @property
    def n_public_functions(self) -> int:
        return sum(isinstance(node, ast.FunctionDef) and node.name[0] != "_" for node in self.tree.body)


@dataclass(frozen=True)
class House:
    modules: Mapping[str, Module]

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """What importing a module imports of ours at once."""
        return {name: self._imported(module, at_once=True) for name, module in self.modules.items()}

    @cached_property
    def all_imports(self) -> dict[str, set[str]]:
        """The same with what functions import when they are called."""
        return {name: self._imported(module, at_once=False) for name, module in self.modules.items()}

    def _imported(self, module: Module, *, at_once: bool) -> set[str]:
        found = set()
        for node in _statements(module.tree, at_once=at_once):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    found.add(inner if inner in self.modules else node.module)
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
        return {name for name in found if name in self.modules and name != module.name}

    def circles(self) -> list[list[str]]:
        """Groups of modules that import each other when imported."""
        return [sorted(group) for group in _strongly_connected(self.imports) if len(group) > 1]

    def small_with_one_importer(self, n_lines: int = 100) -> list[str]:
        """Modules under `n_lines` that one module imports, which could hold them. Packages are left out."""
        importers = defaultdict(set)
        for name, imported in self.all_imports.items():
            for inner in imported:
                importers[inner].add(name)
        return sorted(
            name
            for name, module in self.modules.items()
            if module.n_lines < n_lines and len(importers[name]) == 1 and module.path.name != "__init__.py"
        )

    def private_names(self) -> list[str]:
        """Attributes with an underscore that no class or module of ours defines, and where they stand."""
        ours = {name for module in self.modules.values() for name in _defined(module.tree)}
        return sorted(
            f"{module.name}:{node.lineno} {node.attr}"
            for module in self.modules.values()
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Attribute) and _is_private(node.attr) and node.attr not in ours | PUBLIC
        )

    def table(self) -> str:
        """Markdown: a row per package."""
        rows = defaultdict(lambda: [0, 0, 0])
        for module in self.modules.values():
            row = rows[module.package]
            row[0] += 1
            row[1] += module.n_lines
            row[2] += module.n_public_functions
        lines = [
            f"| {name} | {n:,} | {n_lines:,} | {n_public:,} |" for name, (n, n_lines, n_public) in sorted(rows.items())
        ]
        total = [sum(column) for column in zip(*rows.values(), strict=True)]
        lines.append(f"| all | {total[0]:,} | {total[1]:,} | {total[2]:,} |")
        return "\n".join(["| package | modules | lines | public functions |", "| --- | ---: | ---: | ---: |", *lines])


def read(root: Path) -> House:
    """The modules of the packages under a folder."""
    modules = {}
    for path in sorted(path for name in ROOTS for path in (root / name).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        modules[name] = Module(name, path, ast.parse(text), text.count("\n"))
    return House(modules)


def _statements(tree: ast.AST, *, at_once: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if at_once and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield node
        yield from _statements(node, at_once=at_once)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            yield node.attr


def _strongly_connected(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """Groups whose members reach each other."""

    def reached(start: str, edges: Mapping[str, set[str]]) -> set[str]:
        seen, left = {start}, [start]
        while left:
            for other in edges.get(left.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    left.append(other)
        return seen

    backwards = defaultdict(set)
    for name, others in graph.items():
        for other in others:
            backwards[other].add(name)
    groups, done = [], set[str]()
    for name in graph:
        if name not in done:
            group = reached(name, graph) & reached(name, backwards)
            groups.append(group)
            done |= group
    return groups


def files_of_a_sweep(root: Path) -> list[str]:
    """Files of ours in which a function runs, or whose constants are read, in `vocabopt sweep corpus/`."""
    import tempfile

    sys.path.insert(0, str(root))
    ran: set[str] = set()

    def trace(frame: object, event: str, argument: object) -> None:
        code = frame.f_code  # type: ignore[attr-defined]
        if event == "call" and code.co_name != "<module>" and code.co_filename.startswith(str(root / "vocabopt")):
            ran.add(str(Path(code.co_filename).relative_to(root)))

    from vocabopt.cli import main

    with tempfile.TemporaryDirectory() as folder:
        sys.setprofile(trace)
        try:
            main(["sweep", str(root / "corpus"), "--out", folder, "--quiet"], standalone_mode=False)
        finally:
            sys.setprofile(None)
    return sorted(ran)


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--trace"]
    root = Path(arguments[0]).resolve() if arguments else Path(__file__).parents[1]
    house = read(root)
    print(house.table())
    for what, found in (
        ("circles", [" <-> ".join(circle) for circle in house.circles()]),
        ("small modules with one importer", house.small_with_one_importer()),
        ("private names of libraries", house.private_names()),
    ):
        print(f"\n{what}: {len(found)}\n  " + "\n  ".join(found))
    if "--trace" in sys.argv:
        ran = files_of_a_sweep(root)
        print(f"\nfiles that run in a sweep: {len(ran)}\n  " + "\n  ".join(ran))


if __name__ == "__main__":
    main()
