"""Logs people in to this host with the organisation's identity, through PAM."""
