"""What Perfetto's trace processor drops of a JSON trace, by the rules of its importer.

In:  events of a trace. Out: how often each rule drops one, by the names of its table `stats`.
Rules are those of google/perfetto, src/trace_processor: importers/json/json_trace_tokenizer.cc and
json_trace_parser_impl.cc (fields, phases, threads), sorter/trace_sorter.h (times before 0; of
events at one time the longer first), importers/common/slice_tracker.cc (nesting).
Left out: async events, instants, samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

Event = Mapping[str, Any]


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def nanoseconds(value: float) -> int:
    return round(value * 1000)


def thread(event: Event) -> tuple[int, int]:
    """A thread 0 of another process than 0 is the one numbered as the process."""
    return event["pid"], event["tid"] or event["pid"]


def kept(event: Event, dropped: Counter[str]) -> bool:
    """Whether the tokenizer and the sorter let an event pass."""
    phase = event.get("ph")
    timed = phase == "M" or number(event.get("ts"))
    if phase not in {"M", "X", "C", "s", "t", "f"} or not timed:
        dropped["json_tokenizer_failure"] += 1
    elif phase != "M" and nanoseconds(event["ts"]) < 0:
        dropped["trace_sorter_negative_timestamp_dropped"] += 1
    elif not all(isinstance(event.get(key), int) and event[key] >= 0 for key in ("pid", "tid")):
        dropped["json_parser_failure"] += 1
    else:
        return True
    return False


def losses(events: Iterable[Event]) -> dict[str, int]:
    """Return {rule: events that it drops}; empty if all of a trace is read."""
    dropped: Counter[str] = Counter()
    names: dict[tuple[int, int, str], Any] = {}
    open_ends: dict[tuple[int, int], list[int]] = {}
    events = [event for event in events if kept(event, dropped)]
    for event in sorted(events, key=lambda e: (e.get("ts", 0), -(e.get("dur") or 0))):
        at = nanoseconds(event.get("ts", 0))
        match event["ph"]:
            case "M" if event["name"] in ("thread_name", "process_name"):
                who = thread(event) if event["name"] == "thread_name" else (event["pid"], -1)
                told = event.get("args", {}).get("name")
                if not told or names.setdefault((*who, event["name"]), told) != told:
                    dropped["names lost"] += 1
            case "X":
                stack = open_ends.setdefault(thread(event), [])
                if rule := slice_rule(event, stack):
                    dropped[rule] += 1
            case "C":
                values = event.get("args")
                good = isinstance(values, dict) and all(map(number, values.values()))
                dropped["json_parser_failure"] += not good
            case "s" | "t" | "f":
                dropped["flow_invalid_id"] += not isinstance(event.get("id"), int | str)
                binds = event["ph"] != "f" or event.get("bp") == "e"  # else to the next slice
                inside = any(end > at for end in open_ends.get(thread(event), ()))
                dropped["flow_no_enclosing_slice"] += binds and not inside
    return {rule: often for rule, often in dropped.items() if often}


def slice_rule(event: Event, stack: list[int]) -> str:
    """Return the rule that drops a slice, or push its end onto those open on its thread. [ns]"""
    if not number(event.get("dur")):
        return "json_parser_failure"
    begin, long = nanoseconds(event["ts"]), nanoseconds(event["dur"])
    if long < 0:
        return "slice_negative_duration"
    while stack and stack[-1] <= begin:
        stack.pop()
    if any(begin < end < begin + long for end in stack):
        return "slice_drop_overlapping_complete_event"
    if len(stack) >= 512:
        return "slice_max_depth_exceeded"
    stack.append(begin + long)
    return ""
