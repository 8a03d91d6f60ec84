"""Logs people in to this host with the organisation's identity, through PAM."""

import re

USER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}")
"""The names of accounts for which host login may be asked."""
