"""YAML read as plain texts, and the line at which a value stands; what would blow up is refused before it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

DEEPEST = 100
"""Levels of nesting. Beyond some ten thousand, libyaml's loader ends the whole process."""
LARGEST = 5_000_000
"""Characters and values that a file may stand for when every alias is written out."""


class TooMuch(yaml.MarkedYAMLError):
    """Nested too deep, or too large with its aliases written out. Says the same with and without libyaml."""

    def __init__(self, problem: str, mark: Any) -> None:
        where = None if mark is None else yaml.Mark(mark.name, mark.index, mark.line, mark.column, None, 0)
        super().__init__(problem=problem, problem_mark=where)


def read_texts(text: str) -> object:
    """YAML with every scalar as it is written (16:00 is no number, NO no boolean) and no key twice.

    None for a text with no document in it. Raises yaml.YAMLError: also for nesting deeper than DEEPEST, and for
    aliases that stand for more than LARGEST.
    """
    return read_marked(text)[0]


def read_marked(text: str) -> tuple[object, yaml.Node | None]:
    """What `read_texts` answers, and the node it was made of, for `line_of`. Raises yaml.YAMLError."""
    if yaml.__with_libyaml__:
        try:
            return _read(text, yaml.CBaseLoader)
        except TooMuch:
            raise
        except yaml.YAMLError:
            # The slower loader says better what is wrong, and the same on every machine.
            pass
    return _read(text, yaml.BaseLoader)


def line_of(node: yaml.Node | None, place: Sequence[str | int]) -> int:
    """The line, from 1, of what stands at `place` (keys and numbers) under `node`.

    A part that is not there is passed over: the line of a missing key is that of what it is missing in.
    """
    if node is None:
        return 1
    mark = node.start_mark
    for part in place:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    mark, node = key.start_mark, value
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            mark, node = node.value[part].start_mark, node.value[part]
    return mark.line + 1


def _read(text: str, loader: type[yaml.CBaseLoader | yaml.BaseLoader]) -> tuple[object, yaml.Node | None]:
    _refuse_deep(text, loader)
    node = yaml.compose(text, loader)
    if node is None:
        return None, None
    _size(node, {})
    return _plain(node), node


def _refuse_deep(text: str, loader: type[yaml.CBaseLoader | yaml.BaseLoader]) -> None:
    # Each level needs a bracket or a column more (two levels a column: a list under a key may stand below it).
    # Small files are thereby known to be shallow, and are read once.
    brackets = text.count("[") + text.count("{")
    if brackets + 2 * max(map(len, text.splitlines()), default=0) < DEEPEST:
        return
    depth = 0
    for event in yaml.parse(text, loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise TooMuch(f"nested deeper than {DEEPEST} levels", event.start_mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Characters and values under `node`, each time that an alias repeats it. Raises TooMuch."""
    if isinstance(node, yaml.ScalarNode):
        return 1 + len(node.value)
    known = sizes.get(id(node))
    if known is None:
        sizes[id(node)] = -1  # under way: what is met again before it is done is inside itself
        parts = (
            [part for pair in node.value for part in pair]
            if isinstance(node, yaml.MappingNode)
            else node.value
        )
        known = 1 + sum(_size(part, sizes) for part in parts)
        sizes[id(node)] = known
    if known < 0 or known > LARGEST:
        problem = (
            "an alias stands inside what it is an alias of"
            if known < 0
            else f"with its aliases written out it has more than {LARGEST:,} characters and values"
        )
        raise TooMuch(problem, node.start_mark)
    return known


def _plain(node: yaml.Node) -> object:
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, object] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key that is no text", problem_mark=key.start_mark)
            if key.value in mapping:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value} is there twice", problem_mark=key.start_mark
                )
            mapping[key.value] = _plain(value)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_plain(part) for part in node.value]
    return node.value
