"""`NGRPOConfig`: TRL's settings joined by a method, and the check of what TRL can express.

Import it from `ngrpo.adapters.trl`. TRL is optional: without it this module can be imported, but not used.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ngrpo.adapters.flat_batch import load_row_method
from ngrpo.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from ngrpo.methods import GroupMethod

_log = logging.getLogger(__name__)


class Missing:
    """Placeholder for TRL's classes where TRL is not installed."""

    _VALID_DICT_FIELDS: ClassVar[list[str]] = []

    def __new__(cls, *_args: object, **_kwargs: object) -> Any:
        """Raises a MissingDependencyError, before any argument is looked at."""
        raise MissingDependencyError("trl", "trl", "ngrpo.adapters.trl")


# Not by an import statement: its types would differ where TRL is installed and where not.
trl: Any = importlib.import_module("trl") if importlib.util.find_spec("trl") else None
GRPOConfig: Any = trl.GRPOConfig if trl else Missing

AGGREGATES = {"dapo": "token_mean", "bnpo": "token_mean", "grpo": "sequence_mean", "dr_grpo": "constant"}
"""TRL's `loss_type` to our `aggregate`; the first of a kind is the default."""

_SAME_SETTING = {
    "epsilon": "clip_low",
    "epsilon_high": "clip_high",
    "beta": "kl_coefficient",
    "entropy_coef": "entropy_bonus",
}


@dataclass
class NGRPOConfig(GRPOConfig):  # type: ignore[misc]
    """TRL's settings; those that a method decides default to None, which takes the method's value.

    `epsilon`, `epsilon_high`, `beta`, `entropy_coef`, `loss_type` and `scale_rewards` can be given under TRL's names,
    the first five also in `method_args` under ours; two values for one setting must agree. Afterwards `method_args`
    holds all settings of the method, `max_reward` only where it was given.

    A generation is used for four updates, as in the paper: with TRL's own default of one the policy is still the one
    that sampled, every ratio is 1, and no clip can bind.
    """

    _VALID_DICT_FIELDS = [*GRPOConfig._VALID_DICT_FIELDS, "method_args"]  # noqa: RUF012 - TRL's own form

    method: str = "ngrpo"
    """Name of the method."""
    method_args: dict[str, Any] | str | None = None
    """Settings of the method, as in our `[method]` table; from the command line, JSON."""
    updates_per_generation: int = 4
    """Updates per generation where neither `steps_per_generation` nor `generation_batch_size` says so."""
    steps_per_generation: int | None = None
    """Micro-batches per generation; None is `updates_per_generation` times `gradient_accumulation_steps`."""
    epsilon: float | None = None
    """Lower clip; None is the method's `clip_low`."""
    epsilon_high: float | None = None
    """Upper clip; None is the method's `clip_high`."""
    beta: float | None = None
    """Weight of the KL to the starting model; None is the method's `kl_coefficient`."""
    entropy_coef: float | None = None
    """Weight of the entropy bonus; None is the method's `entropy_bonus`."""
    loss_type: str | None = None
    """TRL's name for how token losses become one number; None follows the method's `aggregate`."""
    scale_rewards: str | None = None
    """`group` for methods that divide by the group's deviation, `none` for others; True and False mean the same. None
    follows the method, and a value that contradicts it is an error."""
    use_bias_correction_kl: bool = False
    """TRL multiplies the KL by the ratio by default; our methods do not."""

    def __post_init__(self) -> None:
        """Resolves the method and TRL's settings that follow from it.

        Raises:
            ConfigError: for an unknown method or setting, or one that TRL cannot express.
        """
        given = _table(self.method_args)
        method = self._resolved_method(given)
        for theirs, ours in _SAME_SETTING.items():
            setattr(self, theirs, getattr(method, ours))
        self.loss_type = self.loss_type or next(k for k, v in AGGREGATES.items() if v == method.aggregate)
        self.method_args = method.model_dump(exclude={"name"} if "max_reward" in given else {"name", "max_reward"})
        if self.scale_rewards is None:
            self.scale_rewards = _scaling(method)
        if self.updates_per_generation < 1:
            raise ConfigError(f"updates_per_generation is {self.updates_per_generation}; allowed are 1, 2, ...")
        if self.steps_per_generation is None and self.generation_batch_size is None:
            self.steps_per_generation = self.updates_per_generation * self.gradient_accumulation_steps
        super().__post_init__()
        _check_scaling(self.scale_rewards, method)
        _check_what_the_method_decides(self)
        if self.num_generations < method.least_group_size():
            raise ConfigError(
                f"num_generations is {self.num_generations}; allowed with method {method.name!r} "
                f"are {method.least_group_size()} and more"
            )

    def group_method(self) -> GroupMethod:
        """Returns the method with its resolved settings."""
        return load_row_method({"name": self.method, **_table(self.method_args)}, host="TRL")

    def has_max_reward(self) -> bool:
        """Returns true when `max_reward` was given, false when the method's default applies."""
        return "max_reward" in _table(self.method_args)

    def _resolved_method(self, given: dict[str, Any]) -> GroupMethod:
        """Returns the method with TRL's spellings merged in, and without refill, which TRL does not have."""
        table = {**given, "name": self.method}
        for theirs, ours in _SAME_SETTING.items():
            _take_in(table, ours, theirs, getattr(self, theirs))
        if self.loss_type is not None:
            if self.loss_type not in AGGREGATES:
                allowed = ", ".join(map(repr, AGGREGATES))
                raise ConfigError(f"loss_type is {self.loss_type!r}; allowed with our methods are {allowed}")
            _take_in(table, "aggregate", "loss_type", AGGREGATES[self.loss_type])
        method = load_row_method(table, host="TRL")
        if method.filter != "none" and method.refill:
            if table.get("refill") or "max_refill_factor" in table:
                raise ConfigError(
                    f"refill is set with filter {method.filter!r}, but TRL cannot sample further problems for a "
                    "batch; allowed is refill=False, which drops filtered groups"
                )
            method = load_row_method({**table, "refill": False}, host="TRL")
        _check_loss(method)
        return method


def log_differences(config: Any, method: GroupMethod) -> None:
    """Logs one line for each thing that TRL does otherwise than the method's paper.

    Args:
        config: a resolved NGRPOConfig.
        method: its method.
    """
    if method.filter != "none":
        _log.warning(
            "method %r drops %s groups; TRL cannot sample others in their place, so batches get smaller",
            method.name,
            "all-wrong and all-correct" if method.filter == "all" else method.filter.replace("_", "-"),
        )
    if config.loss_type in ("grpo", "dr_grpo"):
        _log.warning("loss_type %r counts filtered and ungraded completions in its denominator", config.loss_type)
    if config.num_iterations * config.steps_per_generation <= config.gradient_accumulation_steps:
        _log.warning("one update per generation: every ratio is 1, and the clip never binds")
    if config.use_vllm and config.vllm_importance_sampling_correction:
        _log_ratio_filter(config)


def _log_ratio_filter(config: Any) -> None:
    """Logs one line where TRL leaves completions or tokens out by the ratio of the trainer's probability to vLLM's."""
    mode = config.vllm_importance_sampling_mode
    bounds = {"below": config.vllm_importance_sampling_clip_min, "above": config.vllm_importance_sampling_clip_max}
    outside = " or ".join(f"{side} {bound:g}" for side, bound in bounds.items() if bound is not None)
    if mode.endswith("_mask") and outside:
        _log.warning(
            "vllm_importance_sampling_mode %r leaves %s out of the loss whose ratio of the trainer's probability to "
            "vLLM's is %s; 'token_truncate' caps each token's ratio instead",
            mode,
            "whole completions" if mode == "sequence_mask" else "tokens",
            outside,
        )


def _table(method_args: dict[str, Any] | str | None) -> dict[str, Any]:
    if isinstance(method_args, str):
        try:
            method_args = json.loads(method_args)
        except json.JSONDecodeError:
            raise ConfigError(f"method_args is {method_args!r}; allowed is a table, or one as JSON") from None
    if not isinstance(method_args, Mapping | None):
        raise ConfigError(f"method_args is {method_args!r}; allowed is a table of the method's settings")
    return dict(method_args or {})


def _take_in(table: dict[str, Any], ours: str, theirs: str, value: object) -> None:
    """Puts a value under TRL's name among the method's settings."""
    if value is None:
        return
    if ours in table and table[ours] != value:
        raise ConfigError(f"{theirs} says {ours} = {value!r}, but method_args says {table[ours]!r}; give one of them")
    table[ours] = value


def _check_loss(method: GroupMethod) -> None:
    """Raises a ConfigError where TRL has another loss than the method."""
    if method.loss != "clipped":
        raise ConfigError(
            f"method {method.name!r} has the loss {method.loss!r}, which the TRL adapter does not have; allowed is "
            "'clipped' (TRL has its own: GRPOTrainer with loss_type='cispo' or importance_sampling_level='sequence')"
        )
    if method.kl_coefficient > 0 and method.kl_estimator != "k3":
        raise ConfigError(f"kl_estimator is {method.kl_estimator!r}; TRL has only 'k3'")


def _scaling(method: GroupMethod) -> str:
    return "group" if method.divides_by_deviation else "none"


def _check_scaling(scale_rewards: object, method: GroupMethod) -> None:
    """Raises a ConfigError where `scale_rewards`, as TRL has resolved it, is not what the method does."""
    only = _scaling(method)
    if scale_rewards != only:
        does = "divides" if method.divides_by_deviation else "does not divide"
        raise ConfigError(
            f"scale_rewards is {scale_rewards!r}, but method {method.name!r} {does} by the deviation of the group; "
            f"allowed is {only!r}"
        )


def _check_what_the_method_decides(config: Any) -> None:
    """Raises a ConfigError for settings of TRL that would be without effect, or another method."""
    decided = {"multi_objective_aggregation": "sum_then_normalize", "importance_sampling_level": "token"}
    for name, only in decided.items():
        if getattr(config, name) != only:
            raise ConfigError(f"{name} is {getattr(config, name)!r}, but the method decides that; allowed is {only!r}")
