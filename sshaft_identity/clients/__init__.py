"""Programs that may ask the service, their secrets and access tokens, and what they may return to."""
