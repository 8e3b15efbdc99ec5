"""Data sets of the Hugging Face hub by a short name: where each is published, and its columns there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ngrpo.tasks.problem_columns import RECOGNISED, Columns


@dataclass(frozen=True, slots=True)
class HubSource:
    """Where a data set is published.

    `train` and `test` are (hub id, split there), None for one that it does not have. `kept` are the columns that are
    read, empty for all: worked solutions of a language model can be many gigabytes. `distinct` is the column that tells
    repeated rows, `several` the one whose lists of answers are one answer, and `instructed` is true where the questions
    already ask for a form of the answer.
    """

    train: tuple[str, str] | None
    test: tuple[str, str] | None
    subset: str | None = None
    columns: Columns = RECOGNISED
    kept: tuple[str, ...] = ()
    distinct: str = ""
    several: str = ""
    instructed: bool = False


def _training(
    dataset: str, question: str, reference: str, *further: str, id: str = "#", subset: str | None = None
) -> HubSource:
    kept = (question, reference, *further)
    return HubSource((dataset, "train"), None, subset, Columns(question, reference, id), kept)


def _math_arena(competition: str) -> HubSource:
    columns = Columns("problem", "answer", "problem_idx")
    return HubSource(None, (f"MathArena/{competition}", "train"), columns=columns)


HUB: Mapping[str, HubSource] = {
    "math": HubSource(("DigitalLearningGmbH/MATH-lighteval", "train"), ("DigitalLearningGmbH/MATH-lighteval", "test")),
    "gsm8k": HubSource(("openai/gsm8k", "train"), ("openai/gsm8k", "test"), "main", Columns("question", "answer")),
    "dapo-math-17k": HubSource(
        ("BytedTsinghua-SIA/DAPO-Math-17k", "train"),
        None,
        columns=Columns("prompt", "reward_model.ground_truth", "extra_info.index"),
        kept=("prompt", "reward_model", "extra_info", "data_source"),
        distinct="extra_info.index",
        instructed=True,
    ),
    "deepscaler": _training("agentica-org/DeepScaleR-Preview-Dataset", "problem", "answer"),
    "big-math": _training(
        "SynthLabsAI/Big-Math-RL-Verified", "problem", "answer", "source", "domain", "llama8b_solve_rate"
    ),
    "polaris-53k": _training("POLARIS-Project/Polaris-Dataset-53K", "problem", "answer", "difficulty"),
    "deepmath-103k": _training("zwhe99/DeepMath-103K", "question", "final_answer", "difficulty", "topic"),
    "openr1-math": _training(
        "open-r1/OpenR1-Math-220k", "problem", "answer", "problem_type", "question_type", "source", subset="default"
    ),
    "math500": HubSource(None, ("HuggingFaceH4/MATH-500", "test")),
    "amc23": HubSource(None, ("math-ai/amc23", "test")),
    "aime2024": HubSource(None, ("HuggingFaceH4/aime_2024", "train"), columns=Columns("problem", "answer", "id")),
    "aime2025": HubSource(None, ("math-ai/aime25", "test")),
    "aime2026": _math_arena("aime_2026"),
    "hmmt-feb-2025": _math_arena("hmmt_feb_2025"),
    "hmmt-feb-2026": _math_arena("hmmt_feb_2026"),
    "brumo2025": _math_arena("brumo_2025"),
    "minerva": HubSource(None, ("math-ai/minervamath", "test"), columns=Columns("question", "answer")),
    "olympiadbench": HubSource(
        None,
        ("Hothan/OlympiadBench", "train"),
        "OE_TO_maths_en_COMP",
        Columns("question", "final_answer", "id"),
        ("id", "question", "final_answer", "subfield"),
        several="final_answer",
    ),
}
"""A new data set is one line here."""
