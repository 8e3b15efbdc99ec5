"""A verl 0.9 without a GPU, for tests and for trying a config out.

settings            what the command sets for it; the only module that does not need verl
platform            what verl asks of a device, answered for a CPU; named by VERL_USE_EXTERNAL_MODULES
models              what verl does to models and only an accelerator can
rollout             a sampler of transformers, named by model.external_lib
vllm_name, _worker  what verl's own vLLM server needs, where `[sampling] sampler` asks for it
"""
