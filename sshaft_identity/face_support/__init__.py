"""What the faces share: the page of a login, typed codes, ID tokens, notifications and remembered requests."""
