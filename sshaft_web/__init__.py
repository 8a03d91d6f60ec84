"""SSH in the browser: a person signs in at an OpenID Provider, and gets terminals on the hosts of web.json.

It is an ssh client for people who cannot install one. The access token stays here: the browser has a session cookie.
"""
