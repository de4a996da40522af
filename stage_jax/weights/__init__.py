"""Weights in and out: tables between torch names and our paths, read in both directions."""
