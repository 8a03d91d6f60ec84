"""Tests that a logo only draws: of a file of the operator, nothing reaches the pages that could run, load or grow."""

import os
import struct
import zlib
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshaft.errors import ConfigurationError
from sshaft_identity.web.logo import MAX_FILE, MAX_USES, LogoError, clean, read_logo

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"


def svg(inside: str, attributes: str = "") -> bytes:
    return f'<svg xmlns="{SVG}" xmlns:xlink="{XLINK}" viewBox="0 0 9 9" {attributes}>{inside}</svg>'.encode()


def cleaned(inside: str, attributes: str = "") -> str:
    kind, image = clean(svg(inside, attributes))
    assert kind == "image/svg+xml"
    return image.decode()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int = 1, height: int = 1, more: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + more + chunk(b"IDAT", zlib.compress(b"\0abc")) + chunk(b"IEND", b"")


# --- SVG


def test_drawing_stays_as_it_is() -> None:
    inside = (
        '<defs><linearGradient id="a"><stop offset="0" stop-color="#fff"/></linearGradient></defs>'
        "<style>.b{fill:url(#a);stroke:rgb(1,2,3)}</style>"
        '<g class="b" transform="translate(1 2) rotate(3)"><path d="M0 0h9" style="fill:url(&quot;#a&quot;)"/></g>'
        '<use xlink:href="#a"/><text x="1">A &amp; B &lt;</text>'
    )
    image = cleaned(inside)
    for part in ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">', '<stop offset="0" stop-color="#fff">',
                 ".b{fill:url(#a);stroke:rgb(1,2,3)}", 'transform="translate(1 2) rotate(3)"', '<use href="#a">',
                 "A &amp; B &lt;</text>"):  # fmt: skip
        assert part in image
    assert clean(image.encode())[1].decode() == image


def test_reference_is_written_once() -> None:
    assert cleaned('<use href="#a" xlink:href="#b"/>').count("href") == 1


def test_data_of_a_drawing_program_is_left_out() -> None:
    image = cleaned(
        '<title>secret name</title><metadata><r:RDF xmlns:r="urn:r"><r:li onload="x()">me</r:li></r:RDF></metadata>'
        '<i:view xmlns:i="urn:i"><i:script>alert(1)</i:script></i:view><!-- comment --><?php x ?><path d="M0 0"/>',
        'xmlns:i="urn:i" i:version="1" xml:base="https://evil.example"',
    )
    assert image == f'<svg xmlns="{SVG}" viewBox="0 0 9 9"><path d="M0 0"></path></svg>'


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        '<script href="https://evil.example/x.js"/>',
        '<foreignObject><p xmlns="http://www.w3.org/1999/xhtml">x</p></foreignObject>',
        '<a href="javascript:alert(1)"><path/></a>',
        '<image href="https://evil.example/x.png"/>',
        '<image href="data:image/svg+xml,x"/>',
        '<animate attributeName="href" values="javascript:alert(1)"/>',
        '<set attributeName="onload" to="alert(1)"/>',
        '<filter id="a"><feImage href="https://evil.example"/></filter>',
        '<path onload="alert(1)"/>',
        '<path ONCLICK="alert(1)"/>',
        '<use href="https://evil.example/x.svg#a"/>',
        '<use xlink:href="x.svg#a"/>',
        '<use xlink:href="javascript:alert(1)"/>',
        '<path fill="url(https://evil.example/x)"/>',
        '<path fill="URL ( https://evil.example/x)"/>',
        '<path style="background:url(&apos;//evil.example&apos;)"/>',
        '<path style="fill:u\\72l(//evil.example)"/>',
        "<style>@import 'https://evil.example/x.css';</style>",
        "<style>path{fill:url(https://evil.example/x)}</style>",
        "<style>path{fill:url(<![CDATA[https]]>://evil.example/x)}</style>",
        "<style>path{background:image-set('https://evil.example/x' 1x)}</style>",
        "<style>path{width:expression(alert(1))}</style>",
        "<style><path onload='x'/></style>",
        "<style><g/>@import 'https://evil.example/x.css';</style>",
        "<style>path{fill:u<title/>rl(https://evil.example/x)}</style>",
        "<style><x xmlns='urn:x'/>@import 'https://evil.example/x.css';</style>",
        '<use href="#a"/>' * (MAX_USES + 1),
    ],
)
def test_svg_that_could_run_or_load_anything_is_refused(inside: str) -> None:
    with pytest.raises(LogoError):
        clean(svg(inside))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<svg>",
        b"<svg/>",
        b"<html xmlns='http://www.w3.org/2000/svg'/>",
        b"<svg xmlns='http://www.w3.org/1999/xhtml'><script/></svg>",
        b"GIF89a",
        b"\xff\xd8\xff",
        b"\x00" * 10,
        svg("") + b"<svg/>",
        b'<!DOCTYPE svg [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>' + svg("<text>&b;</text>"),
        b'<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + svg("<text>&a;</text>"),
        svg("&undeclared;"),
        b'<!DOCTYPE svg [<!ATTLIST path onload CDATA "alert(1)">]>' + svg("<path/>"),
        svg("<path d='" + "a" * MAX_FILE + "'/>"),
    ],
)
def test_file_that_is_no_whole_svg_is_refused(content: bytes) -> None:
    with pytest.raises(LogoError):
        clean(content)


def test_svg_in_utf_16_is_written_as_utf_8() -> None:
    assert "é" in clean(svg("<text>é</text>").decode().encode("utf-16"))[1].decode()


def test_document_type_of_another_place_is_not_fetched() -> None:
    doctype = b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "file:///etc/passwd">'
    assert clean(doctype + svg("<path/>"))[1].decode() == cleaned("<path/>")


TEXTS = ["url(", "#a)", "//evil)", "u", "rl(", "@", "&lt;", "<![CDATA[u]]>", "<!-- x -->", "red"]
TAGS = ["g", "style", "style", "style", "title", "x:y", "use", "script"]
ATTRIBUTES = ["", "", "", " style='fill:url(#a)'", " href='#a'", " href='//evil'", " onload='x'", " fill='url(//evil)'"]


def element(tag: str, attributes: str, inside: list[str]) -> str:
    return f"<{tag} xmlns:x='urn:x'{attributes}>{''.join(inside)}</{tag}>"


TREES = st.recursive(
    st.sampled_from(TEXTS),
    lambda inner: st.builds(
        element, st.sampled_from(TAGS), st.sampled_from(ATTRIBUTES), st.lists(inner, min_size=1, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=1000)
@given(TREES)
def test_whatever_is_taken_only_draws(inside: str) -> None:
    try:
        image = cleaned(inside)
    except LogoError:
        return
    for each in ET.fromstring(image).iter():
        assert each.tag.removeprefix(f"{{{SVG}}}") in ("svg", "g", "style", "text", "path", "use")
        assert all(not name.startswith("on") for name in each.attrib)
        assert each.get("href", "#").startswith("#")
        styles = ["".join(each.itertext()) if each.tag.endswith("style") else "", *each.attrib.values()]
        assert all("@" not in style and "url(" not in style.replace("url(#a)", "") for style in styles)


# --- PNG


def test_png_keeps_what_draws_and_loses_its_texts() -> None:
    texts = chunk(b"tEXt", b"Author\0<script>alert(1)</script>") + chunk(b"eXIf", b"where it was taken")
    assert clean(png(more=texts) + b"<script>") == ("image/png", png())


@pytest.mark.parametrize(
    "content",
    [
        png()[:-5],
        png()[:20],
        b"\x89PNG\r\n\x1a\n" + chunk(b"IEND", b""),
        png(more=chunk(b"IHDR", b"")),
        png().replace(b"\0\0\0\x01", b"\0\0\0\x02", 1),
        png(width=30_000),
        png(height=30_000),
        png(more=struct.pack(">I", 2**32 - 1) + b"tEXt"),
    ],
)
def test_png_that_is_not_whole_or_huge_is_refused(content: bytes) -> None:
    with pytest.raises(LogoError):
        clean(content)


# --- the file


def test_logo_becomes_an_address_with_its_data(tmp_path: Path) -> None:
    (tmp_path / "logo").write_bytes(png())
    assert read_logo(tmp_path / "logo").startswith("data:image/png;base64,iVBORw0KGgo")
    (tmp_path / "logo").write_bytes(svg("<path/>"))
    assert read_logo(tmp_path / "logo").startswith("data:image/svg+xml;base64,")


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "huge", "endless", "script"])
def test_file_that_cannot_be_the_logo_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "logo.svg"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "huge":
            path.write_bytes(b" " * (MAX_FILE + 1))
        case "endless":
            path.symlink_to("/dev/zero")
        case "script":
            path.write_bytes(svg("<script/>"))
    with pytest.raises(ConfigurationError, match=f"^appearance: {path}"):
        read_logo(path)
