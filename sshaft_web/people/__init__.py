"""Who has signed in: at the provider, in a browser, with tokens that stay in memory."""
