"""The config of a run: TOML (or a run's own config.json) in, one frozen `Config` out, everything checked beforehand.

    [model]       what is trained            [optimizer]   how the updates are taken
    [task]        problems and grader        [evaluation]  what is measured, and how often
    [method]      the estimator and its loss [run]         name, length, seed, checkpoints, trackers
    [sampling]    how groups are sampled     [vllm], [endpoint], [cluster]   samplers and engines that need settings

Defaults are the published setting of NGRPO (see `ngrpo.methods` for the method's own). Importing this package loads no
torch, so a wrong config is reported in a fraction of a second.
"""

from ngrpo.config.cluster_settings import ClusterSettings
from ngrpo.config.endpoint_settings import EndpointSettings
from ngrpo.config.loading import apply_overrides, config_of, load_config
from ngrpo.config.optimizer_settings import OptimizerSettings
from ngrpo.config.run_settings import RunSettings
from ngrpo.config.tables import (
    Config,
    EvaluationSettings,
    LoraSettings,
    ModelSettings,
    SamplingSettings,
)
from ngrpo.config.vllm_settings import VLLMSettings

__all__ = [
    "ClusterSettings",
    "Config",
    "EndpointSettings",
    "EvaluationSettings",
    "LoraSettings",
    "ModelSettings",
    "OptimizerSettings",
    "RunSettings",
    "SamplingSettings",
    "VLLMSettings",
    "apply_overrides",
    "config_of",
    "load_config",
]
