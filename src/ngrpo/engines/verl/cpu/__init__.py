"""A verl 0.9 without a GPU, for tests and for trying a config out: a platform, and a sampler in place of vLLM.

`platform` is named by VERL_USE_EXTERNAL_MODULES, `rollout` by model.external_lib; both need verl, which imports them.
"""
