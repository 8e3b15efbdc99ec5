"""What graded samples say about a model: counts, Pass@k and its area, without torch."""
