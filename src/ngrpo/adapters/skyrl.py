"""Our methods inside SkyRL: one advantage estimator, registered under a name.

    from ngrpo.adapters.skyrl import register

    register()                                              # trainer.algorithm.advantage_estimator=ngrpo
    register("w_reinforce", method="psr_nsr")               # ...=w_reinforce
    register("ngrpo2", num_virtual=2)                       # settings as in our [method] table

Called in the script that starts SkyRL's entry point, before its config is checked; SkyRL hands the estimator to its
processes. Importing this module where SkyRL is installed registers `ngrpo` with its defaults. Read in SkyRL 0.3.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from ngrpo.adapters.flat_batch import kept_rows, load_row_method, row_advantages, shapes_rewards
from ngrpo.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

HOMES = ("skyrl.backends.skyrl_train.utils.ppo_utils", "skyrl_train.utils.ppo_utils")
"""Where SkyRL keeps its registry: since 0.3, and before."""

_PADDING = re.compile(r"pad\d+")

Estimator = Callable[..., "tuple[Tensor, Tensor]"]


def ngrpo(
    token_level_rewards: Tensor, response_mask: Tensor, index: Sequence[Hashable], **_: object
) -> tuple[Tensor, Tensor]:
    """Returns NGRPO's advantages [B, T] with its defaults, twice: as advantages and as returns.

    Args:
        token_level_rewards: [B, T]; their sum is a completion's reward, NaN one that could not be graded.
        response_mask: [B, T], nonzero on tokens that the model wrote.
        index: B ids of problems.
        _: what else SkyRL passes.
    """
    return estimator()(token_level_rewards, response_mask, index)


def estimator(method: str = "ngrpo", **settings: Any) -> Estimator:
    """Returns a function with the signature of SkyRL's estimators.

    Rows of padding, rows without a token and ungraded rows get 0 and leave the statistics; groups that the method's
    filter drops get 0.

    Args:
        method: name of the method.
        settings: its settings, as in our `[method]` table.

    Raises:
        ConfigError: for an unknown method or setting, or what SkyRL cannot express.

    Examples:
        >>> import torch
        >>> rewards, mask = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]), torch.ones(3, 2)
        >>> estimator()(rewards, mask, ["a", "a", "a"])[0]
        tensor([[-0.5000, -0.5000],
                [-0.5000, -0.5000],
                [-0.5000, -0.5000]])
    """
    chosen = load_row_method({**settings, "name": method}, host="SkyRL")
    if shapes_rewards(chosen):
        raise ConfigError(
            f"method {method!r} shapes rewards by length, and SkyRL does not tell its estimators the longest one; "
            "allowed is overlong_buffer_tokens=0, with the penalty in the environment's reward"
        )
    if settings.get("refill") and chosen.filter != "none":
        raise ConfigError(f"refill is set, but SkyRL refills by dynamic_sampling; remove it from {method!r}")

    def advantages(
        token_level_rewards: Tensor, response_mask: Tensor, index: Sequence[Hashable], **_: object
    ) -> tuple[Tensor, Tensor]:
        rewards = token_level_rewards.detach().sum(dim=-1)
        # SkyRL copies row 0 where a batch must be filled up, under ids of their own.
        padding = [isinstance(group, str) and bool(_PADDING.fullmatch(group)) for group in index]
        valid = ~rewards.isnan() & (response_mask != 0).any(dim=-1) & ~rewards.new_tensor(padding).bool()
        kept = kept_rows(chosen, rewards, index, valid=valid)
        values = row_advantages(chosen, rewards, index, valid=valid).masked_fill(~kept, 0.0)
        tokens = values[:, None] * (response_mask != 0)
        return tokens, tokens.clone()

    return advantages


def register(name: str = "ngrpo", *, method: str = "ngrpo", **settings: Any) -> None:
    """Registers a method with SkyRL, in place of what this module registered under that name before.

    Args:
        name: what `trainer.algorithm.advantage_estimator` will say.
        method: name of the method.
        settings: its settings, as in our `[method]` table.

    Raises:
        ConfigError: for an unknown method or setting, what SkyRL cannot express, a name that SkyRL itself uses, or
            where SkyRL is not installed.
    """
    function = estimator(method, **settings)
    home = _home()
    if home is None:
        raise ConfigError(f"method {method!r} cannot be registered, as SkyRL is not installed: pip install skyrl")
    registry = home.AdvantageEstimatorRegistry
    if name in registry.list_available():
        # SkyRL wraps what it registers and keeps its module, also on the way through Ray.
        if getattr(registry.get(name), "__module__", "") != __name__:
            raise ConfigError(f"SkyRL already has an estimator {name!r}: choose another name")
        registry.unregister(name)
    home.register_advantage_estimator(name)(function)


def _home() -> Any:
    """Returns SkyRL's module with the registry, or None where SkyRL is not installed."""
    for name in HOMES:
        if importlib.util.find_spec(name.partition(".")[0]):
            try:
                return importlib.import_module(name)
            except ModuleNotFoundError as error:
                if not name.startswith(error.name or " "):
                    raise  # SkyRL is there, but something that it needs is not: that is worth a loud error
    return None


_found = _home()
# Another process may have registered a method of other settings under this name: that one stays.
if _found is not None and "ngrpo" not in _found.AdvantageEstimatorRegistry.list_available():
    register()
