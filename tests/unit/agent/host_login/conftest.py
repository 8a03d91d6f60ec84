"""Shares the provider and the host of first logins with all tests of this folder."""

from unit.agent.host_login.test_first_login import host
from unit.agent.host_login.test_host_login import provider

__all__ = ["host", "provider"]
