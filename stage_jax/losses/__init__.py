"""Losses as pure functions; each returns one value per example."""
