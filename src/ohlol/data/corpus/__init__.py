"""Encoded corpora on disk."""
