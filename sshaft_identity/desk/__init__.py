"""Serves the help desk (`/desk`): members of a role find people, see why their logins fail, and help them."""
