"""A config of ours as a run of verl 0.9: its command, its problems and rewards, its results in our run folder.

installed, checks   errors before the start: a missing package, a setting that verl does not support
overrides, networks the config as verl's command
files               where a run keeps what is verl's; the problems in verl's schema
reward, sampler     what runs inside verl: our grader, and the groups of a step
run                 starts the command and ends it
phases, quiet       what is shown while it runs; warnings once per process
cpu                 a verl without a GPU, for tests and for trying a config out
"""
