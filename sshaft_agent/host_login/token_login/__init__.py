"""Logs people in with an access token that their own program has."""
