"""MaxText's remat_policy: which tensors of a layer are kept, as modules that run again, and back.

In:  flat keys of a config; from a plan its recompute.
Out: words of a plan; the name of a policy.
Left out: policies that offload some tensors and keep others.

A policy keeps named products, those of experts by the names of dense ones; norms and activation
functions run again under each. Source: AI-Hypercomputer/maxtext, layers/decoders.py,
get_remat_policy.
"""

from __future__ import annotations

from typing import Any

from rackmodel.workload.launch.words import Flat, cannot_say
from rackmodel.workload.plan import Plan

_AGAIN = {
    "minimal_with_context": ("norm", "act"),
    "minimal_flash": ("norm", "act"),  # its older name
    "minimal": ("norm", "act", "core_attn"),
    "save_dot_with_context_except_mlp": ("norm", "mlp"),
    "save_dot_except_mlp": ("norm", "mlp", "core_attn"),
    "save_dot_except_mlpwi": ("norm", "mlp", "core_attn"),
    "save_qkv_proj": ("norm", "mlp", "core_attn"),  # the output projection too; not counted
}
_WHOLE = ("none", "full")
_PRODUCTS = ("query_proj", "qkv_proj", "mlpwi", "mlpwi_0", "context")


def remat_words(keys: Flat) -> dict[str, Any]:
    """Return the recompute of a config; "custom" says of each tensor where it stays."""
    policy = str(keys.get("remat_policy", default="full"))
    if policy in _WHOLE:
        return {"recompute": policy}
    if policy == "custom":
        return _custom(keys)
    if policy not in _AGAIN:
        known = ", ".join((*_WHOLE, *_AGAIN, "custom"))
        keys.refuse(f"remat_policy {policy!r:.40} is not read; write one of {known}")
    return _selective(_AGAIN[policy])


def _custom(keys: Flat) -> dict[str, Any]:
    kept = {name for name in _PRODUCTS if keys.get(name, default="remat") != "remat"}
    away = {name for name in (*_PRODUCTS, "decoder_layer_input") if keys.get(name) == "offload"}
    if not kept:
        return {"recompute": "full"} | ({"offload": ["activations"]} if away else {})
    if away:
        keys.refuse(
            "remat_policy custom that keeps some tensors and offloads others is not read; write "
            f"remat for {', '.join(sorted(away))}, or for {', '.join(sorted(kept - away))}"
            if kept - away
            else "remat_policy custom that offloads products of a layer is not read; write remat "
            f"for {', '.join(sorted(away))}"
        )
    modules = ("norm", "act" if kept & {"mlpwi", "mlpwi_0"} else "mlp")
    return _selective(modules if "context" in kept else (*modules, "core_attn"))


def _selective(modules: tuple[str, ...]) -> dict[str, Any]:
    return {"recompute": "selective", "recompute_modules": list(modules)}


def remat_policy(plan: Plan) -> str:
    """Return the policy that runs a plan's modules again.

    Raises
    ------
    InvalidInput
        If none does.
    """
    if plan.recompute != "selective":
        return plan.recompute
    for name, modules in _AGAIN.items():
        if set(plan.recompute_modules) == set(modules):
            return name
    return cannot_say("maxtext", "recompute", plan.recompute)
