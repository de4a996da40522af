"""What a person writes (Story) and what becomes of it (Board): types and readers, without JAX."""
