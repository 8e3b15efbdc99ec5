"""Engines: the same config trained by the trainer of others, on a cluster. Nothing of theirs is imported here."""
