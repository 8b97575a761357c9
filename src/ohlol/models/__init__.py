"""Sequence models: encoder, recurrent layers and head."""
