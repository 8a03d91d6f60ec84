"""Code that several faces use: the browser part of a login, typed codes, ID tokens, notifications, stored requests."""
