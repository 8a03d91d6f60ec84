"""How a key becomes a person's key by an invitation, and how the holder proves to have the key."""
