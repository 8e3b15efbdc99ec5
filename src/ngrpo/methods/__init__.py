"""Methods: each is one class whose defaults are its published settings and whose `advantages` is one pure function.

Naming a method in a config is naming its paper: `[method] name = "ngrpo"` and nothing else reproduces the reference
script. Every field may be set, and what is set is visible in the config. A new method is one function like those of
`ngrpo.advantages`, one class and one line in `METHODS`; examples/custom_method.py does it from outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ngrpo.choices import Deviation, GroupFilter
from ngrpo.errors import ConfigError
from ngrpo.methods.baseline_methods import AsymRE, CoRPO, MaxRL
from ngrpo.methods.entropy_methods import RLZVP
from ngrpo.methods.fixed_methods import NSR, PSR, PSRNSR, ReinforceRej
from ngrpo.methods.method import GroupMethod, Method
from ngrpo.methods.ppo import PPO
from ngrpo.methods.ratio_methods import CISPO, GSPO
from ngrpo.methods.subset_methods import PKPO, PassAtK
from ngrpo.methods.virtual_methods import NGRPO, SOVA, Constant
from ngrpo.methods.z_score_methods import DAPO, GRPO, RLOO, DrGRPO

__all__ = [
    "CISPO",
    "DAPO",
    "GRPO",
    "GSPO",
    "METHODS",
    "NGRPO",
    "NSR",
    "PKPO",
    "PPO",
    "PSR",
    "PSRNSR",
    "RLOO",
    "RLZVP",
    "SOVA",
    "AsymRE",
    "CoRPO",
    "Constant",
    "Deviation",
    "DrGRPO",
    "GroupFilter",
    "GroupMethod",
    "MaxRL",
    "Method",
    "PassAtK",
    "ReinforceRej",
    "load_method",
]

METHODS: dict[str, type[Method]] = {
    "grpo": GRPO,
    "ppo": PPO,
    "dr_grpo": DrGRPO,
    "rloo": RLOO,
    "dapo": DAPO,
    "psr": PSR,
    "nsr": NSR,
    "psr_nsr": PSRNSR,
    "constant": Constant,
    "corpo": CoRPO,
    "maxrl": MaxRL,
    "asymre": AsymRE,
    "reinforce_rej": ReinforceRej,
    "pass_at_k": PassAtK,
    "pkpo": PKPO,
    "sova": SOVA,
    "rl_zvp": RLZVP,
    "gspo": GSPO,
    "cispo": CISPO,
    "ngrpo": NGRPO,
}
"""Every method that a config can name."""


def load_method(table: Mapping[str, Any], *, where: str = "") -> Method:
    """Returns the method of a `[method]` table.

    Args:
        table: the settings, `name` among them (default "ngrpo").
        where: what an error message puts before the key.

    Raises:
        ConfigError: for an unknown method or a wrong setting.

    Examples:
        >>> load_method({"name": "ngrpo", "num_virtual": 2}).clip_low
        0.16
    """
    name = table.get("name", "ngrpo")
    if not isinstance(name, str) or name not in METHODS:
        raise ConfigError(f"{where}unknown method {name!r}; allowed: {', '.join(METHODS)}")
    return METHODS[name].parse({**table, "name": name}, where=where)
