"""How each system turns an example into a token sequence. Training and sampling call the same functions."""
