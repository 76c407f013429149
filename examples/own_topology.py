# %% [markdown]
# # A machine of your own
#
# Any NetworkX graph is a machine: draw it, check it, run the same simulation on it.

# %%
import networkx as nx

import rackmodel

graph = nx.Graph(name="two stars", accelerator="h100")  # undirected: both directions
for star in range(2):
    graph.add_node(f"switch-{star}", kind="scale_up_switch", rack=star)
    for place in range(8):
        gpu = f"gpu-{star}-{place}"
        graph.add_node(gpu, kind="accelerator", rack=star)
        graph.add_edge(gpu, f"switch-{star}", bytes_per_s="450 GB/s", kind="nvlink")
graph.add_edge("switch-0", "switch-1", bytes_per_s="1 TB/s", kind="nvlink")

job = rackmodel.Job(
    model=rackmodel.load_model("llama2-13b"),
    plan=rackmodel.Plan(tp=4, dp=4),
    seq_len=4096,
    global_batch=64,
)
result = rackmodel.simulate(graph, job)
print(f"{result.step_s:.2f} s a step, {result.tokens_per_s_per_gpu:,.0f} tokens/s/GPU")
print(result.links[["tier", "kind", "utilisation_mean"]].to_string(index=False))
