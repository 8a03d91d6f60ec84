"""Writes what a person reads in ssh. Addresses and codes stand in lines of their own, in ASCII.

A prompt begins with a line end, because ssh writes "(user@host) " before it. The QR code comes after the address and
the code: a client may cut or garble it.
"""

from collections.abc import Iterable
from itertools import zip_longest
from typing import Annotated, Literal

import segno
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sshaft.text import printable
from sshaft_oidc.device_grant import DeviceCode

_END = "\nPress Enter to end this login."
REFUSED = (
    "\nThis login was not accepted. If you think it should be, give your administrator\nthis reference: {reference}"
    + _END
)
DENIED = "\nThe login was denied in the browser." + _END
EXPIRED = "\nNobody approved this login in time. Run ssh again for a new code." + _END
TOO_MANY = "\nLogins wait already from your address. Approve or end them, then run ssh again." + _END
UNAVAILABLE = (
    "\nThe sign-in of your organisation cannot be used now. Try again in a minute.\nReference: {reference}" + _END
)
OF_ERROR = {"access_denied": DENIED, "expired_token": EXPIRED}
"""By the error code of the provider (RFC 8628 §3.5)."""
_BORDER = 2
Drawing = Literal["utf8", "ascii", "off"]
ErrorCorrection = Literal["L", "M", "Q", "H"]


def _lines(value: str) -> str:
    if not all(line.isprintable() for line in value.split("\n")):
        raise ValueError("must not hold control characters other than line ends")
    return value


_Text = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_lines)]


class Messages(BaseModel):
    """The sentences that an operator may replace. `complete`: the address contains the code already."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    prompt_complete: _Text = "Scan the QR code below, or open this page:"
    prompt_no_qr_complete: _Text = "Open this page:"
    prompt_incomplete: _Text = "Scan the QR code below, or open this page:"
    prompt_no_qr_incomplete: _Text = "Open this page:"
    prompt_check: _Text = "and check that it shows this code:"
    prompt_code: _Text = "and enter this code:"
    prompt_enter: _Text = "Press Enter when you have approved the login: "

    def page(self, *, has_qr: bool, is_complete: bool) -> str:
        """Returns the sentence before the address."""
        if is_complete:
            return self.prompt_complete if has_qr else self.prompt_no_qr_complete
        return self.prompt_incomplete if has_qr else self.prompt_no_qr_incomplete


def page_and_code(code: DeviceCode, who: str, messages: Messages, *, has_qr: bool) -> str:
    """Returns what asks for the approval in a browser. `who` is the line of `login_line`."""
    is_complete = code.verification_uri_complete is not None
    return f"""
{who}
{messages.page(has_qr=has_qr, is_complete=is_complete)}

    {address_of(code)}

{messages.prompt_check if is_complete else messages.prompt_code}

    {code.user_code}

"""


def login_line(host: str, user: str, client_ip: str) -> str:
    """Returns whose login to which host it is, and from where: the person must be able to see a foreign one."""
    return f"This is a login to {printable(host)} as {printable(user)} from {printable(client_ip) or 'this host'}."


CLOSE = "If you did not start this ssh, close that page.\n"


def not_approved_yet(code: DeviceCode, messages: Messages) -> str:
    """Returns the prompt after an Enter that came too early."""
    return f"""
The login is not approved yet. The page is {address_of(code)}
and the code is {code.user_code}
{messages.prompt_enter}"""


def address_of(code: DeviceCode) -> str:
    """Returns the address that a person opens, with the code in it if the provider offers that."""
    return code.verification_uri_complete or code.verification_uri


def qr_code(address: str, drawing: Drawing, error_correction: ErrorCorrection) -> str:
    """Returns the lines of a QR code, light on dark, without colours: terminals would show their codes."""
    if drawing == "off":
        return ""
    code = segno.make(address, error=error_correction, micro=False, boost_error=False)
    rows = [list(row) for row in code.matrix_iter(border=_BORDER)]
    lines = (
        _half_blocks(rows) if drawing == "utf8" else ("".join("  " if dark else "##" for dark in row) for row in rows)
    )
    return "\n".join(lines) + "\n"


def _half_blocks(rows: list[list[int]]) -> Iterable[str]:
    """Yields a line for each two rows. A block is light, because most terminals are dark."""
    blocks = {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}
    for upper, lower in zip_longest(rows[::2], rows[1::2], fillvalue=[1] * len(rows[0])):
        yield "".join(blocks[bool(above), bool(below)] for above, below in zip(upper, lower, strict=True))
