"""The changes that can be made to the code, and a sample of them."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("quant_assets/market", "quant_assets/ingest", "quant_assets/tables", "resources")
EQUIVALENT = Path(__file__).with_name("equivalent.txt")
PAIRS = ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Div", "Mod_Div", "BitOr_BitAnd", "BitAnd_BitOr",
         "Eq_NotEq", "NotEq_Eq", "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt",
         "Is_IsNot", "IsNot_Is", "Delete_Not", "Delete_Invert", "Delete_USub")  # fmt: skip
WORDS = ("NumberReplacer", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd",
         "AddNot", "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ZeroIterationForLoop",
         "ExceptionReplacer")  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change: the whole changed source, and the first line that differs, before and after."""

    path: str
    line: int
    before: str
    after: str
    source: str
    function: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.before} -> {self.after}"


def operators() -> list[Any]:
    """cosmic-ray's operators that make sense here, and one that drops a call made for its effect."""
    from cosmic_ray.operators.operator import Operator
    from cosmic_ray.plugins import get_operator, operator_names
    from parso.tree import BaseNode

    class DropCall(Operator):
        """Replaces a statement that is nothing but a call by `pass`."""

        def mutation_positions(self, node: Any) -> Any:
            if node.type == "simple_stmt" and node.children[0].type == "atom_expr":
                yield node.start_pos, node.end_pos

        def mutate(self, node: Any, index: int) -> Any:
            import parso

            module: BaseNode = parso.parse("pass\n")
            dropped: Any = module.children[0]
            dropped.get_first_leaf().prefix = node.get_first_leaf().prefix
            return dropped

        @classmethod
        def examples(cls) -> Any:
            return ()

    wanted = [name for name in operator_names()
              if name.partition("_")[2] in PAIRS or name.rpartition("/")[2] in WORDS]  # fmt: skip
    return [*(get_operator(name)() for name in sorted(wanted)), DropCall()]


def functions(source: str) -> list[tuple[int, int, str]]:
    """First and last line and qualified name of every function, inner ones last."""
    found: list[tuple[int, int, str]] = []

    def walk(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{prefix}.{child.name}".lstrip(".")
                if not isinstance(child, ast.ClassDef):
                    found.append((child.lineno, child.end_lineno or child.lineno, name))
            walk(child, name)

    walk(ast.parse(source), "")
    return found


def function_at(spans: list[tuple[int, int, str]], line: int) -> str:
    """The outermost function around a line ("" for what runs at import): inner ones run with it."""
    return next((name for first, last, name in spans if first <= line <= last), "")


def meaning(source: str) -> str:
    """The syntax tree without what no call of ours can tell: annotations, how arguments have to be passed, and that
    `zip` makes sure of lengths that are the same."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "zip":
            node.keywords = []
        if isinstance(node, ast.arguments):
            every = [*node.posonlyargs, *node.args, *node.kwonlyargs]
            node.defaults += [default for default in node.kw_defaults if default is not None]
            node.posonlyargs, node.args, node.kwonlyargs, node.kw_defaults = [], every, [], []
        if isinstance(node, ast.arg | ast.AnnAssign):
            node.annotation = ast.Constant(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
    return ast.dump(tree)


def draw(sample: int, seed: int, only: str) -> list[Mutant]:
    """`sample` mutants of all those of PACKAGES (of the paths that contain `only`).

    Which ones SEED draws of a file depends on that file alone: a change elsewhere leaves them what they are.
    """
    from cosmic_ray.ast import Visitor, get_ast
    from cosmic_ray.mutating import mutate_code

    listed = [line.split(" || ")[:3] for line in EQUIVALENT.read_text().splitlines() if " || " in line]
    places: list[tuple[str, Any, int]] = []
    for path in sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        tree = get_ast(path.read_text())
        for operator in operators():

            class Counting(Visitor):
                count = 0

                def visit(self, node: Any, operator: Any = operator) -> Any:
                    type(self).count += len(list(operator.mutation_positions(node)))
                    return node

            Counting().walk(tree)
            name = str(path.relative_to(ROOT))
            places += [(name, operator, n) for n in range(Counting.count) if only in name]
    places.sort(key=lambda place: sha256(f"{seed} {place[0]} {type(place[1])} {place[2]}".encode()).digest())
    drawn: list[Mutant] = []
    for path, operator, number in places:
        if len(drawn) == sample:
            break
        source = (ROOT / path).read_text()
        try:
            changed = mutate_code(source, operator, number)
        except AttributeError:
            continue  # cosmic-ray cannot replace an exception that is named with its module
        if changed is None:
            continue
        try:
            if meaning(changed) == meaning(source):
                continue
        except SyntaxError:
            continue  # cosmic-ray cannot replace one of several exceptions in every place
        pairs = enumerate(zip(source.splitlines(), changed.splitlines(), strict=False), start=1)
        line, (before, after) = next((n, pair) for n, pair in pairs if pair[0] != pair[1])
        texts = [path, before.strip(), after.strip()]
        if not any(all(said in (text, "*") for said, text in zip(one, texts, strict=True)) for one in listed):
            drawn.append(
                Mutant(path, line, texts[1], texts[2], changed, function_at(functions(source), line))
            )
    return drawn
