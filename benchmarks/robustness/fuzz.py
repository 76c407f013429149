"""Commands with something wrong in them: an answer, or one line and exit 2, 3 or 4.

In:  `SEEDS`; a number for each try, from which everything about it follows.
Out: `Tally`: what was tried, what it came to, what broke with the number that shows it again.
Left out: verbs of Python (`verbs`), killed sweeps (`kills`), laws between runs (`laws`).

    python -m benchmarks.robustness.fuzz 0 2000          tries 0 to 1,999
    python -m benchmarks.robustness.fuzz 1234 1235 -v    one of them, with its words and traceback
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import typer

from benchmarks.robustness import verbs
from benchmarks.robustness.seeds import NAMES, SEEDS, Seed
from benchmarks.robustness.values import WORDS, in_text, mutated, scrambled, to_bytes
from rackmodel import units
from rackmodel.cli import app
from rackmodel.cli.app import COMMANDS, full
from rackmodel.hardware import load_catalog
from rackmodel.workload import Job, Plan

HANG_CPU_S = 5.0
STUCK_S = 300.0
LONG = {"report": 40.0, "sensitivity": 40.0, "claims": 40.0}  # many simulations are asked for
LONGEST_LINE = 700
MEMORY_BYTES = 6 << 30
API_SHARE = 0.3
SIGNED = {"c", "1"}  # dimensions whose figures may be below zero: temperatures, plain numbers
#: What a message does to say what to do about it; see `errors`.
REMEDY = re.compile(
    r"did you mean|known: |wanted |expected |has to |must be|must spell|give |write |add |"
    r"use |try |such as|leave |change |mend |remove |needs |at most|at least|above |between|see '|"
    r"instead|keep |save it|divide|--\w|set |lower|raise|free |outside|loosen|ask for|choose |"
    r"is given twice|start |install|shorten|make |rename|have to |name |take |cool |join |check |"
    r"compare |enlarge |run |describe "
)


@dataclass
class Tally:
    """What tries came to; `broken` is {what: [number of the first try, how often]}."""

    tries: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    broken: dict[str, list[Any]] = field(default_factory=dict)
    slowest_s: float = 0.0
    cpu_s: float = 0.0

    def add(self, number: int, code: str, cpu_s: float, found: list[str]) -> None:
        """Count one try."""
        self.tries += 1
        self.codes[code] += 1
        self.cpu_s += cpu_s
        self.slowest_s = max(self.slowest_s, cpu_s)
        for what in found:
            self.broken.setdefault(what, [number, 0])[1] += 1

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self) | {"codes": dict(self.codes)}

    @classmethod
    def of(cls, words: Mapping[str, Any]) -> Tally:
        """Return what `to_json` wrote."""
        return cls(**{**words, "codes": Counter(words["codes"])})


class _TooLong(BaseException):
    """A try has used its time."""


@dataclass(frozen=True)
class Try:
    """One command line with its files; a file is bytes, or the word for what stands there."""

    words: tuple[str, ...]
    files: dict[str, bytes | str]


def made(number: int) -> Try:
    """Return the try of a number."""
    dice = random.Random(f"command {number}")
    seed = dice.choices(SEEDS, [one.weight for one in SEEDS])[0]
    words, files = list(seed.words), {n: to_bytes(n, d) for n, d in seed.documents.items()}
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        _spoil(seed, words, files, dice)
    if words[:1] == ["validate"] and "@runs.csv" not in words:
        words.insert(1, "@runs.csv")  # without a file it predicts the 2,008 runs that ship
    return Try(tuple(words), files)


def _spoil(seed: Seed, words: list[str], files: dict[str, Any], dice: random.Random) -> None:
    """Make one thing wrong."""
    how = dice.random()
    if files and how < 0.62:
        name = dice.choice(list(files))
        document = seed.documents[name]
        if isinstance(document, str):  # of another tool: changed as text
            files[name] = in_text(document, dice).encode("utf-8", "surrogatepass")
        else:
            files[name] = to_bytes(name, mutated(document, dice))
    elif files and how < 0.70:
        name = dice.choice(list(files))
        if isinstance(files[name], bytes):
            files[name] = scrambled(files[name], dice)
    elif files and how < 0.72:
        files[dice.choice(list(files))] = dice.choice(["folder", "pipe", "dangling", "missing"])
    elif how < 0.80 and "--model" in words:
        words += ["--plan", f"{dice.choice(_plan_fields())}={dice.choice(WORDS)}"]
    elif how < 0.86 and words[0] in ("simulate", "heat", "collective", "show", "goodput"):
        words += ["--set", f"{dice.choice(_keys())}={dice.choice(WORDS)}"]
    else:
        _spoil_words(words, dice)


def _spoil_words(words: list[str], dice: random.Random) -> None:
    how = dice.random()
    if how < 0.35 and len(words) > 1:
        words[dice.randrange(1, len(words))] = dice.choice([*WORDS, *NAMES])
    elif how < 0.45 and len(words) > 1:
        del words[dice.randrange(1, len(words))]
    elif how < 0.5 and len(words) > 1:
        words.insert(dice.randrange(1, len(words) + 1), dice.choice(WORDS))
    else:
        options = options_of(words[0])
        if options:
            option, example, flag = dice.choice(options)
            good = example if example and dice.random() < 0.4 else dice.choice(WORDS)
            words += [option] if flag else [option, good]


@functools.cache
def options_of(command: str) -> tuple[tuple[str, str, bool], ...]:
    """Return (option, an example of its help, whether it is a flag) of a command."""
    if command not in COMMANDS:
        return ()
    found = []
    for one in full(command).params:
        if one.param_type_name != "option":
            continue
        told = re.search(r"Example: \S+ (\S+)", getattr(one, "help", None) or "")
        flag = bool(getattr(one, "is_flag", False))
        found += [
            (name, told[1] if told else "", flag) for name in (*one.opts, *one.secondary_opts)
        ]
    return tuple(one for one in found if one[0] not in ("--help", "--dask", "--workers"))


@functools.cache
def _plan_fields() -> tuple[str, ...]:
    return tuple(one.name for kind in (Plan, Job) for one in fields(kind))


@functools.cache
def _keys() -> tuple[str, ...]:
    """Return dotted keys of the catalog: those of the machine of most seeds, and a few others."""
    tables = load_catalog().tables
    parts = (
        "h100",
        "dgx-h100",
        "quantum2",
        "connectx-7",
        "ib-ndr",
        "nvlink4",
        "hall",
        "aec",
        "energy",
    )
    near = [
        f"{kind}.{name}.{key}"
        for kind, named in tables.items()
        for name, table in named.items()
        for key in table
        if name in parts
    ]
    return (*near, *(f"topology.{key}" for key in ("host.cpus", "nics.per_host", "shape.nosuch")))


def placed(one: Try, folder: Path) -> list[str]:
    """Write the files of a try; return its words with their places."""
    for name, content in one.files.items():
        path = folder / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content == "folder":
            path.mkdir()
        elif content == "pipe":
            os.mkfifo(path)
        elif content == "dangling":
            path.symlink_to(folder / "nowhere")
    return [word.replace("@", f"{folder}/", 1) if word[:1] == "@" else word for word in one.words]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str
    exception: BaseException | None


@functools.cache
def _command() -> Any:
    return typer.main.get_command(app)


def invoke(words: list[str]) -> Ended:
    """Run a command line in this process."""
    out, told, error, code = io.StringIO(), io.StringIO(), None, 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
        try:
            _command().main(words, prog_name="rackmodel")
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except Exception as bug:  # what breaks is counted, with the number that shows it
            error = bug
    return Ended(code, out.getvalue(), told.getvalue(), error)


def run(one: Try, folder: Path) -> tuple[str, float, list[str], str]:
    """Run a try. Return its exit code, CPU seconds, what is wrong with it, and its traceback."""
    words = placed(one, folder)
    before = {path.name for path in folder.iterdir()}
    begun_s, found, trace = time.process_time(), [], ""
    with (
        warnings.catch_warnings(record=True) as told,
        _limits(LONG.get(words[0] if words else "", HANG_CPU_S)),
    ):
        warnings.simplefilter("always")
        try:
            result = invoke(words)
        except _TooLong:
            cpu_s = time.process_time() - begun_s
            return "hang", cpu_s, [f"hang: {one.words[0]}"], ""
    cpu_s = time.process_time() - begun_s
    error = result.exception
    if error is not None:
        trace = "".join(traceback.format_exception(error))
        return "raised", cpu_s, [signature(error)], trace
    code = result.exit_code
    if code not in (0, 2, 3, 4):
        found.append(f"exit {code}")
    found += [f"warning leaks: {str(one.message)[:60]}" for one in told[:1]]
    found += _of_message(result.stderr, code) if code in (2, 3) else _of_answer(result, words)
    if code in (2, 3):
        stays = {path.name for path in folder.iterdir()} - before
        found += [f"{words[0]} leaves a file" for _ in stays if words[0] not in ("sweep", "design")]
    return str(code), cpu_s, found, trace


class _limits:
    """Stop a try that computes or waits too long."""

    def __init__(self, cpu_s: float = HANG_CPU_S) -> None:
        self.cpu_s = cpu_s

    def __enter__(self) -> None:
        def stop(number: int, frame: object) -> None:
            raise _TooLong

        signal.signal(signal.SIGVTALRM, stop)
        signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_VIRTUAL, self.cpu_s)
        signal.setitimer(signal.ITIMER_REAL, STUCK_S)

    def __exit__(self, *told: object) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def signature(error: BaseException) -> str:
    """Return what was raised and where in rackmodel, to count what is alike once."""
    place = "outside"
    for frame in traceback.extract_tb(error.__traceback__):
        if f"{os.sep}rackmodel{os.sep}" in frame.filename:
            short = frame.filename.rpartition(f"{os.sep}rackmodel{os.sep}")[2]
            place = f"{short} {frame.name}"
    return f"{type(error).__name__} in {place}"


def _of_message(text: str, code: int) -> list[str]:
    """Return what is wrong with how something is refused."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return ["no message"]
    last = lines[-1]
    found = []
    if not last.startswith("rackmodel: "):
        found.append(f"stray line: {last[:60]}")
    if len(lines) > 1 and not all(line.startswith("rackmodel: ") for line in lines):
        found.append(f"several lines: {lines[0][:60]}")
    if len(last) > LONGEST_LINE:
        found.append(f"long line: {last[:60]}")
    if code == 2 and not REMEDY.search(last):
        found.append(f"no remedy: {re.sub(r'[0-9]+', '0', last[-60:])}")
    return found


def _of_answer(result: Any, words: list[str]) -> list[str]:
    """Return what is wrong with an answer: NaN, or figures below zero."""
    if "--json" not in words or result.stdout[:1] != "{":
        return []
    try:
        payload = json.loads(result.stdout, parse_constant=_no_number)
    except ValueError as error:
        return [f"not JSON: {str(error)[:40]}"]
    return sorted(set(odd_figures(payload)))


def _no_number(word: str) -> float:
    raise ValueError(word)


def odd_figures(payload: Any, path: str = "") -> Iterator[str]:
    """Yield the names of figures that can't be: not finite, or negative with a physical unit."""
    if isinstance(payload, Mapping):
        for key, value in payload.items():
            yield from odd_figures(value, f"{path}.{key}" if path else str(key))
    elif isinstance(payload, list):
        for value in payload:
            yield from odd_figures(value, path)
    elif isinstance(payload, int | float) and not isinstance(payload, bool):
        if not abs(payload) <= sys.float_info.max:  # whole numbers of any length too
            yield f"not finite: {path}"
        elif payload < -1e-9 and units.dimension_of(path) not in SIGNED:
            yield f"negative: {path}"


def tries(first: int, last: int, tally: Tally, *, verbose: bool = False) -> Tally:
    """Run the tries of numbers from `first` up to `last`."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, before[1]))
    root = Path(tempfile.mkdtemp(prefix="fuzz", dir=base))
    home = Path.cwd()
    try:
        for number in range(first, last):
            folder = root / str(number)
            folder.mkdir()
            os.chdir(folder)
            if random.Random(f"kind {number}").random() < API_SHARE:
                code, cpu_s, found, trace = verbs.run(number, _limits, signature)
                shown: Any = verbs.made(number)
            else:
                one = made(number)
                code, cpu_s, found, trace = run(one, folder)
                shown = one.words, {n: c[:600] for n, c in one.files.items()}
            tally.add(number, code, cpu_s, found)
            if verbose:
                print(number, code, round(cpu_s, 3), found, shown, trace, sep="\n")
            os.chdir(home)
            shutil.rmtree(folder)
    finally:
        os.chdir(home)
        shutil.rmtree(root, ignore_errors=True)
        resource.setrlimit(resource.RLIMIT_AS, before)
    return tally


def main(words: list[str]) -> int:
    """Run tries given by number; print what is wrong."""
    verbose = "-v" in words
    first, last = (int(word) for word in words if word != "-v")
    tally = tries(first, last, Tally(), verbose=verbose)
    for what, (number, often) in sorted(tally.broken.items(), key=lambda item: -item[1][1]):
        print(f"{often:>5}  {number:>7}  {what}")
    rate = tally.tries / max(tally.cpu_s, 1e-9)
    print(
        f"{tally.tries} tries, {rate:.0f} a CPU s, slowest {tally.slowest_s:.1f} s, {tally.codes}"
    )
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
