"""Reads the texts below assignments: `name: type = value`, and then a string that describes the name."""

import ast
import inspect
import itertools
import textwrap
from types import ModuleType


def texts_below(owner: type | ModuleType) -> dict[str, str]:
    """Returns the text of each name that has one. A class has those of its base classes, too."""
    owners = [each for each in reversed(owner.__mro__) if each is not object] if isinstance(owner, type) else [owner]
    texts: dict[str, str] = {}
    for each in owners:
        texts |= _texts(each)
    return texts


def _texts(owner: type | ModuleType) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
    except (OSError, TypeError):  # a class of C, or made at run time
        return {}
    body = tree.body[0].body if isinstance(owner, type) and isinstance(tree.body[0], ast.ClassDef) else tree.body
    return {
        name: inspect.cleandoc(below.value.value)
        for assignment, below in itertools.pairwise(body)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
        for name in _names(assignment)
    }


def _names(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]
