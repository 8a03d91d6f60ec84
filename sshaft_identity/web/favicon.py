"""Draws the icon of a page's tab, which shows the state of a login or an invitation."""

from markupsafe import Markup

WAITS, PASSED, DENIED, OVER = (
    ("2c57b3", "M7 12h.01M12 12h.01M17 12h.01"),
    ("1a6b44", "m7 12.5 3.5 3.5 7-7.5"),
    ("a03a2d", "m8 8 8 8m0-8-8 8"),
    ("59606a", "M12 7v5l3 2"),
)
"""The colour and the sign of each icon."""
_NO_STATE = ("2c57b3", "m7 8 4 4-4 4m6 0h4")
_OF_STATE = {
    "pending": WAITS, "open": WAITS, "signature": WAITS, "presented": WAITS, "accepted": PASSED, "confirmed": PASSED,
    "rejected": DENIED, "tried_out": DENIED, "refused": DENIED, "expired": OVER, "cancelled": OVER, "unknown": OVER,
    "sign_in": WAITS, "sign_in_again": WAITS, "approved": WAITS, "verified": PASSED, "passed": PASSED,
    "denied": DENIED, "reported": DENIED, "other": DENIED, "ended": OVER,
}  # fmt: skip


def icon_of(state: str | None) -> tuple[str, str]:
    """Returns the colour and the sign for a state of a page; None: the page has no state."""
    return _NO_STATE if state is None else _OF_STATE[state]


def favicon(state: str | None, own_colour: str | None = None) -> Markup:
    """Returns the icon as a `data:` URL. `own_colour` (#rrggbb) is that of the pages, for icons without an outcome."""
    colour, sign = icon_of(state)
    if own_colour is not None and colour == _NO_STATE[0]:
        colour = own_colour.removeprefix("#")
    return Markup(  # noqa: S704 - all of it is ours, and the settings have checked the colour
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke='%23fff' "
        "stroke-width='3' stroke-linecap='round'%3E"
        f"%3Ccircle cx='12' cy='12' r='12' fill='%23{colour}' stroke='none'/%3E"
        f"%3Cpath d='{sign}'/%3E%3C/svg%3E"
    )
