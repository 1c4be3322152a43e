"""Aids for tests, ours and those of users."""
