"""Problems from a file of one's own, or from a folder of `datasets.Dataset.save_to_disk`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import field_validator

from ngrpo.choices import Split
from ngrpo.tasks.math import TableTask
from ngrpo.tasks.problem_columns import Columns
from ngrpo.tasks.table_rows import read_rows
from ngrpo.types import Problem


class FileTask(TableTask):
    """`file:PATH`: a question and a reference per row; columns are recognised or named.

    PATH is a file (.jsonl, .json, .parquet, .csv, .tsv; the text formats also as .gz), or a folder that
    `save_to_disk` of the `datasets` library wrote: its `train` and `test` splits, or its only one.
    """

    argument: ClassVar[str] = "PATH"
    label: ClassVar[str] = "problems from a file"

    test: str = ""
    """File with the test problems; empty: those of PATH, for training and testing alike."""
    question: str = ""
    """Column of the questions, text or chat messages (a dot reaches into tables); empty: recognised."""
    reference: str = ""
    """Column of the reference answers, such as `reward_model.ground_truth`; empty: recognised."""
    id: str = ""
    """Column of unique ids; empty: recognised, or rows are numbered from 0 if there is none; `#`: rows are numbered."""

    @field_validator("name")
    @classmethod
    def _has_path(cls, name: str) -> str:
        if not name.removeprefix("file:") or not name.startswith("file:"):
            raise ValueError("must be file:PATH")
        return name

    def load_problems(self, split: Split) -> Sequence[Problem]:
        """Returns one problem per row, in the order of the file.

        Raises:
            DataError: when the file is missing, empty or not in a form that is understood.
        """
        path = self.name.removeprefix("file:")
        if split == "test" and self.test:
            path = self.test
        return self._problems_of(read_rows(path, split), path, Columns(self.question, self.reference, self.id))
