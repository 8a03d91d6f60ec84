"""Has one module or folder for each way in which identity providers ask for an SSH login: a face.

Every module here defines `FACE`, and `all_faces` finds it. Faces never import each other: the code that several faces
need is in `face_support`.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # faces import the web framework, and most commands need no face
    from sshaft_identity.face_support.face import Face
    from sshaft_identity.face_support.setup import Provider


@cache
def all_faces() -> "Mapping[str, Face]":
    """Returns every face by its name."""
    modules = [import_module(f"{__name__}.{each.name}") for each in iter_modules(__path__)]
    return {module.FACE.name: module.FACE for module in modules}


def all_providers() -> "dict[str, tuple[Face, Provider]]":
    """Returns the identity providers that `client add --for` knows, by name, each with its face."""
    return {name: (face, provider) for face in all_faces().values() for name, provider in face.providers.items()}
