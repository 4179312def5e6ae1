"""What a finished demo base says of itself."""

from trainer.demo.base import DemoBase


def notes(base: DemoBase) -> list[str]:
    """Lines for the terminal: what it is, what it knows, what it writes."""
    record = base.record
    text, curve = record["text"], record["curve"]
    best = min(point["bits_per_byte"] for point in curve)
    made = "there already" if base.was_there else f"made in {record['seconds']['all']:.0f} s"
    family, n_documents, n_bytes = record["options"]["family"], text["n_heldout_documents"], text["n_heldout_bytes"]
    measured = f"Bits per byte on {n_documents:,} held-out documents ({n_bytes:,} bytes)"
    lines = [
        f"{base.folder}: {family}, {record['n_params']:,} parameters, {record['n_tokens']:,} tokens, {made}.",
        f"Learned {text['n_bytes']:,} bytes ({text['n_tokens']:,} tokens) {record['passes']:.1f} times.",
        f"{measured}: {base.bits_per_byte:.3f}; best on the way {best:.3f}.",
    ]
    return lines + [f"  {sample['prompt']} | {sample['after'].strip()}" for sample in record["samples"]]
