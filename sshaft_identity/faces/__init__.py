"""One module or folder for each way in which identity providers ask for an SSH login.

A face is found by itself: every module here that defines `FACE` is one. Faces never import each other; what several of
them need stands in `face_support`.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a face loads the web stack, and most commands need no face
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
