// Every number of every size: the curve, and what is computed from it.

function quotient(numerator, denominator) {
  return isUnknown(numerator) || !denominator ? null : numerator / denominator;
}

/** The curve of the sweep. `n` added tokens at most, `nChoice` recommended. */
class Curve {
  static async load() {
    return new Curve(await Pack.open("curve"));
  }

  constructor(pack) {
    const { header } = pack;
    this.header = header;
    this.n = header.n;
    this.nChoice = header.n_choice;
    this.tokens = header.sets.map((set) => pack.column(set.n_tokens_base, this.n));
    this.used = header.has_used ? pack.column(0, this.n) : null;
  }

  ratio(set, size) {
    return quotient(this.tokens[set][size], this.tokens[set][0]);
  }

  rows(size) {
    return Math.max(this.header.n_rows_base, this.header.n_tokens_base + size);
  }

  usedShare(size) {
    return this.used ? quotient(this.used[size], size) : null;
  }

  /**
   * Compute of a byte of text, base = 1, or null where no model is known: tokens, times what one takes in body,
   * attention over its context, and output head. In serving, a text of fewer tokens has a shorter context too.
   */
  computeRatio(size, ratio, { contextShrinks }) {
    const { flops, context_tokens: context } = this.header;
    if (!flops || isUnknown(context) || ratio === null) return null;
    const perToken = (rows, length) => flops.body_per_token
      + flops.attention_per_token_per_context_token * length + flops.head_per_row * rows;
    const now = perToken(this.rows(size), contextShrinks ? context * ratio : context);
    return ratio * now / perToken(this.rows(0), context);
  }

  /** All numbers of one size, by the names that the page's data-live attributes use. */
  at(size) {
    const { header } = this;
    const main = header.sets[header.main];
    const tokens = this.tokens[header.main][size];
    const ratio = this.ratio(header.main, size);
    const perRow = header.n_params_per_row;
    return {
      size,
      ratio,
      saved: ratio === null ? null : 1 - ratio,
      rows: this.rows(size),
      ratioEmbedding: this.rows(size) / this.rows(0),
      params: perRow === null ? null : this.rows(size) * perRow,
      paramsAdded: perRow === null ? null : (this.rows(size) - this.rows(0)) * perRow,
      training: this.computeRatio(size, ratio, { contextShrinks: false }),
      serving: this.computeRatio(size, ratio, { contextShrinks: true }),
      context: quotient(1, ratio),
      tokensPerWord: quotient(tokens, main.n_words),
      bytesPerToken: quotient(main.n_bytes, tokens),
      used: this.usedShare(size),
    };
  }
}

/** The size that the reader looks at; everything that shows it listens. */
class Size {
  constructor(curve) {
    this.curve = curve;
    this.value = curve.nChoice;
    this.listeners = [];
    this.isDue = false;
  }

  /** Called with the size now, and after each change, at most once a frame. */
  follow(listener) {
    this.listeners.push(listener);
    listener(this.value);
  }

  set(value) {
    const size = Math.min(Math.max(Math.round(Number(value)) || 0, 0), this.curve.n);
    if (size === this.value) return;
    this.value = size;
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      for (const listener of this.listeners) listener(this.value);
    });
  }
}
