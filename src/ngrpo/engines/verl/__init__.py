"""A config of ours as a run of verl 0.9: its command, its problems and rewards, its results in our run folder.

checks, overrides   the config becomes verl's command, or an error that says what verl cannot do
files               where a run keeps what is verl's; the problems in verl's schema
reward, sampler     what runs inside verl: our grader, and the groups of a step
run                 starts the command and ends it
cpu                 a verl without a GPU, for tests and for trying a config out
"""
