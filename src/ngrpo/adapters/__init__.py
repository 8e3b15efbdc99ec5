"""Adapters: our methods inside the trainers of others. Each imports its framework, so nothing is imported here."""
