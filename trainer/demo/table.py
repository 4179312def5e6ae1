"""What a finished demo base says of itself."""

from trainer.demo.base import DemoBase


def notes(base: DemoBase) -> list[str]:
    """Lines for the terminal: what it is, what it knows, what it writes."""
    record = base.record
    text, curve = record["text"], record["curve"]
    best = min(point["bits_per_byte"] for point in curve)
    lines = [
        f"{base.folder}: {record['options']['family']}, {record['n_params']:,} parameters, {record['n_tokens']:,} "
        f"tokens{' (was there already)' if base.was_there else ''}.",
        f"Learned from {text['n_bytes']:,} bytes ({text['n_tokens']:,} tokens), {record['passes']:.1f} times, in "
        f"{record['seconds']['all']:.0f} s.",
        f"Held-out text: {base.bits_per_byte:.3f} bits per byte ({text['n_heldout_documents']:,} documents, "
        f"{text['n_heldout_bytes']:,} bytes); the best on the way: {best:.3f}.",
    ]
    return lines + [f"  {sample['prompt']} | {sample['after'].strip()}" for sample in record["samples"]]
