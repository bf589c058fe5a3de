"""The cells of a chapter tagged `export`, as one importable module."""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from nbformat import NotebookNode

from .notebooks import headings
from .paths import CourseError, name_of

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_LINE_LENGTH = 120


@dataclass
class _Imports:
    """Import statements, each module and name once."""

    plain: set[tuple[str, str]] = field(default_factory=set)  # module, alias
    members: dict[str, set[tuple[str, str]]] = field(default_factory=dict)  # module to names and aliases

    def add(self, node: ast.Import | ast.ImportFrom) -> None:
        pairs = {(alias.name, alias.asname or "") for alias in node.names}
        if isinstance(node, ast.Import):
            self.plain |= pairs
        else:
            self.members.setdefault("." * node.level + (node.module or ""), set()).update(pairs)

    def block(self) -> str:
        """The statements in ruff's order: future, standard library, third party, this package."""
        sections: list[list[str]] = [[], [], [], []]
        for module, alias in sorted(self.plain, key=lambda pair: (pair[0].lower(), pair)):
            sections[_section(module)].append(f"import {module}" + (f" as {alias}" if alias else ""))
        for module, pairs in sorted(self.members.items(), key=lambda item: (item[0].lower(), item[0])):
            together = sorted((name for name, alias in pairs if not alias), key=_member_order)
            statements = [(together[0], _from(module, together))] if together else []
            statements += [(name, f"from {module} import {name} as {alias}") for name, alias in sorted(pairs) if alias]
            statements.sort(key=lambda pair: _member_order(pair[0]))
            sections[_section(module)] += [statement for _, statement in statements]
        return "\n\n".join("\n".join(section) for section in sections if section)


def chapter_module(path: Path, notebook: NotebookNode) -> str | None:
    """Put the exported cells of a chapter into the source of a module.

    Args:
        path: the chapter's percent source, named in errors and in the module's first line.
        notebook: the chapter.

    Returns:
        The module's source, or None if the chapter exports nothing.

    Raises:
        CourseError: if an exported cell holds more than imports, constants, functions and classes.
    """
    imports, bodies = _Imports(), []
    for cell in notebook.cells:
        if "export" in cell.metadata.get("tags", ()):
            if cell.cell_type != "code":
                raise CourseError(f"chapters/{path.name}, cell {cell.id}: only code can be exported: remove its tag")
            body = _take_apart(cell.source, imports, f"chapters/{path.name}, cell {cell.id}")
            if body:
                bodies.append(body)
    if not bodies:
        return None
    texts = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    title = re.sub(r"^\d+\W+", "", next(iter(headings(texts)), name_of(path.stem)))  # modules have no number
    title = re.sub(r'["\\]', "'", title)
    origin = f"# Generated from chapters/{path.name} by `bow2gpt build`: edit there."
    head = f'{origin}\n"""{title}: what the chapter builds."""\n\n{imports.block()}'.rstrip()
    starts_with_definition = isinstance(ast.parse(bodies[0]).body[0], _DEFINITIONS)
    gap = "\n\n\n" if starts_with_definition else "\n\n"  # as ruff wants it after imports
    return head + gap + "\n\n\n".join(bodies) + "\n"


def _take_apart(source: str, imports: _Imports, where: str) -> str:
    """Move a cell's imports to the module's; give back the rest as it stands."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise CourseError(f"{where}: not plain Python ({error.msg}, line {error.lineno}): export no magics") from None
    lines = source.splitlines()
    taken: set[int] = set()
    for node in tree.body:
        span = set(range(node.lineno - 1, node.end_lineno))
        if taken & span:
            raise CourseError(f"{where}: write one statement on a line where it imports (line {node.lineno})")
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports.add(node)
            taken |= span
        elif not isinstance(node, _DEFINITIONS) and not _is_constant(node):
            shown = lines[node.lineno - 1].strip()[:60]
            raise CourseError(
                f"{where}: an exported cell holds imports, constants, functions and classes only, not `{shown}`: "
                "move that to a cell without the tag"
            )
    return "\n".join(line for number, line in enumerate(lines) if number not in taken).strip("\n")


def _is_constant(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return bool(targets) and all(isinstance(target, ast.Name) for target in targets)


def _section(module: str) -> int:
    top = module.split(".")[0]
    if top == "__future__":
        return 0
    if top in sys.stdlib_module_names:
        return 1
    return 3 if top in ("bow2gpt", "") else 2


def _member_order(name: str) -> tuple:
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2
    return kind, name.lower(), name


def _from(module: str, names: list[str]) -> str:
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= _LINE_LENGTH:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")"
