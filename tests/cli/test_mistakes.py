"""Typical mistakes, each with one line that helps: what was wanted, or what to write instead."""

from __future__ import annotations

import shlex

import pytest

JOB = "--model gpt3-13b --gpus 16 --global-batch 64"
STEP = f"simulate dgx-h100 {JOB}"
MISTAKES = [
    ("", "which command? Begin with 'rackmodel simulate gb200-nvl72"),
    ("simulte dgx-h100", "Did you mean 'simulate'?"),
    ("help", "see 'rackmodel --help'"),
    ("--verison", "--version"),
    # names
    (f"simulate nvl72 {JOB}", "did you mean 'gb200-nvl72'?"),
    (f"simulate h100 {JOB}", "did you mean 'dgx-h100'?"),
    (f"simulate GB200_NVL72 {JOB}", "did you mean 'gb200-nvl72'?"),
    (f"compare dgx-h100 dgx-b20 {JOB}", "did you mean 'dgx-b200'?"),
    ("simulate dgx-h100 --model lama3-70b --gpus 8 --global-batch 8", "'llama3-70b'?"),
    ("show H100", "did you mean 'h100'?"),
    (f"{STEP} --schedule 1F1B", "did you mean '1f1b'?"),
    (f"{STEP} --precision FP8", "did you mean 'fp8'?"),
    (f"{STEP} --sharding zero-3", "did you mean 'zero3'?"),
    ("collective dgx-h100 --op allreduce --gpus 8 --bytes 1GB", "did you mean 'all-reduce'?"),
    ("list machines", "did you mean 'topologies'?"),
    ("list gpus", "did you mean 'accelerators'?"),
    ("list model", "did you mean 'models'?"),
    ("claims --only nosuch", "known: "),
    # files
    (f"simulate mine.toml {JOB}", "mine.toml: no such file"),
    (f"simulate dgx-h100.toml {JOB}", "'dgx-h100', without .toml"),
    (f"simulate dgx-h100 --from mine.sh {JOB}", "--from: mine.sh: no such file"),
    ("validate mine.csv", "mine.csv: no such file"),
    (f"{STEP} --out nodir/x.json", "nodir/x.json: no such directory"),
    (f"{STEP} --plot step.jpg", ".png, .svg, .pdf"),
    (f"{STEP} --trace step.txt", ".json.gz or .et"),
    ("report --out report.pdf", ".html"),
    # missing, misspelt and idle words
    ("simulate dgx-h100 --model gpt3-13b --gpus 16", "--global-batch: missing"),
    (f"simulate {JOB}", "Missing argument 'TOPOLOGY'"),
    (f"simulate dgx-h100 {JOB} --batch 64", "--global-batch"),
    (f"simulate dgx-h100 {JOB} --global_batch 64", "--global-batch"),
    (f"{STEP} --json --csv", "give one"),
    (f"search dgx-h100 {JOB} --default-plan", "no use for it"),
    (f"{STEP} --tp 2 --plan tp=4", "tp is given twice"),
    (f"{STEP} --plan overlap=true", "'dp_overlap'?"),
    (f"domains {JOB} --isl 100", "needs --serve"),
    # units and numbers
    ("goodput dgx-h100 --gpus 16 --days 54 --repair 4", "4h"),
    (f"{STEP} --power-cap 5kWh", "an energy"),
    (f"{STEP} --set accelerators.h100.hbm_bytes_per_s='10 TB'", "'900 GB/s'"),
    (f"{STEP} --set links.ib-ndr.bytes_per_s=400", "has no unit"),
    (f"{STEP} --set accelerators.h100.hbm_bytes=80", "give its unit: '80 GB'"),
    ("new topology mine.toml", "--out mine.toml"),
    ("study --out runs --only domian", "did you mean 'domain'"),
    ("study --out runs --quick --only nics", "one of the two"),
    (f"heat dgx-h100 {JOB} --smooth ramp=20kW", "20kW/s"),
    ("simulate dgx-h100 --model gpt3-13b --gpus sixteen --global-batch 8", "whole number"),
    ("simulate dgx-h100 --model gpt3-13b --gpus 1.024 --global-batch 8", "whole number"),
    (f"{STEP} --supply-c 300", "between -30 and 60"),
    (f"{STEP} --medium copper", "TIER=MEDIUM"),
    # overrides
    (f"{STEP} --set h100.hbm_bytes=1TB", "write accelerators.h100.hbm_bytes"),
    (f"{STEP} --set accelerators.h100.hbm=1TB", "'hbm_type'?"),
    (f"{STEP} --set topology.fabric.oversub=2", "'oversubscription'?"),
]


def test_there_are_forty():
    assert len(MISTAKES) >= 40


@pytest.mark.parametrize(("words", "helps"), MISTAKES, ids=[words for words, _ in MISTAKES])
def test_one_line_that_helps(fails, words, helps):
    assert helps in fails(2, *shlex.split(words))


@pytest.mark.parametrize(
    "words",
    [
        "simulate dgx-h100 --model gpt3-13b --gpus 12 --global-batch 64 --tp 8",
        "simulate dgx-h100 --model gpt3-175b --gpus 1 --global-batch 8",
        "simulate dgx-h100 --model gpt3-13b --gpus 8 --global-batch 8 --tp 1 --default-plan",
    ],
)
def test_a_job_that_cannot_run_says_what_would(fails, words):
    assert any(word in fails(3, *words.split()) for word in ("more", "change", "would fit"))


def test_a_search_says_that_the_accelerator_lacks_the_precision(fails):
    words = f"simulate dgx-a100-80 {JOB} --precision fp8"
    assert "a100-80 has no fp8 arithmetic" in fails(3, *words.split())
