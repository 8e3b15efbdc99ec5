"""Runs TRL's own tests of its GRPO trainer twice, with TRL's classes and with ours, and compares.

    python scripts/trl_own_tests.py                                      fetches the tests of the installed TRL
    python scripts/trl_own_tests.py --tests DIR                          takes them from a copy of TRL's repository
    python scripts/trl_own_tests.py --method ngrpo --method-args '{"max_reward": 100}'

`GRPOTrainer` and `GRPOConfig` are replaced by `NGRPOTrainer` and `NGRPOConfig`, the hub's tiny models by random ones
made here (`trl_tiny_models.py`). A test that TRL's classes pass and ours do not is a refused option where the failure
is a ConfigError of ours, else a difference. Needs trl, peft and pytest, and some minutes for each of the two.

Exit status: 0 without a difference, 1 with one, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import NamedTuple

FILES = ("__init__.py", "conftest.py", "testing_utils.py", "test_grpo_trainer.py")
SOURCE = "https://raw.githubusercontent.com/huggingface/trl/v{version}/tests/{name}"

PLUGIN = """
import json, os
import torch, trl
from ngrpo.adapters.trl import NGRPOConfig, NGRPOTrainer
from trl.trainer.base_config import _BaseConfig

SETTINGS = json.loads(os.environ["TRL_OWN_TESTS"])
resolve = _BaseConfig.__post_init__

def in_float32(self):
    if self.bf16 is None and not torch.cuda.is_available():
        self.bf16 = False  # TRL's default is slow on a CPU
    resolve(self)

_BaseConfig.__post_init__ = in_float32

class Config(NGRPOConfig):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{**SETTINGS, **kwargs})

if SETTINGS:
    trl.GRPOTrainer, trl.GRPOConfig = NGRPOTrainer, Config
"""


class Outcome(NamedTuple):
    """What became of a test: `passed`, `skipped` or `failed`, and the first line of the reason."""

    result: str
    reason: str


def main() -> int:
    """Runs both, prints the comparison and returns the exit status."""
    given = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        work = given.keep or Path(folder)
        _prepare(work, given.tests)
        settings = {"method": given.method, "updates_per_generation": 1, "method_args": json.loads(given.method_args)}
        theirs = _outcomes(work, "theirs") if given.reuse else _run(work, "theirs", given.select, {})
        ours = _run(work, "ours", given.select, settings)
    if theirs.keys() != ours.keys():
        sys.exit(f"the runs collected {len(theirs)} and {len(ours)} tests; see their output above")
    return print_comparison(theirs, ours, settings)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tests", type=Path, help="folder with TRL's tests (default: fetched from GitHub)")
    parser.add_argument("--method", default="grpo", help="our method in place of TRL's GRPO")
    parser.add_argument("--method-args", default="{}", help="its settings, as JSON")
    parser.add_argument("--select", default="", help="pytest's -k: only tests of these names")
    parser.add_argument("--keep", type=Path, help="folder for models, tests and logs (default: a temporary one)")
    parser.add_argument("--reuse", action="store_true", help="take the results of TRL's classes from --keep")
    given = parser.parse_args()
    if given.reuse and (given.keep is None or not (given.keep / "theirs.xml").exists()):
        parser.error("--reuse needs --keep with the results of an earlier run")
    return given


def _prepare(work: Path, tests: Path | None) -> None:
    """Puts tests, models, data and the plugin into the folder where pytest starts."""
    (work / "tests").mkdir(parents=True, exist_ok=True)
    texts = {name: _test_file(name, tests).decode() for name in FILES}
    import trl_tiny_models

    for name, text in texts.items():
        (work / "tests" / name).write_text(trl_tiny_models.with_short_numbers(text))
    (work / "classes_in_test.py").write_text(PLUGIN)
    if not (work / trl_tiny_models.OWNER / "zen" / "README.md").exists():
        trl_tiny_models.write_models(work)
        trl_tiny_models.write_data(work)


def _test_file(name: str, tests: Path | None) -> bytes:
    if tests is not None:
        path = tests / name
        if not path.is_file() and name != "__init__.py":
            print(f"--tests is {tests}, which has no {name}; allowed is the folder tests of TRL", file=sys.stderr)
            raise SystemExit(2)
        return path.read_bytes() if path.is_file() else b""
    url = SOURCE.format(version=importlib.metadata.version("trl"), name=name)
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - https, of a constant
            return bytes(answer.read())
    except (urllib.error.URLError, TimeoutError) as error:
        print(f"{url} cannot be fetched: {error}; --tests takes a local copy", file=sys.stderr)
        raise SystemExit(2) from None


def _run(work: Path, name: str, select: str, settings: dict[str, object]) -> dict[str, Outcome]:
    """Runs the tests in the folder, with our classes where there are settings; hub names are folders there."""
    report = work / f"{name}.xml"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests/test_grpo_trainer.py",
        "-q",
        f"--junitxml={report}",
        "-W",
        "default",
    ]
    command += [
        *("-p", "classes_in_test"),
        *(["-k", select] if select else []),
        "--rootdir=.",
        "-c",
        os.devnull,
    ]
    here = str(Path(__file__).resolve().parents[1] / "src")
    path = os.pathsep.join([here, str(work), *filter(None, [os.environ.get("PYTHONPATH")])])
    offline = {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "PYTHONPATH": path}
    alone = {"TOKENIZERS_PARALLELISM": "false"}  # forked data loader workers hang where a tokenizer has started threads
    env = {**os.environ, **offline, **alone, "TRL_OWN_TESTS": json.dumps(settings)}
    print(f"{name}: {work / f'{name}.log'}", flush=True)
    with (work / f"{name}.log").open("wb") as log:
        subprocess.run(command, cwd=work, env=env, stdout=log, stderr=log, check=False)
    return _outcomes(work, name)


def _outcomes(work: Path, name: str) -> dict[str, Outcome]:
    """Reads pytest's report; ends with what pytest printed where no test ran."""
    report = work / f"{name}.xml"
    cases = list(ET.parse(report).iter("testcase")) if report.exists() else []  # noqa: S314 - of pytest's
    if not any(case.find("error") is None for case in cases):
        sys.exit((work / f"{name}.log").read_text()[-3000:] + f"\nno test of {work / 'tests'} ran")
    return {f"{case.get('classname')}::{case.get('name')}": _outcome(case) for case in cases}


def _outcome(case: ET.Element) -> Outcome:
    for tag, result in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        found = case.find(tag)
        if found is not None:
            return Outcome(result, (found.get("message") or "").strip().splitlines()[0][:300])
    return Outcome("passed", "")


def refused_option(reason: str) -> str | None:
    """Returns the option that a ConfigError of ours is about, None for every other failure.

    >>> refused_option("ngrpo.errors.ConfigError: loss_type is 'sapo'; allowed with our methods are 'dapo'")
    'loss_type'
    >>> refused_option("ngrpo.errors.ConfigError: a reward is 1.5, above max_reward = 1, but method 'ngrpo' needs")
    'max_reward'
    >>> print(refused_option("AssertionError: assert 1 == 2"))
    None
    >>> print(refused_option("ngrpo.errors.ConfigError: TRL 2 does not fit: GRPOTrainer has no _step"))
    None
    """
    error = re.match(r"ngrpo\.errors\.ConfigError: (.*)", reason)
    if error is None or "does not fit" in reason:
        return None
    option = re.match(r"(\w+) is ", error[1])
    return "max_reward" if "max_reward" in error[1] else option[1] if option else error[1]


def print_comparison(theirs: dict[str, Outcome], ours: dict[str, Outcome], settings: dict[str, object]) -> int:
    """Prints how often both passed, skipped, failed, refused or differed; returns 1 where they differ, else 0."""
    both = [name for name in theirs if theirs[name].result == ours[name].result == "passed"]
    failed = [name for name in theirs if theirs[name].result == "failed"]
    skipped = [name for name in theirs if theirs[name].result == "skipped"]
    refused, differences = {}, []
    for name, outcome in ours.items():
        if theirs[name].result == "passed" and outcome.result != "passed":
            option = refused_option(outcome.reason)
            if option is None:
                differences.append(name)
            else:
                refused[name] = option
    print(f"\n{len(theirs)} tests, ours with {json.dumps(settings)}")
    print(f"{len(both):4} passed by both")
    print(f"{len(skipped):4} skipped")
    others = sum(ours[name].result == "passed" for name in failed)
    print(f"{len(failed):4} failed by TRL's own classes, of which {others} passed by ours:")
    for reason, count in Counter(theirs[name].reason[:110] for name in failed).most_common():
        print(f"     {count:4} {reason}")
    print(f"{len(refused):4} refused options:")
    for option, count in Counter(refused.values()).most_common():
        names = ", ".join(name.partition("::")[2] for name, about in refused.items() if about == option)
        print(f"     {count:4} {option}: {names}")
    print(f"{len(differences):4} differences:")
    for name in differences:
        print(f"          {name}: {ours[name].reason}")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
