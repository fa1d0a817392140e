"""How far a framework's own bf16 run of the golden checkpoints is from the recorded float logits.

    python3 tests/gpu_oracle.py [--device cuda]

For each bf16 checkpoint with recorded logits: Hugging Face transformers' implementation of the model,
eager attention, in float and in bf16; the latter with the experts that it chooses itself, and with the
float run's, so that a choice between nearly equal experts, which a rounding decides, is left out. Prints
the relative error of the rows' logits, as the model's tests on a GPU measure ours.
"""
import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHECKPOINTS = ["bf16-small-window", "bf16-odd-widths", "bf16-real-heads-window128", "bf16-expert-groups"]


def model_config(config):
    from transformers.models.mimo_v2_flash import MiMoV2FlashConfig

    rope = {
        "rope_type": "default",
        "partial_rotary_factor": config["partial_rotary_factor"],
    }
    out = MiMoV2FlashConfig(
        vocab_size=config["vocab_size"],
        hidden_size=config["hidden_size"],
        intermediate_size=config["intermediate_size"],
        num_hidden_layers=config["num_hidden_layers"],
        num_attention_heads=config["num_attention_heads"],
        num_key_value_heads=config["num_key_value_heads"],
        head_dim=config["head_dim"],
        v_head_dim=config["v_head_dim"],
        sliding_window=config["sliding_window"],
        layer_types=["sliding_attention" if p else "full_attention" for p in config["hybrid_layer_pattern"]],
        moe_intermediate_size=config["moe_intermediate_size"],
        num_experts_per_tok=config["num_experts_per_tok"],
        n_routed_experts=config["n_routed_experts"],
        n_group=config["n_group"],
        topk_group=config["topk_group"],
        max_position_embeddings=config["max_position_embeddings"],
        rms_norm_eps=config["layernorm_epsilon"],
        attention_value_scale=config["attention_value_scale"],
        routed_scaling_factor=config["routed_scaling_factor"],
        bos_token_id=None,
        eos_token_id=None,
        rope_parameters={
            "full_attention": {**rope, "rope_theta": config["rope_theta"]},
            "sliding_attention": {**rope, "rope_theta": config["swa_rope_theta"]},
        },
    )
    out._attn_implementation = "eager"
    return out


def read_tensors(folder):
    from safetensors import safe_open

    tensors = {}
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(str(path), "pt") as file:
            tensors.update({name: file.get_tensor(name) for name in file.keys()})
    return tensors


def load_model(folder, dtype, device):
    """The checkpoint in transformers' names, whose experts are stacked."""
    import torch
    from transformers.models.mimo_v2_flash import MiMoV2FlashForCausalLM

    config = json.loads((folder / "config.json").read_text())
    tensors = read_tensors(folder)
    model = MiMoV2FlashForCausalLM(model_config(config)).eval()
    experts = range(config["n_routed_experts"])
    state = {}
    for name in model.state_dict():
        base = name.rsplit(".", 1)[0]
        if name.endswith("experts.gate_up_proj"):
            pairs = [(tensors[f"{base}.{e}.gate_proj.weight"], tensors[f"{base}.{e}.up_proj.weight"]) for e in experts]
            state[name] = torch.stack([torch.cat(pair) for pair in pairs])
        elif name.endswith("experts.down_proj"):
            state[name] = torch.stack([tensors[f"{base}.{e}.down_proj.weight"] for e in experts])
        else:
            state[name] = tensors[name.replace("self_attn.sinks", "self_attn.attention_sink_bias")]
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    model = model.to(device=device, dtype=dtype)
    for name, gate in gates_of(model):  # they work in float, whatever the rest is in
        gate.weight.data = state[f"{name}.weight"].float().to(device)
        gate.e_score_correction_bias.data = state[f"{name}.e_score_correction_bias"].float().to(device)
    return model


def gates_of(model):
    return [(name, module) for name, module in model.named_modules() if name.endswith("mlp.gate")]


class Routes:
    """What the routers of one run answered, for another run to be told."""

    def __init__(self):
        self.kept = []

    def keep(self, module, inputs, output):
        self.kept.append(output)

    def tell(self, module, inputs, output):
        told = self.kept.pop(0)
        if isinstance(output, tuple):
            return tuple(one.to(own.dtype) for one, own in zip(told, output, strict=True))
        return told.to(output.dtype)


def run(model, prompts, device, hook=None):
    import torch

    gates = [gate for _, gate in gates_of(model)]
    if hook is not None and not gates:
        raise RuntimeError("no module of this transformers' model is named mlp.gate")
    handles = [gate.register_forward_hook(hook) for gate in gates if hook is not None]
    with torch.no_grad():
        out = [model(torch.tensor([prompt], device=device)).logits[0].float().cpu() for prompt in prompts]
    for handle in handles:
        handle.remove()
    return torch.cat(out)


def row_errors(out, want):
    difference = (out - want).double().pow(2).sum(-1)
    size = want.double().pow(2).sum(-1)
    pooled = (difference.sum() / size.sum()).sqrt().item()
    return (difference / size).sqrt(), pooled


def compare(name, device):
    import torch
    from safetensors import safe_open

    folder = ROOT / "tests" / "golden" / name
    cases = [c for c in json.loads((folder / "expected.json").read_text())["cases"] if c.get("logits")]
    with safe_open(str(folder / "expected_logits.safetensors"), "pt") as file:
        wants = [file.get_tensor(case["logits"]).float() for case in cases]
    want = torch.cat(wants)
    prompts = [case["prompt"] for case in cases]
    routes = Routes()
    floats = load_model(folder, torch.float32, device)
    report(name, "float", run(floats, prompts, device, routes.keep), want)
    rounded = load_model(folder, torch.bfloat16, device)
    report(name, "bf16, its own experts", run(rounded, prompts, device), want)
    report(name, "bf16, the float run's experts", run(rounded, prompts, device, routes.tell), want)


def report(name, what, out, want):
    errors, pooled = row_errors(out, want)
    print(
        f"{name}, {what}: {errors.numel()} rows: all {pooled:.3g}, "
        f"median {errors.quantile(0.5).item():.3g}, 90% {errors.quantile(0.9).item():.3g}, "
        f"worst {errors.max().item():.3g}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    try:
        import safetensors
        import torch
        import transformers
        from transformers.models import mimo_v2_flash  # noqa: F401
    except ImportError as error:
        print(f"gpu_oracle: needs torch, safetensors and a transformers that knows mimo_v2_flash: {error}")
        return 2
    if options.device == "cuda" and not torch.cuda.is_available():
        print("gpu_oracle: no CUDA device (--device cpu runs it on the CPU)")
        return 2
    torch.backends.cuda.matmul.allow_tf32 = False
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, safetensors {safetensors.__version__}")
    failed = 0
    for name in CHECKPOINTS:
        try:
            compare(name, options.device)
        except Exception as error:  # one checkpoint's failure leaves the others' figures
            failed += 1
            print(f"{name}: {type(error).__name__}: {error}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
