"""Warnings that verl and its queue repeat for each completion, once per process.

Named by VERL_USE_EXTERNAL_MODULES, so that every process of a run that imports verl loads it.
"""

from __future__ import annotations

import logging

REPEATED = ("verl.utils.tokenizer.continuous_token_wiring", "transfer_queue.utils.common")
"""Loggers whose warnings name the model type or the machine, and so are the same each time."""


class FirstOfEach(logging.Filter):
    """Passes each text once.

    >>> once = FirstOfEach()
    >>> record = logging.makeLogRecord({"msg": "slow %s", "args": ("disk",)})
    >>> once.filter(record), once.filter(record)
    (True, False)
    """

    def __init__(self) -> None:
        super().__init__()
        self._passed: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns whether a record's text has not been logged before."""
        text = record.getMessage()
        if text in self._passed:
            return False
        self._passed.add(text)
        return True


for _name in REPEATED:
    logging.getLogger(_name).addFilter(FirstOfEach())
