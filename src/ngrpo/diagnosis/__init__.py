"""What a finished or running RL training shows in its logs: ours, verl's, TRL's, prime-rl's, or a table.

    log_rows.py        `Log`: rows of completions and metrics of steps, the same for every kind of log
    log_files.py       a file or run folder -> `Log`, by what its rows hold
    *_log.py           readers, one per kind
    findings_*.py      findings: small functions of a `Log`
    cures.py           what to paste, in each tool's own key

Nothing here imports torch before a log with groups is diagnosed.
"""

from ngrpo.diagnosis.diagnose_log import diagnose
from ngrpo.diagnosis.finding import Diagnosis, Found
from ngrpo.diagnosis.log_files import read_log

__all__ = ["Diagnosis", "Found", "diagnose", "read_log"]
