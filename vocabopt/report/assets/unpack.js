// The page's data: base64 of gzip in blocks of data with the id pack-NAME, see packs.py.

/** Resolves when the browser has nothing better to do, so that work never delays a paint or a key. */
function idle() {
  return new Promise((resolve) => {
    if ("requestIdleCallback" in window) requestIdleCallback(() => resolve(), { timeout: 300 });
    else setTimeout(resolve, 1);
  });
}

function hasPack(name) {
  return document.getElementById(`pack-${name}`) !== null;
}

/** The gzip bytes of a pack; its text leaves the document, since it is read once. */
function packedBytes(name) {
  const element = document.getElementById(`pack-${name}`);
  const text = element.textContent;
  element.remove();
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

async function gunzip(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** A pack, opened: `header`, then columns read one after the other. */
class Pack {
  static async open(name) {
    return new Pack(await gunzip(packedBytes(name)));
  }

  constructor(bytes) {
    const length = new DataView(bytes.buffer).getUint32(0, true);
    this.header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
    this.bytes = bytes;
    this.at = 4 + length;
  }

  /** n integers, seven bits a byte; up to 2^53, so multiplied rather than shifted. */
  integers(n) {
    const values = new Float64Array(n);
    const { bytes } = this;
    let { at } = this;
    for (let i = 0; i < n; i += 1) {
      let value = 0;
      let scale = 1;
      while (bytes[at] > 127) {
        value += (bytes[at] - 128) * scale;
        scale *= 128;
        at += 1;
      }
      values[i] = value + bytes[at] * scale;
      at += 1;
    }
    this.at = at;
    return values;
  }

  /** A column of n + 1 values from `first`, stored as zigzag differences. */
  column(first, n) {
    const steps = this.integers(n);
    const values = new Float64Array(n + 1);
    values[0] = first;
    for (let i = 0; i < n; i += 1) {
      const step = steps[i] % 2 ? -(steps[i] + 1) / 2 : steps[i] / 2;
      values[i + 1] = values[i] + step;
    }
    return values;
  }

  /** The bytes that are left. */
  rest() {
    return this.bytes.subarray(this.at);
  }
}
