"""The critic of PPO: a value model that predicts each token's return, and the updates that train it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ngrpo.config import ModelSettings, OptimizerSettings
from ngrpo.losses import value_loss
from ngrpo.methods import PPO
from ngrpo.models import LanguageModel, load_language_model
from ngrpo.training.batch import MicroBatch, TokenRow, ValuedRow, micro_batches, values_of
from ngrpo.training.divisions import ROW_VALUES
from ngrpo.training.optimizer import Updater, UpdateSums

HEAD = "score"
"""Name of the value head in checkpoints: Hugging Face's for token classification in most families."""


class Critic:
    """A trunk that makes hidden states and a linear head that makes a value of each.

    The head starts at 0, so the first values are 0 and the first advantages those of REINFORCE. Its arithmetic is
    float32 whatever the trunk computes in.

    Args:
        trunk: the model whose hidden states are read.
        shared: the trunk is the policy itself; then only the head belongs to the critic.
    """

    def __init__(self, trunk: LanguageModel, *, shared: bool) -> None:
        self.trunk, self.shared = trunk, shared
        with torch.no_grad():
            width = trunk.hidden_states(torch.zeros(1, 1, dtype=torch.long, device=trunk.device)).shape[-1]
        self.head = nn.Linear(width, 1, device=trunk.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @classmethod
    def separate(cls, settings: ModelSettings) -> Critic:
        """Returns a critic with a trunk of its own: the starting model, without its output layer.

        Raises:
            ConfigError: when the starting model cannot be loaded.
        """
        trunk = load_language_model(settings, for_training=True)
        trunk.plain.set_output_embeddings(nn.Identity())  # it would only take memory
        return cls(trunk, shared=False)

    def values(self, batch: MicroBatch[Any], *, through_trunk: bool = True) -> Tensor:
        """Returns the values [N] of the states before each completion token.

        Args:
            batch: the rows.
            through_trunk: whether a gradient flows into the trunk.
        """
        with torch.set_grad_enabled(through_trunk and torch.is_grad_enabled()), self.trunk.autocast():
            hidden = batch.predicting(self.trunk.hidden_states(batch.input_ids, batch.packing)).float()
        return self.head(hidden).squeeze(-1)  # type: ignore[no-any-return]

    def trained_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yields name and tensor of the critic's own parameters."""
        if not self.shared:
            decoder = self.trunk.plain.get_decoder()
            prefix = next(name for name, module in self.trunk.plain.named_modules() if module is decoder)
            for name, parameter in decoder.named_parameters():
                if parameter.requires_grad:
                    yield f"{prefix}.{name}", parameter
        for name, parameter in self.head.named_parameters():
            yield f"{HEAD}.{name}", parameter


class CriticUpdater(Updater):
    """The critic and its optimiser.

    Args:
        critic: the value model.
        method: its learning rate and value clip.
        settings: the `[optimizer]` table; all but the learning rate holds for the critic too.
    """

    def __init__(self, critic: Critic, method: PPO, settings: OptimizerSettings) -> None:
        parameters = dict(critic.trained_parameters())
        super().__init__(parameters, settings, lr=method.critic_lr, lr_key="[method] critic_lr")
        self.critic, self.method = critic, method

    def accumulate_gradient(self, rows: Sequence[ValuedRow], *, through_trunk: bool = True) -> UpdateSums:
        """Adds the gradient of the value loss of an update to the parameters; those of a shared trunk too.

        Args:
            rows: of the update.
            through_trunk: whether a shared trunk gets a gradient; one of the critic's own always does.
        """
        shared = self.critic.shared
        tokens = sum(len(row.completion) for row in rows)
        sums = UpdateSums(rows=len(rows), rows_computed=len(rows))
        budget, trunk, own = self.budget.tokens, self.critic.trunk, self.ranks.own(rows)
        with trunk.packed_attention(trunk.packs):
            for batch in micro_batches(own, token_budget=budget, device=trunk.device, packed=trunk.packs):
                values = self.critic.values(batch, through_trunk=through_trunk or not shared)[None]
                loss = value_loss(
                    values,
                    batch.flat(row.old_values for row in batch.rows)[None],
                    batch.flat(row.returns for row in batch.rows)[None],
                    torch.ones_like(values),
                    clip=self.method.value_clip,
                    denominator=tokens,
                )
                sums.loss = sums.loss + loss.detach()
                sums.tokens += len(batch.tokens)
                weighted = loss * self.method.value_coefficient if shared else loss
                weighted.backward()  # type: ignore[no-untyped-call]
        return sums

    @torch.no_grad()
    def values(self, rows: Sequence[TokenRow]) -> list[NDArray[np.float32]]:
        """Returns the values [T] of each row under the critic as it is."""
        trunk = self.critic.trunk
        with trunk.packed_attention(trunk.packs):
            return self.ranks.spread(rows, lambda own: self.fitted(own, lambda: self._values(own)), ROW_VALUES)

    def _values(self, rows: Sequence[TokenRow]) -> list[NDArray[np.float32]]:
        trunk = self.critic.trunk
        budget = self.budget.tokens
        return values_of(rows, self.critic.values, token_budget=budget, device=trunk.device, packed=trunk.packs)
