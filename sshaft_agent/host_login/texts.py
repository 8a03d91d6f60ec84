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

_ENTER = "\nPress Enter to go on."
_END = "\nReference: {reference}" + _ENTER
REFUSED = (
    "\nThis login was not accepted. If you think it should be, give your\nadministrator the reference of this login."
    + _END
)
DENIED = "\nThe login was denied in the browser." + _END
EXPIRED = "\nNobody approved this login in time. Run ssh again for a new code." + _END
TOO_MANY = "\nLogins wait already from your address. Approve or end them,\nthen run ssh again." + _END
TOO_OFTEN = "\nToo many logins have begun at your address. Wait a minute,\nthen run ssh again." + _END
UNAVAILABLE = "\nThe sign-in of your organisation cannot be used now. Try again in a minute." + _END
NOT_MADE = (
    "\nYou are approved, but your account could not be made on this host.\nTry again in a minute. "
    "If it fails again, tell your administrator." + _END
)
READY = "\nYour account on this host is ready. Log in again: run ssh once more." + _END
AGAIN = "\nYour account was made while you logged in. Run ssh again in some\nminutes." + _END
WAITS = (
    "\nAn administrator must approve your account on this host first. Your request\nis recorded. "
    "Run ssh again after the approval. If you hear nothing, give your\nadministrator the reference." + _END
)
NOT_GIVEN = "\nAn administrator has denied your request for an account on this host." + _END
NO_ROOM = (
    "\nAn administrator must approve your account on this host first, but too many\nrequests wait. "
    "Give your administrator the reference." + _END
)
CLOSED = "\nYour account on this host is closed now. Your administrator can open it again." + _END
NO_TRIES = "\nThe digits were wrong too often. Run ssh again for a new page." + _END
ENDED = "\nThe approval of this login has ended. Run ssh again for a new page." + _END
OF_STATE = {"denied": DENIED, "reported": DENIED, "expired": EXPIRED}
"""By the state of an approval that is over. Any other state has `ENDED`."""
TOKEN_REFUSED = (
    "\nThis access token was not accepted. If you think it should be, give your\nadministrator the reference of this "
    "login." + _END
)
TOKEN_EXPIRED = "\nThis access token has expired. Get a new one, and run ssh again." + _END
TOKEN_TOO_LONG = (
    "\nYour access token is too long for ssh, which sends 1,023 characters of an answer.\n"
    "Use a program that knows this: sshaft ssh, or mccli." + _END
)
RIGHTS = (
    "\nYour rights on this host have changed, and the change failed.\nTry again in a minute. "
    "If it fails again, tell your administrator." + _END
)
RESTARTS = "\nThe login service of this host restarts. Run ssh again.\n"
NOT_APPROVED = (
    "\nNobody has been approved for this account yet. Log in once without a key:\nssh -o PubkeyAuthentication=no ...\n"
    "Reference: {reference}\n"
)
NOT_OPEN = "\nThis account is closed now. Your administrator can open it again.\nReference: {reference}\n"
NOT_CHECKED = (
    "\nYour organisation has not confirmed this account for too long. Log in once\nwithout a key:\n"
    "ssh -o PubkeyAuthentication=no ...\nReference: {reference}\n"
)
"""sshd shows these three after a key or a certificate."""
OF_ERROR = {"access_denied": DENIED, "expired_token": EXPIRED}
"""By the error code of the provider (RFC 8628 §3.5)."""
OF_TOKEN = {"expired": TOKEN_EXPIRED, "cut": TOKEN_TOO_LONG}
"""By the fault of an access token."""
_BORDER = 2
_MAX_COLUMNS = 100
"""A wider drawing breaks at the edge of many terminals. Much wider ones fit in no message to the module."""
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

    prompt_first: _Text = "Press Enter to log in with your browser: "
    """The prompt of `ask_first`."""
    prompt_complete: _Text = "Scan the QR code below, or open this page:"
    """Before an address that has the code in it, with a QR code."""
    prompt_no_qr_complete: _Text = "Open this page:"
    """The same without a QR code."""
    prompt_incomplete: _Text = "Scan the QR code below, or open this page:"
    """Before an address without the code, with a QR code."""
    prompt_no_qr_incomplete: _Text = "Open this page:"
    """The same without a QR code."""
    prompt_check: _Text = "and check that it shows this code:"
    """Before the code that people compare."""
    prompt_code: _Text = "and enter this code:"
    """Before the code that people type."""
    prompt_enter: _Text = "Press Enter when you have approved the login: "
    """The end of the prompt."""

    def page(self, *, has_qr: bool, is_complete: bool) -> str:
        """Returns the sentence before the address."""
        if is_complete:
            return self.prompt_complete if has_qr else self.prompt_no_qr_complete
        return self.prompt_incomplete if has_qr else self.prompt_no_qr_incomplete


def without_enter(text: str) -> str:
    """Returns a text that somebody reads who is not asked for Enter."""
    return text.removesuffix(_ENTER) + "\n"


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
_DIGITS = "Type the six digits that the page shows: "


def page_with_digits(address: str, who: str, qr: str) -> str:
    """Returns the prompt for the digits of an approval. `who` is the line of `login_line`."""
    return f"""
{who}
{"Scan the QR code below, or open this page:" if qr else "Open this page:"}

    {address}

{qr}{CLOSE}{_DIGITS}"""


def page_again(address: str) -> str:
    """Returns the prompt after an answer that came before the approval, or is not six digits."""
    return f"\nApprove the login on this page. It then shows six digits:\n\n    {address}\n\n{_DIGITS}"


def wrong_digits(tries_left: int) -> str:
    tries = "One try is left." if tries_left == 1 else f"{tries_left} tries are left."
    return f"\nThese are not the digits of the page. {tries}\n{_DIGITS}"


def not_approved_yet(code: DeviceCode, messages: Messages) -> str:
    """Returns the prompt after an Enter that came too early."""
    return f"""
The login is not approved yet. This is the page, and the code:

    {address_of(code)}

    {code.user_code}

{messages.prompt_enter}"""


def address_of(code: DeviceCode) -> str:
    """Returns the address that a person opens, with the code in it if the provider offers that."""
    return code.verification_uri_complete or code.verification_uri


def qr_code(address: str, drawing: Drawing, error_correction: ErrorCorrection) -> str:
    """Returns the lines of a QR code, light on dark, without colours: terminals would show their codes.

    The text is empty if the address is too long for a drawing.
    """
    if drawing == "off":
        return ""
    # Any mask is readable. The comparison of all eight, which segno makes without `mask`, would take 4 ms.
    try:
        code = segno.make(address, error=error_correction, micro=False, boost_error=False, mask=0)
    except segno.DataOverflowError:
        return ""
    if code.symbol_size(border=_BORDER)[0] * (1 if drawing == "utf8" else 2) > _MAX_COLUMNS:
        return ""
    side, empty = bytes(_BORDER), [bytes(len(code.matrix) + 2 * _BORDER)] * _BORDER
    rows = [*empty, *(side + row + side for row in code.matrix), *empty]
    lines = (
        _half_blocks(rows) if drawing == "utf8" else ("".join("  " if dark else "##" for dark in row) for row in rows)
    )
    return "\n".join(lines) + "\n"


def _half_blocks(rows: list[bytes]) -> Iterable[str]:
    """Yields a line for each two rows. A block is light, because most terminals are dark."""
    blocks = {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}
    for upper, lower in zip_longest(rows[::2], rows[1::2], fillvalue=b"\1" * len(rows[0])):
        yield "".join(blocks[pair] for pair in zip(upper, lower, strict=True))
