"""Statistics of graded completions without torch: Pass@k, its area, intervals, comparisons, majority votes."""
