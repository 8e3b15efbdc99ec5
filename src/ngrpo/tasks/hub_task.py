"""Problems from any data set of the Hugging Face hub, or a local folder that the `datasets` library loads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import field_validator

from ngrpo.choices import Split
from ngrpo.tasks.math import TableTask
from ngrpo.tasks.problem_columns import Columns
from ngrpo.tasks.table_rows import read_hub_rows
from ngrpo.types import Problem


class HubTask(TableTask):
    """`hub:OWNER/NAME[:SPLIT]`: a question and a reference per row; columns are recognised or named.

    SPLIT is read for training and testing alike; without it the splits are `train` and `test`. A local folder in the
    place of OWNER/NAME works too: a clone of a hub data set, or a folder of JSON lines, CSV or parquet files.
    """

    argument: ClassVar[str] = "OWNER/NAME[:SPLIT]"
    label: ClassVar[str] = "problems from the hub"

    subset: str = ""
    """Name of the data set's subset (configuration) on the hub, such as `main`; empty: its default."""
    test: str = ""
    """Split of the test problems; empty: SPLIT, or `test` where none is given."""
    question: str = ""
    """Column of the questions, text or chat messages (a dot reaches into tables); empty: recognised."""
    reference: str = ""
    """Column of the reference answers, such as `reward_model.ground_truth`; empty: recognised."""
    id: str = ""
    """Column of unique ids; empty: recognised, or rows are numbered from 0 if there is none; `#`: rows are numbered."""

    @field_validator("name")
    @classmethod
    def _has_a_data_set(cls, name: str) -> str:
        dataset, colon, split = name.removeprefix("hub:").partition(":")
        if not name.startswith("hub:") or not dataset or (colon and not split) or ":" in split:
            raise ValueError("must be hub:OWNER/NAME or hub:OWNER/NAME:SPLIT")
        return name

    @property
    def slug(self) -> str:
        """The data set's name, with its split if one is given, as a file name: `open-r1_OpenR1-Math-220k`."""
        spec = self.name.removeprefix("hub:")
        kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in spec)
        return kept.strip("._")[-100:] or "hub"

    def load_problems(self, split: Split) -> Sequence[Problem]:
        """Returns one problem per row, in the order of the data set.

        Raises:
            DataError: when the data set cannot be loaded, has no such split, or is not in a form that is understood.
        """
        dataset, _, named = self.name.removeprefix("hub:").partition(":")
        wanted = named or split
        if split == "test" and self.test:
            wanted = self.test
        rows = read_hub_rows(
            dataset, wanted, instead="a local file can be given as file:PATH", subset=self.subset or None
        )
        return self._problems_of(rows, f"{dataset} ({wanted})", Columns(self.question, self.reference, self.id))
