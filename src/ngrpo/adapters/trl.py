"""Our methods inside TRL: `NGRPOTrainer` and `NGRPOConfig` stand where `GRPOTrainer` and `GRPOConfig` stood.

    from ngrpo.adapters.trl import NGRPOConfig, NGRPOTrainer

    config = NGRPOConfig(output_dir="run", method="ngrpo", method_args={"num_virtual": 1})
    NGRPOTrainer(model, reward_funcs=reward, args=config, train_dataset=problems).train()

Sampling, updates, LoRA, vLLM and processes are TRL's own: two of its methods are wrapped, none is copied. A reward of
`None` is ungraded: it leaves the statistics and the loss.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ngrpo.adapters.rows import kept_rows, load_row_method, row_advantages
from ngrpo.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from torch import Tensor

    from ngrpo.methods import GroupMethod

_log = logging.getLogger(__name__)


class _Missing:
    """Stands for TRL's classes where TRL is not installed: this module can be read there, but not used."""

    _VALID_DICT_FIELDS: ClassVar[list[str]] = []

    def __new__(cls, *_args: object, **_kwargs: object) -> Any:
        """Raises a MissingDependencyError, before any argument is looked at."""
        raise MissingDependencyError("trl", "trl", "ngrpo.adapters.trl")


# Not by an import statement: its types would differ where TRL is installed and where not.
_trl: Any = importlib.import_module("trl") if importlib.util.find_spec("trl") else None
GRPOConfig: Any = _trl.GRPOConfig if _trl else _Missing
GRPOTrainer: Any = _trl.GRPOTrainer if _trl else _Missing

WRAPPED = {
    "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    "_generate_and_score_completions": ["self", "inputs"],
}
"""The methods of GRPOTrainer that are wrapped, with their parameters in TRL 1.16."""

AGGREGATES = {"dapo": "token_mean", "bnpo": "token_mean", "grpo": "sequence_mean", "dr_grpo": "constant"}
"""What TRL calls our `aggregate`; the first of a kind is the default."""

_SAME_SETTING = {
    "epsilon": "clip_low",
    "epsilon_high": "clip_high",
    "beta": "kl_coefficient",
    "entropy_coef": "entropy_bonus",
}


@dataclass
class NGRPOConfig(GRPOConfig):  # type: ignore[misc]
    """TRL's settings; those that a method decides are None here, and take the method's value.

    `epsilon`, `epsilon_high`, `beta`, `entropy_coef` and `loss_type` can still be given, as TRL spells them, or in
    `method_args`, as we do; both at once must agree. `method_args` holds the complete answer afterwards.

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
    """TRL's word for how token losses become one number; None follows the method's `aggregate`."""
    use_bias_correction_kl: bool = False
    """TRL multiplies the KL by the ratio by default; our methods do not."""

    def __post_init__(self) -> None:
        """Resolves the method, and what TRL takes from it.

        Raises:
            ConfigError: for an unknown method or setting, or one that TRL cannot express.
        """
        method = self._resolved_method(_table(self.method_args))
        for ours in ("epsilon", "epsilon_high", "beta", "entropy_coef"):
            setattr(self, ours, getattr(method, _SAME_SETTING[ours]))
        self.loss_type = self.loss_type or next(k for k, v in AGGREGATES.items() if v == method.aggregate)
        self.method_args = method.model_dump(exclude={"name"})
        if self.updates_per_generation < 1:
            raise ConfigError(f"updates_per_generation is {self.updates_per_generation}; allowed are 1, 2, ...")
        if self.steps_per_generation is None and self.generation_batch_size is None:
            self.steps_per_generation = self.updates_per_generation * self.gradient_accumulation_steps
        super().__post_init__()
        _check_what_trl_would_decide(self)
        if self.num_generations < method.least_group_size():
            raise ConfigError(
                f"num_generations is {self.num_generations}; allowed with method {method.name!r} "
                f"are {method.least_group_size()} and more"
            )

    def group_method(self) -> GroupMethod:
        """Returns the method with its resolved settings."""
        return load_row_method({"name": self.method, **_table(self.method_args)}, host="TRL")

    def _resolved_method(self, given: dict[str, Any]) -> GroupMethod:
        """Returns the method with TRL's spellings taken in, and without the refill that TRL has not."""
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
                    f"refill is asked for with filter {method.filter!r}, but TRL cannot sample further problems for a "
                    "batch; allowed is refill=False, which drops filtered groups"
                )
            method = load_row_method({**table, "refill": False}, host="TRL")
        _check_loss(method)
        return method


class NGRPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """TRL's trainer with the advantages of any of our methods that compare groups.

    Ungraded completions, ungraded groups and those that the method's `filter` drops get advantage 0 and leave the
    loss altogether, KL, entropy and token count included.

    Args:
        model: as in GRPOTrainer.
        reward_funcs: as in GRPOTrainer; their weighted sum is the reward, and `None` from all of them is ungraded.
        args: an `NGRPOConfig`.
        rest: further positional arguments of GRPOTrainer.
        kwargs: further arguments of GRPOTrainer by name.

    Raises:
        ConfigError: for another kind of `args`, or a TRL whose methods are not those that are wrapped here.
        MissingDependencyError: where TRL is not installed.
    """

    _name = "NGRPO"
    _tag_names: ClassVar[list[str]] = ["trl", "ngrpo"]

    def __init__(self, model: Any, reward_funcs: Any = None, args: Any = None, *rest: Any, **kwargs: Any) -> None:
        check_trl(GRPOTrainer)
        args = NGRPOConfig() if args is None else args
        if not isinstance(args, NGRPOConfig):
            raise ConfigError(f"args is {type(args).__name__}; allowed is NGRPOConfig, which names the method")
        self.method = args.group_method()
        self._ours: Any = None  # rewards [B, functions] and lengths [B] of the batch that is being scored
        super().__init__(model, reward_funcs, args, *rest, **kwargs)
        if self.accelerator.is_main_process:
            _say_what_differs(args, self.method)

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        """Returns TRL's rewards [B, functions] of all processes, and keeps them with the lengths of completions."""
        import torch

        per_function = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        lengths = torch.tensor([len(ids) for ids in completion_ids_list], device=self.accelerator.device)
        self._ours = per_function, self.accelerator.gather(lengths)
        return per_function

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        """Returns TRL's batch of this process, with our advantages in the place of its own."""
        self._ours = None
        batch = super()._generate_and_score_completions(inputs)
        if self._ours is None or tuple(batch["advantages"].shape) != (len(inputs),):
            raise _moved("_generate_and_score_completions no longer scores by _calculate_rewards")
        mode = "train" if self.model.training else "eval"
        group_size = self.num_generations if mode == "train" else self.num_generations_eval
        rewards, valid = self._rewards_and_valid(self._ours[0])
        advantages, kept = self._advantages_and_kept(rewards, self._ours[1], valid, group_size)
        start = self.accelerator.process_index * len(inputs)
        mine = slice(start, start + len(inputs))
        batch["advantages"] = advantages[mine].to(batch["advantages"])
        self._log_groups(mode, rewards, advantages, valid, group_size)
        if not bool(kept.all()):
            self._leave_out(batch, ~kept[mine])
        return batch

    def _rewards_and_valid(self, per_function: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the weighted sum of the rewards [B], and which rows a function graded, both on the CPU."""
        import torch

        given = per_function.detach().cpu().double()
        # Weights as they were written: in float32, 0.1 and 0.9 need not sum to a max_reward of 1.
        weights = torch.tensor(self.args.reward_weights or [1.0] * given.shape[1], dtype=torch.float64)
        return (given * weights).nansum(dim=1).float(), ~given.isnan().all(dim=1)

    def _advantages_and_kept(
        self, rewards: Tensor, lengths: Tensor, valid: Tensor, group_size: int
    ) -> tuple[Tensor, Tensor]:
        """Returns the advantages [B] of all processes, and which rows enter the loss."""
        groups = [row // group_size for row in range(len(rewards))]  # they stand together after TRL's gather
        kept = kept_rows(self.method, rewards, groups, valid=valid)
        shaped = self.method.shaped_rewards(rewards, lengths.cpu(), self.max_completion_length)
        return row_advantages(self.method, shaped, groups, valid=valid).masked_fill(~kept, 0.0), kept

    def _log_groups(self, mode: str, rewards: Tensor, advantages: Tensor, valid: Tensor, group_size: int) -> None:
        """Puts our group metrics among TRL's, and our advantages into its table of completions."""
        from ngrpo.diagnostics import group_metrics

        shape = (-1, group_size)
        metrics = group_metrics(
            rewards.view(shape),
            advantages.view(shape),
            max_reward=self.method.max_reward,
            valid=valid.view(shape),
        )
        for name, value in metrics.items():
            self._metrics[mode][name].append(value)
        table = self._logs["advantages"]
        # TRL has just appended as many of its own; its table may be shorter than an evaluation batch.
        for _ in range(min(len(advantages), len(table))):
            table.pop()
        table.extend(advantages.tolist())

    def _leave_out(self, batch: dict[str, Any], left_out: Tensor) -> None:
        """Masks the rows that carry no signal, and counts the tokens of the loss anew; every process must come by."""
        mask = batch["completion_mask"]
        batch["completion_mask"] = mask = mask.masked_fill(left_out.to(mask.device)[:, None], 0)
        in_loss = mask * batch["tool_mask"] if "tool_mask" in batch else mask
        batch["num_items_in_batch"] = self.accelerator.gather(in_loss.sum()).sum()


def check_trl(trainer: type) -> None:
    """Checks that a GRPOTrainer has the methods that are wrapped here, with the parameters that are expected.

    Raises:
        ConfigError: when not, or MissingDependencyError where TRL is not installed.
    """
    if trainer is _Missing:
        raise MissingDependencyError("trl", "trl", "ngrpo.adapters.trl")
    for name, parameters in WRAPPED.items():
        method = getattr(trainer, name, None)
        if not callable(method):
            raise _moved(f"GRPOTrainer has no {name}")
        found = list(inspect.signature(method).parameters)
        if found != parameters:
            raise _moved(f"GRPOTrainer.{name} takes ({', '.join(found)})")


def _moved(what: str) -> ConfigError:
    version = getattr(_trl, "__version__", "unknown")
    return ConfigError(f"TRL {version} does not fit: {what}; tested is 1.16: pip install 'trl>=1.16,<1.17'")


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
    """Puts a value that was given in TRL's words among the method's settings."""
    if value is None:
        return
    if ours in table and table[ours] != value:
        raise ConfigError(f"{theirs} says {ours} = {value!r}, but method_args says {table[ours]!r}; give one of them")
    table[ours] = value


def _check_loss(method: GroupMethod) -> None:
    """Raises a ConfigError where TRL has another loss than the method."""
    if method.loss != "clipped":
        raise ConfigError(
            f"method {method.name!r} has the loss {method.loss!r}, which is not taken over into TRL; allowed is "
            "'clipped' (TRL has its own: GRPOTrainer with loss_type='cispo' or importance_sampling_level='sequence')"
        )
    if method.kl_coefficient > 0 and method.kl_estimator != "k3":
        raise ConfigError(f"kl_estimator is {method.kl_estimator!r}; TRL has 'k3' alone")


def _check_what_trl_would_decide(config: Any) -> None:
    """Raises a ConfigError for settings of TRL that would be without effect, or another method."""
    decided = {"scale_rewards": "group", "multi_objective_aggregation": "sum_then_normalize"}
    decided["importance_sampling_level"] = "token"
    for name, only in decided.items():
        if getattr(config, name) != only:
            raise ConfigError(f"{name} is {getattr(config, name)!r}, but the method decides that; allowed is {only!r}")


def _say_what_differs(config: Any, method: GroupMethod) -> None:
    """Logs what TRL does otherwise than the method's paper, so that nothing differs silently."""
    if method.filter != "none":
        _log.warning(
            "method %r filters %r groups; TRL cannot sample others in their place, so batches get smaller",
            method.name,
            method.filter,
        )
    if config.loss_type in ("grpo", "dr_grpo"):
        _log.warning("loss_type %r counts filtered and ungraded completions in its denominator", config.loss_type)
    if config.num_iterations * config.steps_per_generation <= config.gradient_accumulation_steps:
        _log.warning("there is one update per generation: every ratio is 1, and the clip never binds")
