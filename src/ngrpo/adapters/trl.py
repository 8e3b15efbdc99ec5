"""Our methods inside TRL: `NGRPOTrainer` and `NGRPOConfig` in place of `GRPOTrainer` and `GRPOConfig`.

    from ngrpo.adapters.trl import NGRPOConfig, NGRPOTrainer

    config = NGRPOConfig(output_dir="run", method="ngrpo", method_args={"num_virtual": 1})
    NGRPOTrainer(model, reward_funcs=reward, args=config, train_dataset=problems).train()

Sampling, updates, LoRA, vLLM and processes are TRL's own: methods of its trainer are wrapped, none is copied. A reward
of `None` is ungraded: it leaves the statistics and the loss.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar

from ngrpo.adapters.flat_batch import kept_rows, row_advantages, uses_max_reward
from ngrpo.adapters.trl_config import Missing, NGRPOConfig, log_differences, trl
from ngrpo.adapters.trl_resume import ExactResumeTrainer
from ngrpo.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["WRAPPED", "NGRPOConfig", "NGRPOTrainer", "check_trl"]

GRPOTrainer: Any = trl.GRPOTrainer if trl else Missing

WRAPPED = {
    "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    "_generate_and_score_completions": ["self", "inputs"],
    "_get_train_sampler": ["self", "dataset"],
    "_load_optimizer_and_scheduler": ["self", "checkpoint"],
    "_save_checkpoint": ["self", "model", "trial"],
}
"""The methods of GRPOTrainer that are wrapped, with their parameters in TRL 1.16."""

USED = ("reward_weights", "_buffered_inputs", "_step")
"""Attributes of a GRPOTrainer that are read here."""


class NGRPOTrainer(ExactResumeTrainer):
    """TRL's trainer with the advantages of any of our methods that compare groups.

    Ungraded completions, ungraded groups and those that the method's `filter` drops get advantage 0 and leave the
    loss altogether, KL, entropy and token count included. A checkpoint saved within a generation holds the rest of
    it, so that a resumed run equals an uninterrupted one.

    Args:
        model: as in GRPOTrainer.
        reward_funcs: as in GRPOTrainer; the sum weighted by the trainer's `reward_weights` is the reward, and `None`
            from all of them is ungraded.
        args: an `NGRPOConfig`.
        rest: further positional arguments of GRPOTrainer.
        kwargs: further arguments of GRPOTrainer by name.

    Raises:
        ConfigError: for another kind of `args`, a method that needs `max_reward` where the reward weights do not sum
            to its default, or a TRL without the methods that are wrapped here.
        MissingDependencyError: where TRL is not installed.
    """

    _name = "NGRPO"
    _tag_names: ClassVar[list[str]] = ["trl", "ngrpo"]

    def __init__(self, model: Any, reward_funcs: Any = None, args: Any = None, *rest: Any, **kwargs: Any) -> None:
        check_trl(GRPOTrainer)
        if args is None:
            name: str = model if isinstance(model, str) else getattr(model.config, "_name_or_path", "")
            args = NGRPOConfig(f"{name.split('/')[-1]}-NGRPO")  # named as TRL names it
        if not isinstance(args, NGRPOConfig):
            raise ConfigError(f"args is {type(args).__name__}; allowed is NGRPOConfig, which names the method")
        self.method = args.group_method()
        self._ours: Any = None  # rewards [B, functions] and lengths [B] of the batch that is being scored
        super().__init__(model, reward_funcs, args, *rest, **kwargs)
        for name in USED:
            if not hasattr(self, name):
                raise _moved(f"GRPOTrainer has no {name}")
        self._check_weights()
        if self.accelerator.is_main_process:
            log_differences(args, self.method)

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        """Returns TRL's rewards [B, functions] of all processes, and keeps them with the lengths of completions."""
        import torch

        per_function = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        lengths = torch.tensor([len(ids) for ids in completion_ids_list], device=self.accelerator.device)
        self._ours = per_function, self.accelerator.gather(lengths)
        return per_function

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        """Returns TRL's batch of this process with our advantages in place of its own."""
        self._ours = None
        batch = super()._generate_and_score_completions(inputs)
        if self._ours is None or tuple(batch["advantages"].shape) != (len(inputs),):
            raise _moved("_generate_and_score_completions no longer scores by _calculate_rewards")
        mode = "train" if self.model.training else "eval"
        group_size = self.num_generations if mode == "train" else self.num_generations_eval
        rewards, valid = self._rewards_and_valid(self._ours[0])
        self._check_best(rewards[valid])
        advantages, kept = self._advantages_and_kept(rewards, self._ours[1], valid, group_size)
        start = self.accelerator.process_index * len(inputs)
        mine = slice(start, start + len(inputs))
        batch["advantages"] = advantages[mine].to(batch["advantages"])
        self._log_groups(mode, rewards, advantages, valid, group_size)
        if not bool(kept.all()):
            self._leave_out(batch, ~kept[mine])
        return batch

    def _weights(self) -> Tensor:
        """Returns the trainer's present reward weights [functions] in float64, as decimals: 0.1 is not 0.100000001."""
        import torch

        weights: Tensor = self.reward_weights.detach().cpu()
        if weights.dtype == torch.float32:  # TRL's; in float32, 0.1 and 0.9 need not sum to a max_reward of 1
            return torch.tensor([float(str(weight)) for weight in weights.numpy()], dtype=torch.float64)
        return weights.double()

    def _rewards_and_valid(self, per_function: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the weighted sum of the rewards [B], and which rows a function graded, both on the CPU."""
        given = per_function.detach().cpu().double()
        return (given * self._weights()).nansum(dim=1).float(), ~given.isnan().all(dim=1)

    def _check_weights(self) -> None:
        """Raises a ConfigError where the method needs a `max_reward`, none was given and the weights contradict it."""
        weights, method = self._weights(), self.method
        total = weights.clamp(min=0).sum().item()
        if self.args.has_max_reward() or abs(total - method.max_reward) < 1e-6 or not uses_max_reward(method):
            return
        raise ConfigError(
            f"method {method.name!r} needs the reward of a correct completion: max_reward is {method.max_reward:g} by "
            f"default, but the reward weights {[round(w, 6) for w in weights.tolist()]} sum to {total:g}; set "
            f'method_args={{"max_reward": {total:g}}} if no function gives more than 1, else the highest weighted sum'
        )

    def _check_best(self, graded: Tensor) -> None:
        """Handles a reward above `max_reward`: an error where the advantages need that bound, else one warning."""
        from ngrpo.filters import comparable_reward

        best, method = graded.max().item() if len(graded) else float("-inf"), self.method
        if best <= comparable_reward(method.max_reward, graded):
            return
        seen = f"a reward is {best:g}, above max_reward = {method.max_reward:g}"
        cure = f'method_args={{"max_reward": {best:g}}}'
        if method.bounded_by_max_reward:
            raise ConfigError(
                f"{seen}, but method {method.name!r} needs an upper bound of the rewards; set {cure}, or the highest "
                f"reward that a completion can get{self._saved_step()}"
            )
        what = "completions from max_reward on count as correct"
        if not uses_max_reward(method):
            what += " in group/* and reward/correct; advantages do not depend on it"
        self.warn_once("max_reward", f"{seen}: {what}; {cure} changes that")

    def _saved_step(self) -> str:
        """Saves the last update before an error and returns where it is, as the end of a message.

        A collective call: every process must reach it.
        """
        step, args = self.state.global_step, self.args
        complete = self._step % args.gradient_accumulation_steps == 0  # no gradient is accumulated
        if not self.is_in_train or step == 0 or args.save_strategy == "no" or not complete:
            return ""
        folder = self.checkpoint_folder(None)
        if not (folder / "trainer_state.json").exists():
            self._save_checkpoint(self.model, None)
        return f"; step {step} is saved in {folder}: continue with train(resume_from_checkpoint=True)"

    def _advantages_and_kept(
        self, rewards: Tensor, lengths: Tensor, valid: Tensor, group_size: int
    ) -> tuple[Tensor, Tensor]:
        """Returns the advantages [B] of all processes, and which rows enter the loss."""
        groups = [row // group_size for row in range(len(rewards))]  # contiguous after TRL's gather
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
        """Masks rows without signal and recounts loss tokens; a collective call, so every process must reach it."""
        mask = batch["completion_mask"]
        batch["completion_mask"] = mask = mask.masked_fill(left_out.to(mask.device)[:, None], 0)
        in_loss = mask * batch["tool_mask"] if "tool_mask" in batch else mask
        batch["num_items_in_batch"] = self.accelerator.gather(in_loss.sum()).sum()


def check_trl(trainer: type) -> None:
    """Checks that a GRPOTrainer has the methods that are wrapped here, with the parameters that are expected.

    Raises:
        ConfigError: when not, or MissingDependencyError where TRL is not installed.
    """
    if trainer is Missing:
        raise MissingDependencyError("trl", "trl", "ngrpo.adapters.trl")
    for name, parameters in WRAPPED.items():
        method = getattr(trainer, name, None)
        if not callable(method):
            raise _moved(f"GRPOTrainer has no {name}")
        found = list(inspect.signature(method).parameters)
        if found != parameters:
            raise _moved(f"GRPOTrainer.{name} takes ({', '.join(found)})")


def _moved(what: str) -> ConfigError:
    version = getattr(trl, "__version__", "unknown")
    return ConfigError(f"TRL {version} does not fit: {what}; tested is 1.16: pip install 'trl>=1.16,<1.17'")
