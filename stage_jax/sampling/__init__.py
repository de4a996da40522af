"""Schedules, solvers and guidance: pure functions around a velocity model."""
