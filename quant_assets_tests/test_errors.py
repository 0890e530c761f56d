"""The family of errors: every class is in it, and the tree at the top of `quant_assets.errors` is true."""

from __future__ import annotations

import ast
import builtins
import re
from pathlib import Path

from quant_assets import errors

PACKAGE = Path(errors.__file__).parent


def error_classes() -> dict[str, tuple[str, list[str]]]:
    """Every exception class of the package: its module below quant_assets, and the names of its bases."""
    classes: dict[str, tuple[str, list[str]]] = {}
    for file in [*PACKAGE.rglob("*.py"), *(PACKAGE / "resources").glob("*.py")]:
        module = ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
                if any(_is_exception(base) or base.endswith("Error") for base in bases):
                    classes[node.name] = (module, bases)
    return classes


def _is_exception(name: str) -> bool:
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


def family_of(classes: dict[str, tuple[str, list[str]]]) -> set[str]:
    family = {"QuantAssetsError"}
    while more := {n for n, (_, bases) in classes.items() if family & set(bases)} - family:
        family |= more
    return family


def test_every_public_error_is_of_the_family() -> None:
    classes = error_classes()
    outside = {name for name in classes if not name.startswith("_")} - family_of(classes)
    assert outside == set()


def test_the_tree_of_errors_is_the_classes() -> None:
    classes = error_classes()
    drawn: dict[str, tuple[str, str]] = {}
    stack = ["QuantAssetsError"]
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(
            r"(?P<indent>[│ ]*)[├└]── (?P<name>\w+)( \(\w+\))?(\s+(?P<module>[\w.]+))?", line
        ):
            depth = len(found["indent"]) // 4
            stack = [*stack[: depth + 1], found["name"]]
            drawn[found["name"]] = (stack[-2], found["module"] or "")
    family = family_of(classes) - {"QuantAssetsError"}
    assert drawn.keys() == {name for name in family if not name.startswith("_")}
    for name, (parent, module) in drawn.items():
        assert parent in classes[name][1], name
        if parent == "QuantAssetsError":
            assert classes[name][0] == module.rstrip("."), name
