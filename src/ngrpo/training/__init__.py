"""Training: collect groups, pack them into batches, take updates, write checkpoints."""
