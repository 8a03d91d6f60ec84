"""Tests that templates lose blanks and comments, and nothing that a person sees."""

from pathlib import Path

from jinja2 import Environment

from sshaft_identity.web.html import Lean

STYLE = """\
dt::after {
    content: ": ";
    font: 1em a , b;
}
a :hover, b { color: red }
"""
SCRIPT = """\
// for the author
const text = "a { b; } // c";
"""


def test_style_sheet_loses_blanks_outside_of_texts(tmp_path: Path) -> None:
    (tmp_path / "page.css").write_text(STYLE)
    lean = Environment(autoescape=True, loader=Lean(tmp_path)).get_template("page.css").render()
    assert lean == 'dt::after{content:": ";font:1em a,b}a :hover,b{color:red}'


def test_script_loses_lines_of_comment_alone(tmp_path: Path) -> None:
    (tmp_path / "page.js").write_text(SCRIPT)
    lean = Environment(autoescape=True, loader=Lean(tmp_path)).get_template("page.js").render()
    assert lean.strip() == 'const text = "a { b; } // c";'
