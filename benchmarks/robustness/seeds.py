"""What the fuzzer begins with: commands that work, and the files that they read.

In:  nothing.
Out: `SEEDS`, each a command line with documents by file name; `API`, verbs of Python with words.
Left out: what is made wrong (`values`), what comes out (`fuzz`).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rackmodel.topology.names import topology_names

TOPOLOGIES = Path(__file__).parents[2] / "topologies"
JOB = "--model gpt3-125m --gpus 4 --global-batch 8 --seq-len 512 --tp 2 --pp 1 --micro-batch 1"
WHOLE = f"{JOB} --default-plan --json"


@dataclass(frozen=True)
class Seed:
    """A command that works. `@name` in its words is a file of `documents`."""

    words: tuple[str, ...]
    documents: dict[str, Any] = field(default_factory=dict)
    weight: float = 1.0


def _of(line: str, weight: float = 1.0, **documents: Any) -> Seed:
    names = {name.replace("_", "."): value for name, value in documents.items()}
    return Seed(tuple(line.split()), names, weight)


def _machine(name: str) -> dict[str, Any]:
    return tomllib.loads((TOPOLOGIES / f"{name}.toml").read_text("utf-8"))


def graph(accelerators: int = 4) -> dict[str, Any]:
    """Return accelerators on one switch, each with a NIC on one leaf, as node-link data."""
    nodes: list[dict[str, Any]] = [
        {"id": f"g{i}", "kind": "accelerator", "index": i, "rack": 0, "part": "h100"}
        for i in range(accelerators)
    ]
    nodes += [{"id": f"n{i}", "kind": "nic", "part": "connectx-7"} for i in range(accelerators)]
    nodes += [
        {"id": "s", "kind": "scale_up_switch", "part": "nvswitch3"},
        {"id": "l", "kind": "leaf", "part": "quantum2", "count": 1},
    ]
    fast = {"bytes_per_s": 450e9, "latency_s": 5e-7, "count": 18, "payload_efficiency": 0.9}
    slow = {"bytes_per_s": "400 Gb/s", "kind": "infiniband", "medium": "aec", "length_m": 3}
    edges: list[dict[str, Any]] = [
        {"source": f"g{i}", "target": "s", "kind": "nvlink", "lanes": 4, **fast}
        for i in range(accelerators)
    ]
    edges += [{"source": f"g{i}", "target": f"n{i}", **slow} for i in range(accelerators)]
    edges += [{"source": f"n{i}", "target": "l", **slow} for i in range(accelerators)]
    facts = {"accelerator": "h100", "ocs": 0, "name": "four", "title": "a graph"}
    return {"directed": False, "graph": facts, "nodes": nodes, "edges": edges}


TORUS = {
    "directed": False,
    "graph": {"accelerator": "h100", "shape": [2, 2]},
    "nodes": [
        {
            "id": i,
            "kind": "accelerator",
            "coordinates": [i // 2, i % 2],
            "position": [i // 2, i % 2],
        }
        for i in range(4)
    ],
    "edges": [
        {"source": a, "target": b, "bytes_per_s": 1e11, "link": "nvlink4", "latency_s": "1 us"}
        for a, b in ((0, 1), (1, 3), (3, 2), (2, 0))
    ],
}
FLOWS = [
    ["source", "target", "bytes", "start_s", "note"],
    ["g1", "g2", "1e9", "0", "a"],
    ["g0", "g3", "5e8", "0.001", "b"],
    ["g2", "g0", "0", "0", "=1+1"],
]
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 1000,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
}
QWEN = LLAMA | {
    "model_type": "qwen3_moe",
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 128,
    "mlp_only_layers": [0],
    "decoder_sparse_step": 1,
    "use_sliding_window": False,
}
DEEPSEEK = LLAMA | {
    "model_type": "deepseek_v3",
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 128,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "num_nextn_predict_layers": 1,
    "moe_layer_freq": 1,
    "q_lora_rank": 64,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "v_head_dim": 32,
}
GPT_OSS = LLAMA | {
    "model_type": "gpt_oss",
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"],
}
NEMOTRON = LLAMA | {
    "model_type": "nemotron_h",
    "hybrid_override_pattern": "M*",
    "mamba_num_heads": 4,
    "mamba_head_dim": 32,
    "ssm_state_size": 16,
    "n_groups": 2,
    "conv_kernel": 4,
}
MPT = {
    "model_type": "mpt",
    "d_model": 256,
    "n_layers": 2,
    "n_heads": 4,
    "expansion_ratio": 4,
    "vocab_size": 1000,
    "max_seq_len": 2048,
    "no_bias": True,
    "attn_config": {"alibi": True},
}
LLAMA4 = {
    "model_type": "llama4",
    "text_config": LLAMA
    | {
        "model_type": "llama4_text",
        "num_local_experts": 4,
        "num_experts_per_tok": 1,
        "intermediate_size_mlp": 512,
        "interleave_moe_layer_step": 1,
        "attention_chunk_size": 128,
    },
}
MODEL = {
    "layers": 2,
    "hidden": 256,
    "ffn": 512,
    "heads": 4,
    "kv_heads": 2,
    "head_dim": 64,
    "vocab": 1000,
    "experts": 4,
    "topk": 2,
    "moe_ffn": 128,
    "dense_layers": 1,
    "window": 128,
    "full_attention_every": 2,
    "norm": "rmsnorm",
    "tied": True,
    "mla": {"q_lora": 64, "kv_lora": 32, "qk_nope": 32, "qk_rope": 16, "v_dim": 32},
}
PARTS = {
    "accelerators": {
        "mine": {
            "like": "h100",
            "power_w": "800 W",
            "hbm_bytes_per_s": {"value": "4 TB/s", "low": "3 TB/s", "source": "me"},
            "flops_per_s": {"bf16": 1e15},
            "power": {"idle_w": 90, "e_flop_j": {"bf16": "0.4 pJ/FLOP"}},
        }
    },
    "links": {"ib-ndr": {"bytes_per_s": "50 GB/s", "latency_s": "1 us", "lanes": 4}},
    "switches": {"sw": {"like": "quantum2", "radix": 128, "power_w": 900}},
    "media": {"aec": {"usd_per_end": 90}},
    "chassis": {"dgx-h100": {"rack_chassis": 2, "trays": "node:2*8", "part_w": {"cpu": 400}}},
    "prices": {"hall": {"usd_per_mw": "9 million"}},
}
SWEEP = {
    "title": "two",
    "filters": ["tp <= gpus", "seq_len < 4096 or tp != 4"],
    "base": {
        "topology": "dgx-h100",
        "model": "gpt3-125m",
        "gpus": 4,
        "global_batch": 8,
        "default_plan": True,
        "plan": {"pp": 1},
    },
    "axes": {"seq_len": {"from": 512, "to": 1024, "times": 2}, "sharding": ["zero1"]},
    "zips": [{"tp": [2], "micro_batch": [1]}],
}
DESIGN = {
    "objectives": {"tokens_per_s": "max"},
    "constraints": ["rack_peak_w <= 140e3"],
    "most": 1,
    "seed": 1,
    "base": SWEEP["base"],
    "axes": {"set": {"accelerators.h100.hbm_bytes_per_s": ["3 TB/s"], "topology.host.cpus": [2]}},
}
_COLUMNS = [
    *("id", "stack", "topology", "gpus", "model", "layers"),
    *("hidden", "ffn", "heads", "kv_heads", "head_dim", "gated_ffn"),
    *("vocab", "experts", "topk", "moe_ffn", "shared_expert_ffn", "dense_layers"),
    *("seq_len", "global_batch", "micro_batch", "tp", "pp", "vpp"),
    *("cp", "ep", "etp", "dp", "sharding", "recompute"),
    *("precision", "routing", "ep_overlap", "tp_overlap", "schedule", "attention_window"),
    *("mtp", "measured_step_s", "uncertainty", "measured_mem_gb", "tier", "notes"),
]
_ROW = dict.fromkeys(_COLUMNS, "") | {
    **{"id": "one", "stack": "megatron-bridge-26.08", "topology": "dgx-h100", "gpus": "8"},
    **{"model": "M", "layers": "2", "hidden": "256", "ffn": "512", "heads": "4", "kv_heads": "2"},
    **{"head_dim": "64", "gated_ffn": "1", "vocab": "1000", "experts": "8", "topk": "2"},
    **{"moe_ffn": "128", "seq_len": "512", "global_batch": "8", "micro_batch": "1", "tp": "1"},
    **{"pp": "1", "vpp": "1", "cp": "1", "ep": "8", "etp": "1", "dp": "8", "sharding": "zero1"},
    **{"recompute": "none", "precision": "bf16", "routing": "dropless-balanced"},
    **{"measured_step_s": "0.5", "measured_mem_gb": "20", "tier": "core", "uncertainty": "0.03"},
}
RUNS = [_COLUMNS, [_ROW[column] for column in _COLUMNS]]
WEIGHTS = [["0", "1"], ["1", "0"]]
CLAIMS = {"rows": [{"id": "a", "verdict": "holds", "value": 1.0, "unit": "", "text": "a"}]}

NCCL = (
    '<system version="1"><cpu numaid="0" arch="x86_64"><pci busid="0000:18:00.0" class="0x030200"'
    ' link_width="16" link_speed="32.0 GT/s PCIe"><gpu dev="0" sm="90" rank="0" gdr="1"><nvlink'
    ' target="0000:07:00.0" count="18" tclass="0x068000"/></gpu></pci><pci busid="0000:19:00.0">'
    '<gpu dev="1" sm="90" rank="1" gdr="1"><nvlink target="0000:07:00.0" count="18"'
    ' tclass="0x068000"/></gpu></pci><pci busid="0000:1a:00.0"><nic><net name="mlx5_0" dev="0"'
    ' speed="400000" port="1" gdr="1"/></nic></pci></cpu></system>'
)
SIMGRID = (
    '<platform version="4.1"><cluster id="c" prefix="n-" suffix="" radical="0-3" speed="1Gf"'
    ' bw="1.25GBps" lat="5us"/></platform>'
)
ASTRA = (
    "topology: [ Ring, Switch ]\nnpus_count: [ 2, 2 ]\nbandwidth: [ 100.0, 50.0 ]\n"
    "latency: [ 500.0, 500.0 ]\n"
)
MACHINES = ("dgx-h100", "gb200-nvl72", "tpu-v5p-pod", "dgx-h100-ideal")
_SMALL = "--op all-reduce --bytes 1MB --gpus 4 --json"

SEEDS: tuple[Seed, ...] = (
    *(
        _of(f"show @{name}.json", 3, **{f"{name}_json": config})
        for name, config in (
            ("llama", LLAMA),
            ("qwen", QWEN),
            ("deepseek", DEEPSEEK),
            ("gptoss", GPT_OSS),
            ("nemotron", NEMOTRON),
            ("mpt", MPT),
            ("llama4", LLAMA4),
        )
    ),
    _of("show @model.toml --json", 4, model_toml=MODEL),
    *(_of("show @machine.toml", 4, machine_toml=_machine(name)) for name in MACHINES),
    _of("show mine --catalog @parts.toml --json", 6, parts_toml=PARTS),
    _of("show @g.json", 4, g_json=graph()),
    _of("show @g.graphml", 4, g_graphml=graph()),
    _of("show h100 --set accelerators.h100.hbm_bytes=1TB --json", 3),
    _of("list accelerators --csv", 0.5),
    _of("show @nccl.xml", 2, nccl_xml=NCCL),
    _of("show @grid.xml", 2, grid_xml=SIMGRID),
    _of("show @net.yml", 2, net_yml=ASTRA),
    _of("convert dgx-h100 --gpus 8 --out @o.xml", 0.5),
    _of("convert @g.json --out @o.graphml", 1, g_json=graph()),
    _of("new topology --out @n.toml", 0.3),
    _of(
        "serve dgx-h100 --model gpt3-125m --gpus 1 --tp 1 --users 2 --isl 64 --osl 16"
        " --weights bf16 --kv bf16 --json",
        1,
    ),
    _of(
        "domains --model gpt3-125m --accelerator h100 --gpus 8 --global-batch 8 --seq-len 512"
        " --json",
        0.05,
    ),
    _of("list topologies --json", 0.1),
    _of("schema sweep", 0.3),
    _of("flows @g.json @f.csv --json", 5, g_json=graph(), f_csv=FLOWS),
    _of("flows @g.graphml @f.csv --csv", 3, g_graphml=graph(), f_csv=FLOWS),
    _of(
        "flows @torus.json @f.csv --routing dimension-order --json",
        2,
        torus_json=TORUS,
        f_csv=[FLOWS[0], ["0", "3", "1e6", "0", ""]],
    ),
    _of(f"collective @machine.toml {_SMALL}", 2, machine_toml=_machine("dgx-h100")),
    _of(f"collective @g.json {_SMALL}", 2, g_json=graph()),
    _of(f"collective @torus.json {_SMALL} --algorithm ring", 2, torus_json=TORUS),
    _of(
        "collective dgx-h100 --op all-to-all --bytes 1MB --gpus 2 --split @w.csv --json",
        2,
        w_csv=WEIGHTS,
    ),
    _of(f"simulate dgx-h100 {WHOLE}", 3),
    _of(f"simulate @machine.toml {WHOLE}", 1, machine_toml=_machine("dgx-h100")),
    _of(f"simulate @g.json {WHOLE}", 2, g_json=graph()),
    _of(f"simulate @torus.json {WHOLE}", 1, torus_json=TORUS),
    _of(f"simulate dgx-h100 {WHOLE} --catalog @parts.toml", 1.5, parts_toml=PARTS),
    _of(f"simulate dgx-h100 {WHOLE} --medium scale-out=aec:2m --trace @t.json --out @r.json", 1),
    _of(f"heat dgx-h100 {WHOLE} --set chassis.dgx-h100.rack_chassis=2", 1.5),
    _of(
        "simulate dgx-h100 --model @qwen.json --gpus 4 --global-batch 8 --seq-len 512 --tp 1 --pp 1"
        " --ep 4 --micro-batch 1 --plan dispatcher=deepep --default-plan --json",
        1,
        qwen_json=QWEN,
    ),
    _of(f"compare dgx-h100 dgx-h100-ideal {WHOLE}", 0.2),
    _of(f"search dgx-h100 {JOB} --top 1 --json", 0.1),
    _of("goodput dgx-h100 --gpus 64 --days 2 --runs 1 --spares 1 --json", 1),
    _of("validate @runs.csv --workers 1 --json", 3, runs_csv=RUNS),
    _of("sweep @s.toml --out @dir --json", 2, s_toml=SWEEP),
    _of("design @d.toml --out @dir --json", 1, d_toml=DESIGN),
    _of(
        f"report dgx-h100 {JOB.split(' --tp')[0]} --brief --out @r.html --claims @c.json",
        0.1,
        c_json=CLAIMS,
    ),
    _of(f"sensitivity dgx-h100 {WHOLE}", 0.05),
    _of("draw dgx-h100 --what rack --out @p.svg", 0.05),
)
NAMES = (*topology_names()[:8], "gpt3-13b", "h100", "gb200", "nosuch")
