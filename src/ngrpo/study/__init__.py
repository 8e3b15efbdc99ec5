"""Studies: methods x seeds x settings from one config, run in parallel, summarised with paired seeds.

study_config    the [study] table and the cells of its grid
study_runner    cells as `ngrpo train` processes, resumed where they were killed
cell_summary    what is kept of a finished cell: counts per problem and means of metrics
study_results   tables and JSON from the summaries alone
"""
