"""Gets access tokens as a client (RFC 6749, `client_credentials`), and sends requests with them."""
