"""Reads the parameters of a request: plugins send two kinds of forms, or a JSON object.

RADIUS clients send the first password in the encoding of their host. Bytes that are not UTF-8 become U+FFFD here: no
user name, code, transaction or secret contains this character.
"""

import re
from collections.abc import Mapping
from io import BytesIO
from urllib.parse import unquote

from python_multipart import parse_form
from python_multipart.exceptions import FormParserError

from sshaft_identity.common import addresses
from sshaft_identity.common.fields import USER_PATTERN
from sshaft_identity.faces.privacyidea.answers import invalid_parameter
from sshaft_identity.web.call import Call, json_object
from sshaft_identity.web.oauth import FORM, MAX_FIELDS, OAuthError, fields_of

_MULTIPART = "multipart/form-data"
Parameters = Mapping[str, str]


def parameters_of(call: Call) -> Parameters:
    """Returns the parameters by name. Raises `ApiError`."""
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == _MULTIPART:
        return _multipart(call)
    if kind == FORM:
        try:
            return fields_of(call.body, errors="replace")
        except OAuthError as error:
            raise invalid_parameter(error.description) from None
    body = json_object(call.body.decode(errors="replace"))
    if body is None:
        raise invalid_parameter("the body must be a form or a JSON object")
    return {name: value for name, value in body.items() if isinstance(value, str)}


def _multipart(call: Call) -> Parameters:
    """Returns the fields of a form of PHP's curl (RFC 7578)."""
    found: list[tuple[bytes | None, bytes | None]] = []
    headers = {"Content-Type": call.request.headers["content-type"].encode()}
    try:
        parse_form(headers, BytesIO(call.body), lambda part: found.append((part.field_name, part.value)), None)
        fields = {(name or b"").decode(): (value or b"").decode(errors="replace") for name, value in found}
    except (FormParserError, ValueError):
        fields = {}
    if not fields or len(fields) != len(found) or len(found) > MAX_FIELDS:
        raise invalid_parameter("the body is not a valid form")
    return fields


def user_of(call: Call, parameters: Parameters) -> str:
    """Returns the user name. Some plugins encode it twice, and no user name has a percent sign. Raises `ApiError`.

    The form of privacyIDEA wants a serial for each remote token. With a serial privacyIDEA sends no user, so the serial
    is the user name.
    """
    user = unquote(parameters.get("user") or parameters.get("serial", ""))
    if not user:
        raise invalid_parameter("user is missing")
    if not re.fullmatch(USER_PATTERN, user):
        call.state.unknown_users.note(user, call.caller, call.state.clock())
        raise invalid_parameter("user is not a user name of this service: send the name without domain and blanks")
    return user


def address_of(parameters: Parameters) -> str | None:
    """Returns the address of the person. Returns None for other values, such as RADIUS has there."""
    return addresses.read(unquote(parameters.get("client") or parameters.get("clientip", "")))
