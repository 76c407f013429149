"""Launch files of training frameworks: read as a job, written for one.

In:  a file: Megatron-LM scripts or arguments, Megatron-Bridge and NeMo recipes (Python or YAML),
torchtitan TOML, DeepSpeed JSON, MaxText YAML; a `Job`.
Out: `Launch`: words of the front door and a plan; the text of a file.
Left out: running anything that stands in a file.

What a file leaves out has the framework's default, so a plan that is read is whole but for the
number of replicas, which follows from the accelerators.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rackmodel import gate
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.files import is_file, json_of, read_text, toml_of, yaml_of
from rackmodel.workload.job import Job
from rackmodel.workload.launch import megatron, others
from rackmodel.workload.launch.megatron_model import model_keys
from rackmodel.workload.launch.recipes import of_python
from rackmodel.workload.launch.spelling import of_shell, of_table, unset
from rackmodel.workload.launch.words import Flat, Launch, cannot_say
from rackmodel.workload.silent import needs_machine, overlaps

FRAMEWORKS = ("megatron", "nemo", "torchtitan", "deepspeed", "maxtext")
_MOST = 2_000_000


@gate.called
def read_launch(
    path: str | Path, recipe: str = "", *, with_model: bool = True, gpus: int | None = None
) -> Launch:
    """Return the job that a launch file describes: `.words` and `.plan` of `simulate`.

    `simulate(machine, **launch.words, plan=launch.plan)`; `launch.on(64)` are the words for so many
    accelerators where the file leaves their number open.

    path : also with what a script is run with, as in a shell: "TP=4 run.sh dlc 8".
    recipe : the function of a Python file with several; also as FILE.py:FUNCTION. with_model : read
    the model, too; without, arguments of models that are not read are no hindrance.
    gpus : accelerators, where the file leaves them open and its plan follows from them.

    Raises
    ------
    InvalidInput
        If it can't be read, is of no framework that is read, or says what plans can't be.
    """
    path, said, given = parts_of(path)
    recipe = recipe or said
    file, ending = str(path), path.suffix.lower()
    text = read_text(path, most=_MOST)
    if ending == ".toml":
        return others.read_torchtitan(Flat(of_table(toml_of(text, file)), file))
    if ending == ".json":
        return _of_table(json_of(text, file), file, with_model=with_model, gpus=gpus)
    if ending in (".yml", ".yaml"):
        return _of_table(yaml_of(text, file), file, with_model=with_model, gpus=gpus)
    if ending == ".py":
        keys = Flat(of_python(text, file, recipe), file)
        return megatron.read(keys, with_model=with_model, gpus=gpus)
    flags = of_shell(text, file, given)
    keys = Flat(flags, file, unset(text, flags))
    return megatron.read(keys, with_model=with_model, gpus=gpus)


def parts_of(named: str | Path) -> tuple[Path, str, list[str]]:
    """Return the file that a launch names, the recipe in it, and what its script is called with.

    >>> parts_of("r.py:pretrain")[1:], parts_of("TP=4 run.sh dlc 8")[2]
    (('pretrain', []), ['dlc', '8', 'TP=4'])
    """
    text, given = str(named), list[str]()
    words = text.split()
    if len(words) > 1 and not is_file(Path(text)):
        place = next((i for i, word in enumerate(words) if "=" not in word), 0)
        text, given = words[place], [*words[place + 1 :], *words[:place]]
    before, colon, after = text.rpartition(".py:")
    return (Path(f"{before}.py"), after, given) if colon else (Path(text), "", given)


def _of_table(data: Any, file: str, *, with_model: bool, gpus: int | None) -> Launch:
    """A table is MaxText's, DeepSpeed's or Megatron's by what stands in it."""
    if not isinstance(data, dict):
        what = "nothing" if data is None else f"a {type(data).__name__}"
        raise InvalidInput(f"{file}: expected a table of keys, found {what}; give a launch file")
    keys = Flat(of_table(data.get("ConfigContainer", data)), file)
    names = set(keys.keys)
    if any(name.startswith(("ici_", "dcn_")) for name in names) or "per_device_batch_size" in names:
        return others.read_maxtext(keys)
    if {"zero_optimization", "train_batch_size", "train_micro_batch_size_per_gpu"} & set(data):
        return others.read_deepspeed(keys)
    if {"tensor_model_parallel_size", "micro_batch_size", "num_layers"} & names:
        return megatron.read(keys, with_model=with_model, gpus=gpus)
    if {"tensor_parallel_degree", "data_parallel_shard_degree"} & names:
        return others.read_torchtitan(keys)
    raise InvalidInput(
        f"{file}: expected keys of a launch file (Megatron, NeMo, torchtitan, DeepSpeed, MaxText)"
    )


def emit(job: Job, framework: str) -> str:
    """Return what to launch a job with: the text of a framework's file or arguments.

    Raises
    ------
    InvalidInput
        If the framework's files have no word for a choice of the plan, or the plan leaves open what
        its software decides by the machine.
    """
    if name := next(iter(needs_machine(job)), ""):
        raise InvalidInput(
            f"{name} follows from the machine under stack {job.stack!r:.60}; give it in the plan, "
            "or emit a result of simulate"
        )
    job = job.replace(**overlaps(job, domain=1))
    # Which no file of these says as a job does.
    said = megatron.SAID_OPTIMIZERS if framework in ("megatron", "nemo") else ()
    for name in ("document_len", "optimizer", "lora", "freeze"):
        if name == "optimizer" and job.optimizer in said:
            continue
        if getattr(job, name) != Job.__dataclass_fields__[name].default:
            cannot_say(framework, name, getattr(job, name))
    head = (
        f"{job.model.name} on {job.gpus:,} accelerators, {job.global_batch:,} x {job.seq_len:,}"
        " tokens a step (rackmodel)"
    )
    match framework:
        case "megatron":
            keys = {**model_keys(job.model), **megatron.keys_of(job)}
            return f"# {head}\n{_arguments(keys)}"
        case "nemo":
            return _recipe(job, head)
        case "torchtitan":
            return f"# {head}\n{_toml(others.torchtitan_of(job))}"
        case "deepspeed":
            return json.dumps(others.deepspeed_of(job), indent=2) + "\n"
        case "maxtext":
            lines = [f"{key}: {json.dumps(value)}" for key, value in others.maxtext_of(job).items()]
            return "\n".join([f"# {head}", *lines]) + "\n"
    raise UnknownName.among("framework", framework, FRAMEWORKS)


def _arguments(keys: dict[str, Any]) -> str:
    lines = []
    for key, value in keys.items():
        flag = "--" + key.replace("_", "-")
        if value is True:
            lines.append(flag)
        elif value is not False:
            many = value if isinstance(value, list) else [value]
            shown = " ".join(f'"{one}"' if set("(|") & set(str(one)) else str(one) for one in many)
            lines.append(f"{flag} {shown}")
    return "\n".join(lines) + "\n"


_TABLES = {  # of Megatron-Bridge; all else stands in model
    "train": ("global_batch_size", "micro_batch_size"),
    "ddp": (
        *("use_distributed_optimizer", "overlap_grad_reduce", "overlap_param_gather"),
        *("grad_reduce_in_fp32", "num_distributed_optimizer_instances"),
    ),
    "optimizer": (
        *("optimizer", "optimizer_cpu_offload", "use_precision_aware_optimizer"),
        *("exp_avg_dtype", "exp_avg_sq_dtype"),
    ),
}


def _recipe(job: Job, head: str) -> str:
    """Lines to put after `cfg = ...` of a Megatron-Bridge recipe of the model."""
    lines = [f"# {head}", "# after: cfg = <recipe of the model>()"]
    keys = megatron.keys_of(job, "nemo")
    lines.append(f"# torchrun on world_size = {keys['world_size']}")
    for key, value in keys.items():
        if key == "world_size":
            lines.append(f"world_size = {value!r}")
            continue
        if key == "grad_reduce_in_bf16":  # a recipe says the same the other way round
            key, value = "grad_reduce_in_fp32", False
        table = next((name for name, keys in _TABLES.items() if key in keys), "model")
        lines.append(f"cfg.{table}.{key} = {value!r}")
    return "\n".join(lines) + "\n"


def _toml(tables: dict[str, dict[str, Any]]) -> str:
    lines: list[str] = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
        lines.append("")
    return "\n".join(lines)
