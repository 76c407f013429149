"""The style sheet and the script of the report page, as text: the page loads nothing.

In:  nothing.
Out: `CSS` and `SCRIPT`.
Left out: the content of the page (`html`).
"""

from __future__ import annotations

CSS = """
:root { --ink:#1b1f24; --quiet:#5b6470; --line:#d9dde2; --soft:#f4f6f8; --accent:#1f4e79;
  --good:#1d6b4f; --bad:#9c2f22; --mixed:#7a5b00; }
* { box-sizing:border-box; }
html { -webkit-text-size-adjust:100%; scroll-behavior:smooth; }
body { margin:0; color:var(--ink); background:#fff; line-height:1.5;
  font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif; }
main, header, footer { max-width:1180px; margin:0 auto; padding:0 20px; }
header { padding-top:28px; }
h1 { font-size:1.7rem; line-height:1.2; margin:0 0 .4rem; }
h2 { font-size:1.25rem; margin:2.4rem 0 .6rem; padding-top:.7rem;
  border-top:2px solid var(--accent); }
h3 { font-size:1rem; margin:1.4rem 0 .4rem; }
p, li { max-width:75ch; overflow-wrap:anywhere; }
summary { cursor:pointer; color:var(--accent); }
a { color:var(--accent); }
nav { margin:.8rem 0 0; display:flex; flex-wrap:wrap; gap:.3rem 1.1rem; }
.answer { font-size:1.12rem; padding:.8rem 1rem; background:var(--soft);
  border-left:4px solid var(--accent); max-width:none; }
.answer p { margin:.25rem 0; max-width:none; }
.quiet, figcaption, footer { color:var(--quiet); font-size:.9rem; }
td code { overflow-wrap:anywhere; } .word { display:inline-block; max-width:100%; }
code, pre { font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace; font-size:.88em; }
pre { background:var(--soft); padding:.7rem .9rem; overflow-x:auto; white-space:pre-wrap;
  overflow-wrap:anywhere; }
.figures { display:grid; gap:22px;
  grid-template-columns:repeat(auto-fit,minmax(min(100%,470px),1fr)); }
figure { margin:0; min-width:0; }
figure.wide { grid-column:1/-1; }
figure svg { display:block; width:100%; height:auto; max-height:80vh; }
figcaption { margin-top:.3rem; max-width:70ch; }
.table { overflow-x:auto; margin:.4rem 0 1rem; }
table { border-collapse:collapse; font-size:.92rem; min-width:100%; }
caption { text-align:left; color:var(--quiet); font-size:.9rem; padding:.2rem 0 .4rem; }
th, td { text-align:left; vertical-align:top; padding:.38rem .7rem .38rem 0;
  border-bottom:1px solid var(--line); }
td.n, th.n { text-align:right; font-variant-numeric:tabular-nums; white-space:nowrap; }
th[scope=row] { font-weight:600; }
thead th { border-bottom:2px solid var(--quiet); vertical-align:bottom; }
thead th.n { white-space:normal; min-width:5.2em; }
th[scope=row] { min-width:7.5em; }
td { min-width:4em; }
td.plan { min-width:11em; }
th button { all:unset; cursor:pointer; font-weight:600; }
th button:focus-visible, input:focus-visible, a:focus-visible { outline:2px solid var(--accent);
  outline-offset:2px; }
th button::after { content:"\\2195"; color:var(--quiet); padding-left:.3em; font-weight:400; }
th[aria-sort=ascending] button::after { content:"\\2191"; color:var(--accent); }
th[aria-sort=descending] button::after { content:"\\2193"; color:var(--accent); }
input[type=search] { font:inherit; padding:.3rem .6rem; width:min(100%,340px);
  border:1px solid var(--quiet); border-radius:4px; }
.count { color:var(--quiet); font-size:.88rem; padding-left:.6rem; }
[hidden] { display:none !important; }
.verdict { font-weight:600; }
.supported, .consistent { color:var(--good); }
.refuted { color:var(--bad); } .depends { color:var(--mixed); }
.best { color:var(--good); font-weight:600; }
footer { padding:1.4rem 20px 3rem; overflow-wrap:anywhere; }
@media (max-width:620px) { body { font-size:16px; } h1 { font-size:1.35rem; }
  main, header, footer { padding-left:14px; padding-right:14px; }
  table.stack:not(.sort) thead { display:none; }
  table.stack thead tr { display:flex; flex-wrap:wrap; gap:.2rem 1rem; }
  table.stack thead th { display:inline-block; min-width:0; padding:.1rem 0; border:0; }
  table.stack tr { display:block; padding:.5rem 0; border-bottom:2px solid var(--line); }
  table.stack td, table.stack th[scope=row] { display:block; border:0; padding:.12rem 0;
    text-align:left; white-space:normal; }
  table.stack td::before { content:attr(data-label) ": "; color:var(--quiet); }
  table.stack td:empty { display:none; } }
@media print { nav, input[type=search], .count { display:none; } body { font-size:10.5pt; }
  main, header, footer { max-width:none; padding:0; } .table { overflow:visible; }
  figure, tr, .answer { break-inside:avoid; } h2, h3 { break-after:avoid; }
  th button::after { content:""; } .figures { grid-template-columns:1fr 1fr; }
  figure svg { max-height:16cm; } thead { display:table-header-group; }
  @page { margin:14mm; } }
"""

SCRIPT = """
"use strict";
document.querySelectorAll("table.sort").forEach(function (table) {
  var body = table.tBodies[0];
  var heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach(function (head, column) {
    var button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", function () {
      var up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      var rows = Array.from(body.rows).map(function (row, place) {
        var cell = row.cells[column];
        var raw = cell.dataset.value !== undefined ? cell.dataset.value : cell.textContent.trim();
        var number = raw === "" ? NaN : Number(raw);
        return { row: row, place: place, text: raw.toLowerCase(), number: number };
      });
      rows.sort(function (a, b) {
        var order;
        var na = Number.isNaN(a.number), nb = Number.isNaN(b.number);
        if (!na && !nb) order = a.number - b.number;
        else if (na !== nb) return na ? 1 : -1;
        else order = a.text < b.text ? -1 : a.text > b.text ? 1 : 0;
        return (up ? order : -order) || a.place - b.place;
      });
      rows.forEach(function (entry) { body.appendChild(entry.row); });
    });
  });
});
document.querySelectorAll("input[data-filters]").forEach(function (input) {
  var rows = Array.from(document.getElementById(input.dataset.filters).tBodies[0].rows);
  var count = input.parentElement.querySelector(".count");
  function apply() {
    var words = input.value.toLowerCase().split(/\\s+/).filter(Boolean);
    var shown = 0;
    rows.forEach(function (row) {
      var text = row.textContent.toLowerCase();
      var hit = words.every(function (word) { return text.indexOf(word) >= 0; });
      row.hidden = !hit;
      if (hit) shown += 1;
    });
    count.textContent = shown + " of " + rows.length + " rows";
  }
  input.addEventListener("input", apply);
  apply();
});
"""
