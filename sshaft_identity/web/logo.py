"""Reads the logo of the pages. Of a PNG or an SVG, only the parts are kept that this module knows and that only draw.

The pages show it by `img` and a `data:` URL, where browsers run no script and load nothing. This module does not rely
on that: somebody may open the image in a window of its own.
"""

import re
import struct
import zlib
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from sshaft.errors import ConfigurationError
from sshaft.text import printable

MAX_FILE = 32 * 1024
"""Each page carries the logo, so it must be small."""
MAX_PIXELS = 2000
"""The width and the height of a PNG, at most: a small file can hold a huge image."""
MAX_USES = 20
"""Elements `use`, at most. Such elements that show one another multiply what a browser draws."""
_PNG = b"\x89PNG\r\n\x1a\n"
_DRAWING_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"IDAT", b"IEND")
_SVG = "http://www.w3.org/2000/svg"
_XLINK_HREF = "http://www.w3.org/1999/xlink href"
_DRAWING_ELEMENTS = frozenset(
    ("svg", "g", "defs", "symbol", "use", "style", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon",
     "text", "tspan", "linearGradient", "radialGradient", "stop", "clipPath", "mask", "pattern")
)  # fmt: skip
_DROPPED_ELEMENTS = frozenset(("title", "desc", "metadata"))
_FUNCTIONS = frozenset(
    ("matrix", "translate", "translatex", "translatey", "scale", "scalex", "scaley", "rotate", "skewx", "skewy",
     "rgb", "rgba", "hsl", "hsla", "polygon", "circle", "ellipse", "inset", "calc")
)  # fmt: skip


class LogoError(ValueError):
    """The file cannot be the logo. The text says why, and what to do."""


def read_logo(path: Path) -> str:
    """Returns the logo as a `data:` URL. Raises `ConfigurationError` if the file cannot be read or used."""
    try:
        kind, image = clean(_read(path))
    except OSError as error:
        raise ConfigurationError(f"appearance: {path} cannot be read: {error.strerror}") from error
    except LogoError as error:
        raise ConfigurationError(f"appearance: {path}: {error}") from error
    return f"data:{kind};base64,{b64encode(image).decode()}"


def _read(path: Path) -> bytes:
    if path.exists() and not path.is_file():  # a pipe would wait for ever
        raise LogoError("this is no file")
    with path.open("rb") as file:
        return file.read(MAX_FILE + 1)


def clean(content: bytes) -> tuple[str, bytes]:
    """Returns the media type of the image, and the image with its drawing parts only. Raises `LogoError`."""
    if len(content) > MAX_FILE:
        raise LogoError(f"the logo is larger than {MAX_FILE // 1024} KiB: make it smaller, as every page carries it")
    if content.startswith(_PNG):
        return "image/png", _PNG + b"".join(_png_chunks(content))
    return "image/svg+xml", _SvgWriter().written(content)


def _png_chunks(content: bytes) -> Iterator[bytes]:
    """Yields the chunks that draw (PNG specification, §5.3). Texts and foreign data are left out."""
    place, kind = len(_PNG), b""
    while kind != b"IEND":
        head = content[place : place + 8]
        if len(head) < 8:
            raise LogoError("the PNG is not whole")
        length, kind = struct.unpack(">I4s", head)
        if (place == len(_PNG)) != (kind == b"IHDR"):
            raise LogoError("the PNG does not begin with its size")
        chunk = content[place : place + 12 + length]
        if len(chunk) < 12 + length or zlib.crc32(chunk[4:-4]) != struct.unpack(">I", chunk[-4:])[0]:
            raise LogoError("the PNG is not whole")
        if kind == b"IHDR" and max(struct.unpack(">II", chunk[8:16])) > MAX_PIXELS:
            raise LogoError(f"the PNG is wider or higher than {MAX_PIXELS} pixels")
        if kind in _DRAWING_CHUNKS:
            yield chunk
        place += len(chunk)


class _SvgWriter:
    """Writes an SVG anew while it is read, from lists of what may be in it. What only describes it is left out."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._style: list[str] | None = None
        self._dropped = 0
        self._uses = 0
        self._is_begun = False

    def written(self, content: bytes) -> bytes:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.EntityDeclHandler = _refuse_entity
        try:
            parser.Parse(content, True)
        except (expat.ExpatError, ValueError) as error:
            if isinstance(error, LogoError):
                raise
            raise LogoError("this is neither a PNG nor a whole SVG") from None
        return "".join(self._parts).encode()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, element = name.rpartition(" ")
        if not self._is_begun and (namespace, element) != (_SVG, "svg"):
            raise LogoError("this is neither a PNG nor an SVG: its root must be svg, in the namespace of SVG")
        if self._style is not None:  # the text behind it would be no longer known as that of a style
            raise LogoError("a style in the SVG holds another element; save it as PNG")
        if self._dropped or namespace != _SVG or element in _DROPPED_ELEMENTS:
            self._dropped += 1
            return
        if element not in _DRAWING_ELEMENTS:
            raise LogoError(
                f"the SVG has the element {printable(element, 40)}, which is not taken here; save it as PNG"
            )
        self._uses += element == "use"
        if self._uses > MAX_USES:
            raise LogoError(f"the SVG has more than {MAX_USES} elements `use`; save it as PNG")
        given = "".join(f" {name}={quoteattr(value)}" for name, value in _attributes(attributes))
        own = "" if self._is_begun else f' xmlns="{_SVG}"'
        self._is_begun = True
        self._parts.append(f"<{element}{own}{given}>")
        if element == "style":
            self._style = []

    def _text(self, text: str) -> None:
        if self._style is not None:
            self._style.append(text)
        elif not self._dropped:
            self._parts.append(escape(text))

    def _end(self, name: str) -> None:
        if self._dropped:
            self._dropped -= 1
            return
        if self._style is not None:  # whole, as the parser hands a text over in pieces
            self._parts.append(escape(_only_draws("".join(self._style))))
            self._style = None
        self._parts.append(f"</{name.rpartition(' ')[2]}>")


def _attributes(given: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yields the attributes that may stay. Those of other namespaces, such as a drawing program's, are left out."""
    for full, value in given.items():
        name = "href" if full == _XLINK_HREF else full
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", name) or (name != full and name in given):
            continue
        if name.lower().startswith("on"):
            raise LogoError(f"the SVG has the attribute {name[:40]}, which runs a script")
        if name.lower() == "href" and not value.startswith("#"):
            raise LogoError("the SVG refers to something outside of itself (href); save it as PNG")
        yield name, _only_draws(value)


def _only_draws(text: str) -> str:
    """Returns the text of an attribute or a style. Raises `LogoError` if it could load anything or hide what it does.

    Style sheets load by `@import` and by functions. A backslash can write the name of a function in another way.
    """
    if "@" in text or "\\" in text:
        raise LogoError("a style in the SVG has @ or a backslash; save it as PNG")
    for function in re.finditer(r"([\w-]*)\s*\(\s*([\"']?#)?", text):
        name = function[1].lower()
        if name not in _FUNCTIONS and not (name == "url" and function[2]):
            raise LogoError(f"a style in the SVG uses {printable(name, 40)}(); save it as PNG")
    return text


def _refuse_entity(*_given: object) -> None:
    raise LogoError("the SVG declares entities, which can grow without end; save it as PNG")
