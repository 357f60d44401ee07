"""The EAT family's transformer as first published, and a comparison of ours with it.

The slow twin computes attention by explicit products and softmax, and every token of the last block
though only [CLS] is looked at.
"""

import statistics

import torch
from matrix_products import multiply, plainly, seconds
from torch.nn import functional

from dcase_asd.backbone.dense import Linear

TOLERANCE = 1e-4  # of embeddings whose features have a variance of 1
BATCHES = {1: 7, 8: 3}  # clips: rounds


def explicit_tokens(encoder, images):
    """All tokens of the last block, (b, n, d)."""
    patches = encoder.patches(images[:, None]).flatten(2).transpose(1, 2)
    patches = patches + encoder.positions[:, : patches.shape[1]]
    cls = encoder.cls_token.expand(len(patches), -1, -1)
    x = encoder.norm(torch.cat([cls, patches], 1))
    for block in encoder.blocks:
        batch, tokens, width = x.shape
        heads = block.attn.num_heads
        split = block.attn.qkv(x).reshape(batch, tokens, 3, heads, width // heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        logits = (query * (width // heads) ** -0.5) @ key.transpose(-2, -1)
        attended = logits.softmax(-1) @ value
        x = block.norm1(x + block.attn.proj(attended.transpose(1, 2).reshape(batch, tokens, width)))
        x = block.norm2(x + block.mlp.fc2(functional.gelu(block.mlp.fc1(x))))
    return x


def gigaflop(encoder, tokens):
    """Matrix products that [CLS] needs, the projections of the last block's tokens included."""
    width, depth = encoder.cls_token.shape[-1], len(encoder.blocks)
    block = 12 * width**2 * tokens + 2 * width * tokens**2
    last = 3 * width**2 * tokens + 9 * width**2 + 2 * width * tokens
    patches = 256 * width * tokens
    return 2e-9 * (block * (depth - 1) + last + patches)


def compare(name, backbone, twin, samples, *, bands, target):
    """Print clips a second of both, their ratio, and the share of the floor of matrix products.

    Args:
        name: What is measured.
        backbone: Ours.
        twin: Gives the same embeddings of waveforms, slowly.
        samples: Of a clip.
        bands: Images that a clip is to the transformer.
        target: Of the ratio.
    """
    generator = torch.Generator().manual_seed(0)
    waveforms = torch.randn(max(BATCHES), samples, generator=generator) * 0.1
    encoder = backbone.network.encoder
    width = encoder.cls_token.shape[-1]
    with torch.inference_mode():
        tokens = backbone.tokens(waveforms[:1]).shape[1]
        rows = torch.randn(bands * tokens, width)
        layer = Linear(width, 4 * width).eval()
        repeats = max(1, int(1e10 / (2 * rows.shape[0] * layer.weight.numel())))
        work = multiply(layer, rows, repeats)
        for clips, rounds in BATCHES.items():
            batch = waveforms[:clips]
            difference = float((backbone.embed(batch) - plainly(twin, batch)).abs().max())
            assert difference < TOLERANCE, f"the twin embeds otherwise, by {difference:.2g}"
            slow, fast, floor = [], [], []
            # Turn and turn about, so that what else the machine does hits all alike.
            for _ in range(rounds):
                slow.append(seconds(plainly, twin, batch))
                floor.append(seconds(multiply, layer, rows, repeats))
                fast.append(seconds(backbone.embed, batch))
                floor.append(seconds(multiply, layer, rows, repeats))
            # Of neighbors in time, as the machine may do other things in the next minute.
            ratio = statistics.median(a / b for a, b in zip(slow, fast, strict=True))
            slow, fast = (statistics.median(times) / clips for times in (slow, fast))
            rate = work / statistics.median(floor)
            share = bands * gigaflop(encoder, tokens) / rate / fast
            print(
                f"{name}, batch {clips}, {torch.get_num_threads()} threads: embeds "
                f"{1 / fast:.2f} clips/s, explicitly {1 / slow:.2f}; "
                f"ratio {ratio:.2f}, target {target}; {share:.0%} of the floor of matrix "
                f"products ({rate:.0f} GFLOP/s); largest difference {difference:.1g}"
            )
