"""What the tiny models can do, measured on held-out toy stories with known truth."""
