"""Rules about groups: what a method needs of them, what is dropped, what the homogeneous ones still do."""

from __future__ import annotations

from collections.abc import Iterator

from ngrpo.linting.rule import Fault, Rule
from ngrpo.linting.view import ConfigView

LEARN_FROM_ALL_WRONG = frozenset({"ngrpo", "nsr", "psr_nsr", "constant", "corpo", "asymre", "rl_zvp"})
"""Methods whose published settings give all-wrong groups an advantage; a test computes it."""
RELATIVE = frozenset({"grpo", "dr_grpo", "rloo", "dapo", "gspo", "cispo", "maxrl", "reinforce_rej"})
"""Methods that give a homogeneous group, and a group of one, no advantage."""


def filter_drops_needed_groups(view: ConfigView) -> Iterator[Fault]:
    """The filter drops the all-wrong groups of a method that learns from them."""
    dropped = view.value("filter")
    if view.value("method") in LEARN_FROM_ALL_WRONG and dropped in {"all", "all_incorrect"}:
        key = "filter_enabled" if view.tool == "verl" else "filter"
        fix = {
            "verl": view.paste("filter_enabled", value=False),
            "trl": view.paste_key("method_args", {"filter": "all_correct"}),
        }.get(view.tool, view.paste("filter", "all_correct"))
        yield Fault(key, f"{view.value('method')} learns from all-wrong groups, and this filter drops them", fix)


def gate_drops_homogeneous_groups(view: ConfigView) -> Iterator[Fault]:
    """prime-rl: an advantage gate at 0 rejects every homogeneous group and asks for replacements without a limit."""
    for key, found in view.raw.items():
        if ".gates." in key and key.endswith(".type") and found.value == "advantage_range":
            gate = key.removesuffix(".type")
            low, high = view.own(f"{gate}.reject_min") or 0.0, view.own(f"{gate}.reject_max") or 0.0
            if low < 0.0 < high:
                reason = (
                    f"rejects groups with advantages between {low:g} and {high:g}: mixed ones with a small spread too"
                )
                yield Fault(key, reason, view.paste_key(f"{gate}.reject_min", 0.0))


def group_of_one(view: ConfigView) -> Iterator[Fault]:
    """One completion per problem with a method that compares the completions of a group."""
    if view.number("group_size") == 1 and view.value("method") in RELATIVE:
        what = (
            "the advantage is the bare reward, without a baseline"
            if view.tool == "verl"
            else "every advantage is 0, or TRL refuses to start"
            if view.tool == "trl"
            else "every advantage is 0"
        )
        reason = f"a group of 1 has nothing to compare with: {what}"
        yield Fault("group_size", reason, view.paste("group_size", 8))


def group_of_two(view: ConfigView) -> Iterator[Fault]:
    """Two completions per group with a z-score: every advantage of a mixed group is the same number."""
    if view.number("group_size") == 2 and view.value("divides_by_deviation") and view.value("method") in RELATIVE:
        reason = "in a group of 2 the z-score of any two different rewards is +-0.71: how good they are does not count"
        yield Fault("group_size", reason, view.paste("group_size", 8))


def max_reward_too_low(view: ConfigView) -> Iterator[Fault]:
    """The virtual reward is below a reward that occurs."""
    most, top = view.number("max_reward"), view.number("top_reward")
    uses = view.value("method") in {"ngrpo", "constant", "sova"}
    if uses and most is not None and top is not None and most < top:
        fix = (
            view.paste_key("method_args", {"max_reward": top})
            if view.tool == "trl"
            else view.paste("max_reward", max(top, 1.0))
        )
        yield Fault("max_reward", f"max_reward is {most:g}, but rewards reach {top:g}: the best are punished", fix)


def no_virtual_completion(view: ConfigView) -> Iterator[Fault]:
    """`ngrpo` with num_virtual 0."""
    if view.value("method") == "ngrpo" and view.number("num_virtual") == 0:
        fix = view.paste_key("method_args", {"num_virtual": 1}) if view.tool == "trl" else view.paste("num_virtual", 1)
        yield Fault("num_virtual", "without a virtual completion NGRPO is GRPO: all-wrong groups get 0", fix)


def endless_refill(view: ConfigView) -> Iterator[Fault]:
    """verl: dropped groups are replaced without a limit."""
    if view.value("filter") == "all" and view.number("refill_limit") == 0:
        reason = "without a limit a step never ends once every group is all-wrong or all-correct"
        yield Fault("refill_limit", reason, view.paste("refill_limit", 10))


def refill_cannot_refill(view: ConfigView) -> Iterator[Fault]:
    """Refilling is on with a limit of one batch."""
    if view.value("refill") and view.value("filter") != "none" and view.number("refill_limit") == 1:
        reason = "a step samples at most one batch of problems, so nothing is refilled"
        yield Fault("refill_limit", reason, view.paste("refill_limit", 8.0))


def dead_groups_in_denominator(view: ConfigView) -> Iterator[Fault]:
    """Token mean over groups without advantage: the gradient shrinks as more groups are homogeneous."""
    dead = view.value("method") in RELATIVE and view.value("filter") == "none"
    if dead and view.value("aggregate") == "token_mean":
        reason = (
            "tokens of all-wrong and all-correct groups add 0 to the loss and count in its denominator: with half of"
        )
        reason += " the groups dead the gradient is half as large"
        fix = {"verl": view.paste("filter_enabled", value=True), "ngrpo": view.paste("filter", "all")}
        in_trl = 'from ngrpo.adapters.trl import NGRPOConfig  # method="dapo" leaves them out of it'
        yield Fault("aggregate", reason, fix.get(view.tool, in_trl))


def kl_on_dead_groups(view: ConfigView) -> Iterator[Fault]:
    """A KL term in the loss while homogeneous groups stay in the batch: it is all that they contribute."""
    weight = view.number("kl_coefficient")
    dead = view.value("method") in RELATIVE and view.value("filter") == "none"
    if dead and weight and view.tool != "prime-rl":
        reason = "a group without advantage contributes the pull to the starting model alone"
        fix = view.paste("uses_kl", value=False) if view.tool == "verl" else view.paste("kl_coefficient", 0.0)
        yield Fault("kl_coefficient", reason, fix)


def kl_on_zero_advantages(view: ConfigView) -> Iterator[Fault]:
    """prime-rl: rollouts without advantage are kept, and only the KL term acts on them."""
    if view.value("filters_zero") is False and (view.number("kl_coefficient") or 0) > 0:
        reason = "rollouts without advantage are kept in the batch, where the KL term alone acts on them"
        yield Fault("filters_zero", reason, view.paste("filters_zero", value=True))


def zero_std_metric_is_blind(view: ConfigView) -> Iterator[Fault]:
    """TRL: scale_rewards "batch" makes the metric frac_reward_zero_std that of the whole batch."""
    if view.value("scale_rewards") == "batch":
        reason = "frac_reward_zero_std is then 0 or 1 for the whole batch: groups without a signal are not seen"
        yield Fault("scale_rewards", reason, view.paste("scale_rewards", "group"))


ALL: tuple[Rule, ...] = (
    Rule(
        "filter-drops-needed-groups",
        filter_drops_needed_groups,
        "warning",
        "https://arxiv.org/abs/2509.18851",
        ("ngrpo", "trl", "verl"),
    ),
    Rule(
        "gate-drops-mixed-groups",
        gate_drops_homogeneous_groups,
        "warning",
        "https://github.com/PrimeIntellect-ai/prime-rl/blob/main/docs/algorithms.md",
        ("prime-rl",),
    ),
    Rule("group-of-one", group_of_one, "warning", "https://arxiv.org/abs/2402.03300", ("trl", "verl", "prime-rl")),
    Rule("group-of-two", group_of_two, "warning", "https://arxiv.org/abs/2402.03300", ("ngrpo", "trl", "verl")),
    Rule("max-reward-too-low", max_reward_too_low, "warning", "https://arxiv.org/abs/2509.18851", ("trl",)),
    Rule(
        "no-virtual-completion",
        no_virtual_completion,
        "note",
        "https://arxiv.org/abs/2509.18851",
        ("ngrpo", "trl", "verl"),
    ),
    Rule(
        "endless-refill",
        endless_refill,
        "warning",
        "https://verl.readthedocs.io/en/latest/algo/dapo.html",
        ("verl",),
    ),
    Rule("refill-cannot-refill", refill_cannot_refill, "warning", "docs/methods.md", ("ngrpo",)),
    Rule(
        "dead-groups-in-denominator",
        dead_groups_in_denominator,
        "note",
        "https://arxiv.org/abs/2503.14476",
        ("ngrpo", "trl", "verl"),
    ),
    Rule("kl-on-dead-groups", kl_on_dead_groups, "note", "https://arxiv.org/abs/2402.03300", ("ngrpo", "trl", "verl")),
    Rule(
        "kl-on-zero-advantages",
        kl_on_zero_advantages,
        "warning",
        "https://github.com/PrimeIntellect-ai/prime-rl/blob/main/docs/algorithms.md",
        ("prime-rl",),
    ),
    Rule(
        "zero-std-metric-is-blind",
        zero_std_metric_is_blind,
        "warning",
        "https://huggingface.co/docs/trl/grpo_trainer",
        ("trl",),
    ),
)
