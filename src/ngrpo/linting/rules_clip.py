"""Rules about the ratio, its clip and the KL terms."""

from __future__ import annotations

from collections.abc import Iterator

from ngrpo.linting.rule import Fault, Rule
from ngrpo.linting.rules_groups import LEARN_FROM_ALL_WRONG
from ngrpo.linting.view import ConfigView

GSPO_LARGEST_CLIP = 0.05
"""GSPO's ratio is a mean over tokens; its published clip is 3e-4 and 4e-4."""


def one_update_and_a_clip(view: ConfigView) -> Iterator[Fault]:
    """A clip is set, but a step takes one update: every ratio is 1."""
    given = [name for name in ("clip_low", "clip_high", "clip") if view.given(name)]
    if view.number("updates_per_step") == 1 and given and view.value("uses_sampler_logprobs") is not True:
        reason = "one update per step: the policy is still the one that sampled, every ratio is 1, and no clip can bind"
        yield Fault(given[0], reason, _more_updates(view))


def _more_updates(view: ConfigView) -> str:
    if view.tool == "verl":
        size = view.number("problems_per_step") or 1024
        return view.paste("problems_per_update", max(1, int(size) // 4))
    if view.tool == "trl":
        return view.paste("updates_per_step", 4 * int(view.own("gradient_accumulation_steps") or 1))
    return view.paste("updates_per_step", 4)


def clip_cannot_bind(view: ConfigView) -> Iterator[Fault]:
    """A bound outside what the ratio, or prime-rl's difference of probabilities, can reach."""
    for name in ("clip_low", "clip_high"):
        bound, limited = view.number(name), name == "clip_low" or view.tool == "prime-rl"
        cispo = view.value("loss") == "cispo"  # published without a lower bound
        if bound is not None and bound >= 1.0 and limited and not cispo and view.given(name):
            what = "a difference of probabilities is below 1" if view.tool == "prime-rl" else "a ratio is above 0"
            yield Fault(name, f"the bound {bound:g} cannot bind: {what}", view.paste(name, 0.2))


def clip_of_unused_side(view: ConfigView) -> Iterator[Fault]:
    """A bound of the side that a method with one sign of advantage never reaches."""
    side = {"nsr": "clip_high", "psr": "clip_low"}.get(str(view.value("method")))
    if side and view.given(side) and view.value("loss") in {"clipped", "vanilla"}:
        sign = "negative" if side == "clip_high" else "positive"
        other = "clip_low" if side == "clip_high" else "clip_high"
        reason = f"{view.value('method')} has {sign} advantages alone, where this bound never binds: give the other"
        yield Fault(side, reason, view.paste(other, view.number(side) or 0.2))


def inverted_clip(view: ConfigView) -> Iterator[Fault]:
    """NGRPO's clip with the wider bound below."""
    low, high = view.number("clip_low"), view.number("clip_high")
    if view.value("method") in {"ngrpo", "dapo"} and low is not None and high is not None and low > high:
        reason = (
            f"the bound below ({low:g}) is wider than that above ({high:g}): wrong answers move further than right ones"
        )
        yield Fault("clip_low", reason, f"{view.paste('clip_low', 0.16)} {view.paste('clip_high', 0.24)}")


def clip_ratio_ignored(view: ConfigView) -> Iterator[Fault]:
    """verl: `clip_ratio` alone changes nothing, for the bounds by side have defaults of their own."""
    clip = view.number("clip")
    unset = not view.given("clip_low") and not view.given("clip_high")
    if view.given("clip") and clip not in {None, 0.2} and unset:
        reason = "clip_ratio_low and clip_ratio_high are 0.2 by default and come first: clip_ratio is ignored"
        yield Fault("clip", reason, f"{view.paste('clip_low', clip)} {view.paste('clip_high', clip)}")


def dual_clip(view: ConfigView) -> Iterator[Fault]:
    """A second bound on large ratios of negative advantages; 10 and more is rarely reached and meant as a guard."""
    bound = view.number("dual_clip")
    limit = 1000.0 if view.value("method") in LEARN_FROM_ALL_WRONG else 10.0
    if bound is not None and view.given("dual_clip") and bound < limit and view.value("loss") != "gspo":
        reason = (
            f"dual clip: a wrong answer whose ratio is above {bound:g} gets no gradient, so what became likely stays"
        )
        fix = view.paste("dual_clip", 1e6) if view.tool == "verl" else view.paste("dual_clip", None)
        yield Fault("dual_clip", reason, fix)


def dual_clip_by_default(view: ConfigView) -> Iterator[Fault]:
    """Verl has dual clip on by default."""
    if not view.given("dual_clip") and view.value("loss") == "vanilla":
        reason = "dual clip is on by default: a wrong answer whose ratio is above 3 gets no gradient"
        yield Fault("dual_clip", reason, view.paste("dual_clip", 1e6))


def wide_sequence_clip(view: ConfigView) -> Iterator[Fault]:
    """A token's clip range on the ratio of a whole completion."""
    sequence = view.value("ratio_level") == "sequence" or view.value("loss") == "gspo"
    high = view.number("clip_high")
    if sequence and high is not None and high > GSPO_LARGEST_CLIP:
        reason = f"the ratio of a completion is a geometric mean over its tokens: a bound of {high:g} never binds"
        yield Fault("clip_high", reason, f"{view.paste('clip_low', 3e-4)} {view.paste('clip_high', 4e-4)}")


def narrow_cispo_cap(view: ConfigView) -> Iterator[Fault]:
    """TRL: with CISPO epsilon_high is the cap itself, not its distance from 1."""
    high = view.number("clip_high")
    if view.value("loss") == "cispo" and high is not None and high <= 1.0:
        reason = f"with loss_type cispo epsilon_high caps the ratio itself: at {high:g} every weight is the cap"
        yield Fault("clip_high", reason, view.paste("clip_high", 5.0))


def kl_weight_without_kl(view: ConfigView) -> Iterator[Fault]:
    """verl: a weight is set, its switch is off."""
    pairs = (("kl_weight", "uses_kl"), ("kl_reward_weight", "uses_kl_in_reward"))
    for weight, switch in pairs:
        if view.given(weight) and view.number(weight) and view.value(switch) is False:
            reason = f"this weight has no effect: {view.settings[switch].key} is false"
            yield Fault(weight, reason, view.paste(weight, 0.0))


def estimator_without_kl(view: ConfigView) -> Iterator[Fault]:
    """An estimator of the KL, or a moving reference, where the KL has no weight."""
    for name in ("kl_estimator", "sync_reference"):
        if view.given(name) and view.value(name) and view.number("kl_coefficient") == 0.0:
            reason = "this setting has no effect: the KL's weight is 0 and no reference model is loaded"
            yield Fault(name, reason, view.paste("kl_coefficient", 0.001))


def two_kl_terms(view: ConfigView) -> Iterator[Fault]:
    """The KL is in the reward and in the loss."""
    if (view.number("kl_coefficient") or 0) > 0 and (view.number("kl_in_reward") or 0) > 0:
        reason = "the KL to the starting model counts twice: in the reward and in the loss"
        fix = view.paste("uses_kl_in_reward", value=False) if view.tool == "verl" else view.paste("kl_coefficient", 0.0)
        yield Fault("kl_in_reward", reason, fix)


PPO, TRL, VERL = (
    "https://arxiv.org/abs/1707.06347",
    "https://huggingface.co/docs/trl/grpo_trainer",
    "verl/trainer/ppo/core_algos.py",
)
DUAL = "https://arxiv.org/abs/1912.09729"

ALL: tuple[Rule, ...] = (
    Rule("one-update-and-a-clip", one_update_and_a_clip, "warning", PPO, ("ngrpo", "trl", "verl")),
    Rule("clip-cannot-bind", clip_cannot_bind, "warning", PPO, ("ngrpo", "trl", "verl", "prime-rl")),
    Rule("clip-of-unused-side", clip_of_unused_side, "warning", "https://arxiv.org/abs/2506.01347", ("ngrpo", "verl")),
    Rule("inverted-clip", inverted_clip, "warning", "https://arxiv.org/abs/2509.18851", ("ngrpo", "trl", "verl")),
    Rule("clip-ratio-ignored", clip_ratio_ignored, "warning", VERL, ("verl",)),
    Rule("dual-clip", dual_clip, "warning", DUAL, ("trl", "verl")),
    Rule("dual-clip-by-default", dual_clip_by_default, "note", DUAL, ("verl",)),
    Rule(
        "wide-sequence-clip",
        wide_sequence_clip,
        "warning",
        "https://arxiv.org/abs/2507.18071",
        ("ngrpo", "trl", "verl"),
    ),
    Rule("narrow-cispo-cap", narrow_cispo_cap, "warning", TRL, ("trl",)),
    Rule("kl-weight-without-kl", kl_weight_without_kl, "note", VERL, ("verl",)),
    Rule("estimator-without-kl", estimator_without_kl, "warning", TRL, ("ngrpo", "trl")),
    Rule("two-kl-terms", two_kl_terms, "warning", "https://arxiv.org/abs/2402.03300", ("ngrpo", "verl")),
)
