"""The OpenID Provider: a login by SSH for every relying party (OpenID Connect Core 1.0 §3.1, the code flow)."""
