"""What a reference expects: exact models written as GGUF files, and the embedded transformer in double precision.

An exact model is a Llama whose blocks add nothing. The token before a position has one of 16 classes, and each class
allows 2^k tokens: these have equal logits and the others a logit far below, so every probability is 2^-k or 0 in any
arithmetic. Several averaged (1, 2, 4, 8 of them) are dyadic too: both sides have the same b to the last bit.
Formats: GGUF version 3 (ggml/docs/gguf.md), safetensors.
"""

import json
import random
import struct

import numpy as np

CLASSES = 16
END = "<|endoftext|>"  # what stands before an answer whose prompt is not known: token 0
CONTEXT = 64


class Exact:
    """b(v | the token before), from a seed."""

    def __init__(self, seed, vocabulary, wide=False):
        rng = random.Random(f"reference {seed}")
        self.vocabulary = vocabulary
        self.classes = [rng.randrange(CLASSES) for _ in range(vocabulary)]
        self.allowed = np.zeros((CLASSES, vocabulary), dtype=bool)
        for row in self.allowed:
            largest = vocabulary.bit_length() - 1
            row[rng.sample(range(vocabulary), 1 << (largest if wide else rng.randint(0, largest)))] = True

    def rows(self, context, first):
        """The probabilities of every token at the positions first, first + 1, ... of a context."""
        law = self.allowed / self.allowed.sum(axis=1, keepdims=True)
        return law[[self.classes[token] for token in context[first - 1 : -1]]]

    def write(self, path, tokens=None, merges=None):
        """With a vocabulary of its own: the tokens by id, a control token first, and the merges of byte-pair encoding."""
        width, size = CLASSES, self.vocabulary
        embedding = np.zeros((size, width), dtype="<f4")
        embedding[range(size), self.classes] = 1
        square, one = np.zeros((width, width), dtype="<f4"), np.ones(width, dtype="<f4")
        tensors = {"token_embd.weight": embedding, "output_norm.weight": one}
        tensors["output.weight"] = np.where(self.allowed.T, 0, -1000).astype("<f4")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
            tensors[f"blk.0.{part}.weight"] = square
        tensors |= {f"blk.0.{part}.weight": one for part in ("attn_norm", "ffn_norm")}
        path.write_bytes(gguf(metadata(size, width, tokens, merges), tensors))


def metadata(size, width, tokens, merges):
    numbers = {"block_count": 1, "context_length": CONTEXT, "embedding_length": width, "feed_forward_length": width}
    numbers |= {"attention.head_count": 1, "attention.head_count_kv": 1}
    found = {f"llama.{name}": number for name, number in numbers.items()}
    found |= {"llama.attention.layer_norm_rms_epsilon": 1e-5, "general.architecture": "llama"}
    found |= {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm"}
    found["tokenizer.ggml.tokens"] = tokens or [END, "a", "b", "ab"] + [f"<{number}>" for number in range(4, size)]
    found["tokenizer.ggml.token_type"] = [3] + [1] * (size - 1)
    return found | {"tokenizer.ggml.merges": merges or ["a b"]}


def gguf(metadata, tensors):
    def text(value):
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def value(of):
        if isinstance(of, str):
            return struct.pack("<I", 8) + text(of)
        if isinstance(of, float):
            return struct.pack("<If", 6, of)
        if isinstance(of, list):
            kind = 8 if isinstance(of[0], str) else 5
            parts = [text(part) if kind == 8 else struct.pack("<i", part) for part in of]
            return struct.pack("<IIQ", 9, kind, len(of)) + b"".join(parts)
        return struct.pack("<II", 4, of)

    head, body = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)), b""
    head += b"".join(text(name) + value(of) for name, of in metadata.items())
    for name, tensor in tensors.items():
        head += text(name) + struct.pack("<I", tensor.ndim)
        head += struct.pack(f"<{tensor.ndim}Q", *reversed(tensor.shape)) + struct.pack("<IQ", 0, len(body))
        body += tensor.tobytes() + b"\0" * (-tensor.nbytes % 32)
    return head + b"\0" * (-len(head) % 32) + body


class Embedded:
    """A small transformer of corpora/: learned positions, causal attention, squared ReLU, one embedding (model/)."""

    def __init__(self, path):
        content = path.read_bytes()
        size = struct.unpack("<Q", content[:8])[0]
        head = json.loads(content[8 : 8 + size])
        self.config = json.loads(head.pop("__metadata__")["config"])
        self.vocabulary = self.config["vocab"]
        self.weights = {
            name: np.frombuffer(content[8 + size :][slice(*entry["data_offsets"])], dtype="<f2")
            .reshape(entry["shape"])
            .astype(float)
            for name, entry in head.items()
        }

    def rows(self, context, first):
        """Texts longer than the model's context are read in stretches that overlap by half of it."""
        longest, at, found = self.config["context"], first, []
        while at < len(context):
            start = 0 if at < longest else at - longest // 2
            end = min(start + longest, len(context) - 1)
            found.append(self.read(context[start:end])[at - start - 1 :])
            at = end + 1
        return np.concatenate(found)

    def read(self, tokens):
        """The next-token distribution after every token."""
        w = self.weights
        stream = w["embedding"][tokens] + w["positions"][: len(tokens)]
        for block in range(self.config["layers"]):
            part = {name: w[f"blocks.{block}.{name}"] for name in ("qkv", "projection", "up", "down")}
            normed = normalised(stream) * w[f"blocks.{block}.attention_norm"]
            stream = stream + self.attention(normed @ part["qkv"]) @ part["projection"]
            normed = normalised(stream) * w[f"blocks.{block}.mlp_norm"]
            stream = stream + np.maximum(normed @ part["up"], 0) ** 2 @ part["down"]
        return softmax(normalised(stream) * w["norm"] @ w["embedding"].T)

    def attention(self, qkv):
        heads = self.config["heads"]
        queries, keys, values = (part.reshape(len(qkv), heads, -1).transpose(1, 0, 2) for part in np.split(qkv, 3, 1))
        scores = queries @ keys.transpose(0, 2, 1) / np.sqrt(queries.shape[2])
        scores[:, *np.triu_indices(len(qkv), 1)] = -np.inf
        return (softmax(scores) @ values).transpose(1, 0, 2).reshape(len(qkv), -1)


def normalised(stream):
    return stream / np.sqrt((stream**2).mean(axis=1, keepdims=True) + 1e-5)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
