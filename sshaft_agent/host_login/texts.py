"""Holds what a person reads in ssh. Addresses and codes stand in lines of their own, in ASCII.

A prompt begins with a line end, because ssh writes "(user@host) " before it.
"""

from sshaft.text import printable
from sshaft_oidc.device_grant import DeviceCode

PRESS_ENTER = "Press Enter when you have approved the login: "
_END = "\nPress Enter to end this login."
REFUSED = (
    "\nThis login was not accepted. If you think it should be, give your administrator\nthis reference: {reference}"
    + _END
)
DENIED = "\nThe login was denied in the browser." + _END
EXPIRED = "\nNobody approved this login in time. Run ssh again for a new code." + _END
OF_ERROR = {"access_denied": DENIED, "expired_token": EXPIRED}
"""By the error code of the provider (RFC 8628 §3.5)."""
TOO_MANY = "\nLogins wait already from your address. Approve or end them, then run ssh again." + _END
UNAVAILABLE = (
    "\nThe sign-in of your organisation cannot be used now. Try again in a minute.\nReference: {reference}" + _END
)


def page_and_code(code: DeviceCode, host: str, user: str, client_ip: str) -> str:
    """Returns what asks for the approval in a browser. `PRESS_ENTER` makes it a prompt."""
    return f"""
To log in to {printable(host)} as {printable(user)} from {printable(client_ip) or "here"}, open this page:

    {code.verification_uri}

and enter this code:

    {code.user_code}

If you did not start this ssh, close that page.
"""


def not_approved_yet(code: DeviceCode) -> str:
    """Returns the prompt after an Enter that came too early."""
    return f"""
The login is not approved yet. The page is {code.verification_uri}
and the code is {code.user_code}
{PRESS_ENTER}"""
