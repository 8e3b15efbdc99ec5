"""A run folder, who follows a run, and what is announced before its first step."""
