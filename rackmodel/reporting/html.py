"""One self-contained page: what was asked, found and assumed, how sure we are, how to repeat it.

In:  a dict: rows (results as `simulate --json` prints them), failures, verdicts, validation,
     assumptions, sources, command, version, hashes. All optional but rows.
Out: HTML that needs no other file and no network.
Left out: simulating; the page holds no date, so that equal input gives equal bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from rackmodel.reporting.assets import CSS, SCRIPT
from rackmodel.reporting.figures import Picture, figures, study_figures
from rackmodel.reporting.summary import ROWS, error_groups, machine_size, per_rack
from rackmodel.reporting.tables import VERDICTS, Column, table
from rackmodel.reporting.words import (
    MISSING,
    known,
    part_name,
    percent,
    plan_choices,
    plan_text,
    three,
    whole,
)

Content = Mapping[str, Any]
MOST_OPEN = 12  # rows of a list that is shown without a click
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
_SECTIONS = (
    ("question", "The question"),
    ("found", "What was found"),
    ("pictures", "Pictures"),
    ("study", "The study: scale-up against scale-out"),
    ("verdicts", "Verdicts on claims"),
    ("sure", "How sure we are"),
    ("assumed", "What was assumed"),
    ("missing", "What this does not model"),
    ("repeat", "How to repeat it"),
)
LEFT_OUT = (
    "Single packets, congestion control ramp-up and lossy links: flows share links max-min fairly.",
    "Jitter: accelerators are alike unless slow, mixed or broken ones are asked for.",
    "Serving (rackmodel serve does), data preparation, storage; checkpoints only in reliability.",
    "Free-cooling hours, water use and the price of land.",
)


def page(content: Content) -> str:
    """Return the page as one string of HTML."""
    bodies = {
        "question": _question(content),
        "found": _found(content),
        "pictures": _figures_block(figures(content), "figure"),
        "study": _study(content),
        "verdicts": _verdicts(content),
        "sure": _sure(content),
        "assumed": _assumed(content),
        "missing": _missing(content),
        "repeat": _repeat(content),
    }
    present = [(key, title) for key, title in _SECTIONS if bodies[key]]
    title = escape(str(content.get("title") or "Scale-up against scale-out"))
    links = "".join(f'<a href="#{key}">{escape(name)}</a>' for key, name in present)
    sections = "".join(
        f'<section id="{key}"><h2>{escape(name)}</h2>\n{bodies[key]}</section>\n'
        for key, name in present
    )
    answer = "".join(f"<p>{escape(line)}</p>" for line in answers(content))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<title>{title}</title>\n<link rel="icon" href="data:,">\n<style>{CSS}</style>\n</head>\n'
        f"<body>\n<header><h1>{title}</h1>\n"
        f'<div class="answer">{answer}</div>\n'
        f'<nav aria-label="Sections">{links}</nav></header>\n<main>\n{sections}</main>\n'
        f"<footer>rackmodel {escape(str(content.get('version') or ''))}: a simulation, not a "
        "measurement. No data leave this page.</footer>\n"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def answers(content: Content) -> Iterator[str]:
    """Yield the sentences that a hurried reader takes away."""
    rows = sorted(content["rows"], key=lambda row: -row["tokens_per_s_per_gpu"])
    first = rows[0]
    yield (
        f"{first['topology']} trains {first['model']} fastest per accelerator: "
        f"{whole(first['tokens_per_s_per_gpu'])} tokens/s, {percent(first['mfu'])} of its dense "
        f"peak; what binds is {part_name(str(first['bound_by']))}."
    )
    for row in rows[1:]:
        plain = first["tokens_per_s_per_gpu"] / row["tokens_per_s_per_gpu"], None, None
        ratio, low, high = (content.get("ratios") or {}).get(row["topology"], plain)
        band = (
            f"{ratio:.2f} times ({low:.2f} to {high:.2f})" if known(low) else f"{ratio:.2f} times"
        )
        told = f"is {band} as fast as {row['topology']}"
        if known(low) and low <= 1:
            told = f"can't be told apart from {row['topology']} in speed, {band} as fast as it"
        yield (
            f"It {told} "
            f"({whole(row['tokens_per_s_per_gpu'])} tokens/s, bound by "
            f"{part_name(str(row['bound_by']))})."
        )
    costs = [row for row in rows if known((row.get("cost") or {}).get("usd_per_mtoken"))]
    if len(costs) > 1:
        best = min(costs, key=lambda row: row["cost"]["usd_per_mtoken"])
        yield (
            f"A million tokens cost least on {best['topology']}: "
            f"${three(best['cost']['usd_per_mtoken'])}."
        )
    for failure in content.get("failures") or ():
        yield f"{failure['topology']} can't run this job: {failure['reason']}"


def _question(content: Content) -> str:
    row = content["rows"][0]
    text = content.get("question") or (
        f"How many tokens per second per accelerator does each machine reach when "
        f"{whole(row['gpus'])} accelerators train {row['model']}, what binds, how much heat "
        f"leaves a rack, and what does a million tokens cost?"
    )
    job = (
        f"A step is {whole(row['global_batch'])} sequences of {whole(row['seq_len'])} tokens in "
        f"{row['precision']}. Every machine runs the best plan that was found for it."
    )
    return f"<p>{escape(str(text))}</p><p>{escape(job)}</p>"


def _found(content: Content) -> str:
    rows = content["rows"]
    names = [f"{row['topology']} {machine_size(row)}".strip() for row in rows]
    columns = [Column("", row_heading=True), *(Column(name) for name in names)]
    lines = []
    for name, text in ROWS:
        cells = [text(row) for row in rows]
        if any(cell != MISSING for cell in cells):
            lines.append([name, *cells])
    plans = [plan_choices(row.get("plan") or {}) for row in rows]
    if any(plans):
        lines.insert(4, ["choices", *plans])
    side = table(
        columns, lines, caption="In brackets: the band for about 80% of real runs.", stack=True
    )
    return side + _numbers(rows)


def _numbers(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return one line per machine to sort by any figure."""
    columns = [
        Column("machine", row_heading=True),
        Column("tokens/s per accelerator", number=True),
        Column("MFU [%]", number=True),
        Column("HFU [%]", number=True),
        Column("step [s]", number=True),
        Column("exposed traffic and bubble [%]", number=True),
        Column("HBM used [%]", number=True),
        Column("heat per rack [kW]", number=True),
        Column("J per token", number=True),
        Column("$ per Mtoken", number=True),
        Column("tokens/s per MW", number=True),
        Column("plan"),
    ]
    lines = [[row["topology"], *_figures(row), plan_text(row.get("plan") or {})] for row in rows]
    return "<h3>The same in numbers, to sort</h3>" + table(
        columns, lines, name="numbers", sortable=True, stack=True
    )


def _figures(row: Mapping[str, Any]) -> list[Any]:
    hbm = row.get("hbm") or {}
    parts = row.get("breakdown_s") or {}
    working = sum(parts.get(key, 0.0) for key in ("compute", "optimizer", "recompute", "overhead"))
    heat = per_rack(row, "heat_w")
    used = sum((hbm.get("used_bytes") or {}).values())
    capacity = hbm.get("capacity_bytes")
    return [
        row["tokens_per_s_per_gpu"],
        100 * row["mfu"],
        100 * row["hfu"] if known(row.get("hfu")) else None,
        row["step_s"],
        100 * (1 - working / row["step_s"]) if parts else None,
        100 * used / capacity if capacity else None,
        heat / 1e3 if heat is not None else None,
        row.get("energy_j_per_token"),
        (row.get("cost") or {}).get("usd_per_mtoken"),
        (row.get("power") or {}).get("tokens_per_s_per_mw"),
    ]


def _figures_block(pictures: Iterable[Picture], name: str) -> str:
    blocks = []
    for index, (title, drawing, caption) in enumerate(pictures):
        labelled = drawing.replace("<svg ", f'<svg aria-label="{escape(title)}" ', 1)
        blocks.append(
            f'<figure id="{name}-{index + 1}">{labelled}'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    return f'<div class="figures">{"".join(blocks)}</div>'


def _study(content: Content) -> str:
    study = content.get("study")
    if not study:
        return ""
    text = (
        "<p>The same GB200 accelerators, one thing varied at a time, every point with the best of "
        "all plans within stated bounds (tensor parallelism to 16, pipelines to 32, any expert "
        "and context parallelism, micro-batches of one sequence), found in closed form and then "
        f"simulated: {whole(study['points'])} points. In brackets: the "
        "band if exposed communication is 30% less or more than simulated; errors of kernels "
        "cancel, for the accelerators are the same.</p>"
    )
    blocks = []
    for answer in study["answers"]:
        lines = "".join(f"<li>{escape(sentence)}</li>" for sentence in answer["sentences"])
        blocks.append(
            f"<h3>{escape(answer['question'])}</h3><ul>{lines}</ul>"
            f"<details><summary>All {len(answer['rows'])} rows</summary>"
            f"{_rows_table(answer['rows'], 'study-' + answer['name'])}</details>"
        )
    return text + "".join(blocks) + _figures_block(study_figures(content), "study-figure")


def _rows_table(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    """Return a table to sort and filter of rows that share their keys; numbers as such."""
    heads = list(rows[0])
    columns = {
        head: Column(
            head,
            number=all(isinstance(row[head], int | float) for row in rows),
            row_heading=head == heads[0],
        )
        for head in heads
    }
    return _keyed_table(rows, columns, name)


def _keyed_table(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Column], name: str
) -> str:
    """Return a table to sort and filter; columns : {key of a row: its column}."""
    lines = [[row.get(key) for key in columns] for row in rows]
    return table(
        list(columns.values()), lines, name=name, sortable=True, filterable=True, stack=True
    )


_VERDICT_COLUMNS = {
    "id": Column("claim", row_heading=True),
    "claim": Column("what was claimed"),
    "verdict": Column("verdict"),
    "value": Column("found", number=True),
    "low": Column("low", number=True),
    "high": Column("high", number=True),
    "unit": Column("unit"),
    "words": Column("what we found, in words"),
    "command": Column("command"),
}


def _verdicts(content: Content) -> str:
    verdicts = content.get("verdicts")
    if not verdicts:
        return (
            "<p>Not part of this page. <code>rackmodel claims --json --out claims.json</code>, "
            "then <code>rackmodel report --claims claims.json ...</code> adds them.</p>"
        )
    counts = [sum(row.get("verdict") == word for row in verdicts) for word in VERDICTS]
    said = ", ".join(f"{n} {word}" for n, word in zip(counts, VERDICTS, strict=True))
    return (
        f"<p>{len(verdicts)} claims: {said}. A claimed number is supported if ours lies within it "
        "(a single number: if it lies within our band), only consistent where our band is wider "
        "than a quarter to either side, refuted if our band does not touch it; "
        "otherwise it depends, and the words say on what.</p>"
        + _keyed_table(verdicts, _VERDICT_COLUMNS, "claims")
    )


def _sure(content: Content) -> str:
    text = (
        "<p>Every step time comes with the band that about 80% of real runs of that kind fall "
        "into. In ratios of machines with the same accelerator, format and software errors of "
        "kernels are common to both and cancel: exposed communication may be 30% more or less in "
        "both. Other ratios carry the bands of both, as independent ones. Machines whose band "
        "holds 1 can't be told apart.</p>"
    )
    validation = content.get("validation")
    if not validation:
        return text + (
            "<p>The error on published runs is not part of this page. "
            "<code>rackmodel report --validation FILE.csv ...</code> adds it.</p>"
        )
    numbers = (
        "runs",
        "mean error [%]",
        "median [%]",
        "p90 [%]",
        "bias [%]",
        "in band [%]",
        "failed",
    )
    columns = [Column("group", row_heading=True), *(Column(name, number=True) for name in numbers)]
    lines = []
    for name, group in error_groups(validation.get("summary") or {}):
        shares = [group.get(key) for key in ("mape", "median", "p90", "bias", "inside_band")]
        cells = [100 * share if known(share) else None for share in shares]
        lines.append([name, group.get("rows"), *cells, group.get("failures")])
    return text + table(
        columns,
        lines,
        name="errors",
        sortable=True,
        filterable=True,
        caption="Predicted against published steps; error = (predicted - measured) / measured.",
    )


def _assumed(content: Content) -> str:
    rows = content.get("assumptions") or ()
    if not rows:
        return ""
    columns = {
        "of": Column("of", row_heading=True),
        "field": Column("what"),
        **{name: Column(name) for name in ("value", "grade", "source", "note")},
    }
    sources = content.get("sources") or {}
    listed = "".join(
        f"<li><b>{escape(key)}</b>: {linked(text)}</li>" for key, text in sources.items()
    )
    return (
        "<p>Grades: datasheet, measured, derived, assumed. Peaks are dense, bandwidths one "
        "direction, prefixes decimal.</p>"
        + _folded(f"All {len(rows)} values", _keyed_table(rows, columns, "assumptions"), len(rows))
        + (_folded(f"{len(sources)} sources", f"<ul>{listed}</ul>", len(sources)) if listed else "")
    )


def _folded(what: str, text: str, rows: int) -> str:
    """Return what is opened by a click where it is long."""
    if rows <= MOST_OPEN:
        return text
    return f"<details><summary>{escape(what)}</summary>{text}</details>"


def linked(text: str) -> str:
    """Return a text as HTML, its addresses and repositories of GitHub as links.

    >>> linked("<a> https://example.org/x, y")
    '&lt;a&gt; <a href="https://example.org/x">https://example.org/x</a>, y'
    """
    text = re.sub(r"(https?://[^\s,;)&]+)", r'<a href="\1">\1</a>', escape(text))
    return re.sub(
        r"github ([\w.-]+/[\w.-]+)@([0-9a-f]{40})",
        r'<a href="https://github.com/\1/tree/\2">github \1</a>',
        text,
    )


def _missing(content: Content) -> str:
    lines = [*LEFT_OUT, *(content.get("left_out") or ())]
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _unbroken(command: str) -> str:
    """Return a command that a narrow page breaks between words and not after a hyphen."""
    return " ".join(f'<span class="word">{escape(word)}</span>' for word in command.split(" "))


def _repeat(content: Content) -> str:
    command = content.get("command")
    text = f"<pre>{_unbroken(str(command))}</pre>" if command else ""
    facts = [("rackmodel", content.get("version")), *(content.get("hashes") or {}).items()]
    cells = "".join(
        f"<tr><th scope=row>{escape(str(name))}</th><td><code>{escape(str(value))}</code></td></tr>"
        for name, value in facts
        if value
    )
    effort = [row["simulation"] for row in content["rows"] if row.get("simulation")]
    if effort:
        ranks = sum(work.get("ranks") or 0 for work in effort)
        events = sum(work.get("events") or 0 for work in effort)
        text += f"<p>{whole(ranks)} ranks were simulated with {whole(events)} events.</p>"
    return text + f'<div class="table"><table><tbody>{cells}</tbody></table></div>'
