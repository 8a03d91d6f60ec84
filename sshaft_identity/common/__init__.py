"""Values that every part of the identity service uses: times, addresses, field types, digests and errors."""
