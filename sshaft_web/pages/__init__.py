"""The pages that a person sees, and the scripts and styles that they load."""
