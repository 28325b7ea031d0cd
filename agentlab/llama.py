"""The forward pass of a Llama-like model as fast as two CPU cores allow, with its key-value cache.

`Runner` takes the weights of a transformers ``LlamaForCausalLM`` and computes the same function. One token at a time is
bound by reading the weights from memory, so with ``precision="int8"`` the matrices are kept once more as 8-bit integers with a
scale for each row, and few rows (`FEW`) are multiplied with those; many rows, as in a long prompt, are bound by arithmetic and use the
bfloat16 weights. In float32 it gives the very tokens of transformers' ``generate()``, which the tests compare.

Not covered: other architectures (`agentlab.language` runs those through transformers), training.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

FEW = 12  # rows up to which reading 8-bit weights is quicker than multiplying in bfloat16, measured on two cores


@dataclass
class Cache:
    """Keys and values (layers, B, heads, room, D) of the ``length`` positions seen; row b begins at ``starts[b]``."""

    keys: torch.Tensor
    values: torch.Tensor
    length: int = 0
    starts: list[int] | None = None  # for a batch whose shorter prompts are padded on the left

    @property
    def room(self) -> int:
        return self.keys.shape[3]

    def make_room(self, length: int) -> None:
        """Grow to hold ``length`` positions, at least by half."""
        if length > self.room:
            more = max(length, self.room * 3 // 2) - self.room
            self.keys, self.values = F.pad(self.keys, (0, 0, 0, more)), F.pad(self.values, (0, 0, 0, more))

    def select(self, rows: list[int]) -> None:
        """Keep these rows of the batch, in this order; a row may be taken twice."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        if self.starts:
            self.starts = [self.starts[r] for r in rows]

    def copy(self, length: int) -> Cache:
        """A new cache with the first ``length`` positions of this one and as much room."""
        new = Cache(torch.zeros_like(self.keys), torch.zeros_like(self.values), length, self.starts)
        new.keys[:, :, :, :length] = self.keys[:, :, :, :length]
        new.values[:, :, :, :length] = self.values[:, :, :, :length]
        return new


class Matrix:
    """A weight matrix (out, in) that multiplies few rows by its 8-bit form and many rows by itself."""

    def __init__(self, weight: torch.Tensor, int8: bool):
        self.weight, self.packed = weight, None
        if int8:
            scale = weight.float().abs().amax(1).clamp_min(1e-12) / 127  # (out,)
            self.packed = (weight.float() / scale[:, None]).round().to(torch.int8), scale.to(weight.dtype)

    def __call__(self, x: torch.Tensor, exact: bool = False) -> torch.Tensor:
        if self.packed is not None and len(x) <= FEW and not exact:
            return torch._weight_int8pack_mm(x, *self.packed)
        return F.linear(x, self.weight)


class Runner:
    """A Llama-like model ready to run: ``forward(ids, cache)`` gives logits and fills the cache.

    ``precision`` is int8 (CPU only), bfloat16 or float32.
    """

    def __init__(self, model: nn.Module, precision: str = "int8", device: str | torch.device = "cpu"):
        config = model.config
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.size = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.eps, self.limit = config.rms_norm_eps, config.max_position_embeddings
        self.device, self.precision = torch.device(device), precision
        self.dtype = torch.float32 if precision == "float32" else torch.bfloat16
        self.int8 = precision == "int8"
        with torch.no_grad():
            self.layers = [self._layer(layer) for layer in model.model.layers]
            self.embeddings = self._move(model.model.embed_tokens.weight)
            self.norm = self._move(model.model.norm.weight)
            self.head = Matrix(self._move(model.lm_head.weight), self.int8)
            self.cos, self.sin = self._rotations(config)

    def _move(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.detach().to(self.device, self.dtype)

    def _layer(self, layer: nn.Module) -> tuple:
        attention, mlp = layer.self_attn, layer.mlp
        qkv = torch.cat([p.weight for p in (attention.q_proj, attention.k_proj, attention.v_proj)])
        gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
        matrices = [
            Matrix(self._move(w), self.int8) for w in (qkv, attention.o_proj.weight, gate_up, mlp.down_proj.weight)
        ]
        return (*matrices, self._move(layer.input_layernorm.weight), self._move(layer.post_attention_layernorm.weight))

    def _rotations(self, config) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and signed sines (positions, D) of the rotary embedding (Su et al., arXiv:2104.09864)."""
        rates = config.rope_parameters["rope_theta"] ** (-torch.arange(0, self.size, 2).float() / self.size)
        angles = torch.outer(torch.arange(self.limit).float(), rates).repeat(1, 2)
        sines = angles.sin()
        sines[:, : self.size // 2] *= -1  # roll() below moves the halves without changing signs
        return self._move(angles.cos()), self._move(sines)

    def new_cache(self, batch: int = 1, room: int = 256) -> Cache:
        shape = (len(self.layers), batch, self.kv_heads, room, self.size)
        return Cache(*(torch.zeros(shape, dtype=self.dtype, device=self.device) for _ in range(2)))

    @torch.inference_mode()
    def forward(self, ids: torch.Tensor, cache: Cache, last: int = 1, exact: bool = False) -> torch.Tensor:
        """Read the tokens (B, T) after those in the cache; logits (B, last, V) of the last positions, float32.

        ``exact`` keeps away from the 8-bit weights, so that what a prompt does to the cache does not depend on the pieces in
        which it was read.
        """
        B, T = ids.shape
        begin, end = cache.length, cache.length + T
        cache.make_room(end)
        cos, sin, mask = self._positions(B, T, cache)
        x = self.embeddings[ids.to(self.device)].view(B * T, -1)  # (B T, D)
        for number, (qkv, out, gate_up, down, norm, norm_after) in enumerate(self.layers):
            mixed = qkv(F.rms_norm(x, norm.shape, norm, self.eps), exact).view(B, T, -1, self.size)
            q_and_k = mixed[:, :, : self.heads + self.kv_heads]
            q_and_k = q_and_k * cos + q_and_k.roll(self.size // 2, -1) * sin
            keys, values = cache.keys[number], cache.values[number]
            keys[:, :, begin:end] = q_and_k[:, :, self.heads :].transpose(1, 2)
            values[:, :, begin:end] = mixed[:, :, self.heads + self.kv_heads :].transpose(1, 2)
            read = self._attend(q_and_k[:, :, : self.heads], keys[:, :, :end], values[:, :, :end], mask)
            x = x + out(read.reshape(B * T, -1), exact)
            gate, up = gate_up(F.rms_norm(x, norm_after.shape, norm_after, self.eps), exact).chunk(2, -1)
            x = x + down(F.silu(gate) * up, exact)
        cache.length = end
        x = x.view(B, T, -1)[:, -last:].flatten(0, 1)
        logits = self.head(F.rms_norm(x, self.norm.shape, self.norm, self.eps), exact)
        return logits.view(B, -1, len(self.embeddings)).float()

    def _attend(self, q, keys, values, mask) -> torch.Tensor:
        """Attention of q (B, T, H, D) over keys and values (B, KV, S, D): the heads of a group share them."""
        B, T, H, D = q.shape
        group = H // self.kv_heads
        rows = q.view(B, T, self.kv_heads, group, D).permute(0, 2, 3, 1, 4)  # (B, KV, group, T, D)
        if mask is not None:
            mask = mask.repeat(1, 1, group, 1)
        read = F.scaled_dot_product_attention(
            rows.reshape(B, self.kv_heads, group * T, D), keys, values, attn_mask=mask
        )
        return read.view(B, self.kv_heads, group, T, D).permute(0, 3, 1, 2, 4)  # (B, T, KV, group, D)

    def _positions(self, B: int, T: int, cache: Cache) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Rotations (B or 1, T, 1, D) of the new tokens, and a mask (B or 1, 1, T, S) where one is needed."""
        places = torch.arange(cache.length, cache.length + T)
        if cache.starts is None:
            mask = None
            if T > 1:
                mask = torch.ones(T, cache.length + T, dtype=torch.bool).tril(cache.length)[None, None].to(self.device)
            return self.cos[places][None, :, None], self.sin[places][None, :, None], mask
        starts = torch.tensor(cache.starts)[:, None]  # (B, 1)
        own = (places[None] - starts).clamp_min(0)  # (B, T)
        seen = torch.arange(cache.length + T)
        mask = (seen[None, None] <= places[None, :, None]) & (seen[None, None] >= starts[..., None])  # (B, T, S)
        mask |= seen[None, None] == places[None, :, None]  # padding attends to itself, so that no row is empty
        return self.cos[own][:, :, None], self.sin[own][:, :, None], mask[:, None].to(self.device)


def fits(model: nn.Module) -> bool:
    """Whether `Runner` can take this model: a Llama without biases, with plain rotary embeddings."""
    config = model.config
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        config.model_type == "llama"
        and not getattr(config, "attention_bias", False)
        and not getattr(config, "mlp_bias", False)
        and rope.get("rope_type", "default") == "default"
        and config.hidden_act == "silu"
    )
