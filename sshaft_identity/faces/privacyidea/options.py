"""Defines the options of a client that calls as a plugin of privacyIDEA."""

from typing import Literal

from sshaft_identity.face_support.options import AppOptions

NAME = "validate"


class PrivacyIdeaClient(AppOptions):
    """`mode`: with `poll`, people see the ssh command and wait; with `interactive`, they type the code of ssh."""

    mode: Literal["poll", "interactive"] = "poll"
