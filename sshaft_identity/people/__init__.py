"""Users, their keys and sessions, and their accounts at the organisation's OpenID Provider."""
