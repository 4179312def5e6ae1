// The base tokenizer and every tokenizer grown from it, as the `tokenizers` library encodes. What it loads is written by
// vocabopt/report/playground.py, which says what the sections hold; tokenizer/split_patterns.py says what the steps are.
//
//     const tokenizer = await VocaboptTokenizer.load(bytes);   // gzip, a Uint8Array
//     tokenizer.encode("some text", 1000);                     // ids with 1,000 added tokens
//     tokenizer.token(id);                                     // {piece, bytes, rank, isSpecial}
//
// Nothing depends on the browser's version of Unicode: sets of characters come with the data.
const VocaboptTokenizer = (() => {
  "use strict";

  const { numbersOf, Vocabulary, Merges, mergeAll } = VocaboptBpe;
  const FIRST_SYMBOL = 0x100; // of classes of characters, in split patterns
  const MOST_CACHED = 50000;
  const encoder = new TextEncoder();
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

  // --- Reading -------------------------------------------------------------------------------------------------------

  async function inflate(gzipBytes) {
    const stream = new Blob([gzipBytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  /** Runs of code points -> the class of each. */
  function classTable([starts, classes]) {
    const table = new Uint8Array(0x110000);
    let start = 0;
    starts.forEach((step, i) => {
      start += step;
      table.fill(classes[i], start, i + 1 < starts.length ? start + starts[i + 1] : table.length);
    });
    return table;
  }

  /** Runs of a set's code points -> its test. Its class is 1: U+0000 is in none of these sets. */
  function memberTest(runs) {
    const table = classTable(runs);
    return (point) => table[point] === 1;
  }

  // --- The pipeline before it ----------------------------------------------------------------------------------------

  /** Text in a Unicode normal form, where only active characters change. */
  function normalForm(text, form, isActive) {
    if (/^[\x00-\x7f]*$/.test(text)) return text;
    let done = "";
    let run = "";
    for (const char of text) {
      if (isActive(char.codePointAt(0))) {
        run += char;
      } else {
        done += run.normalize(form) + char;
        run = "";
      }
    }
    return done + run.normalize(form);
  }

  /** The classes of a text as a string of symbols, one a character, and where each character starts in the text. */
  function symbolsOf(text, table) {
    const symbols = new Uint16Array(text.length);
    const starts = new Int32Array(text.length + 1);
    let n = 0;
    for (let at = 0; at < text.length; n++) {
      const point = text.codePointAt(at);
      symbols[n] = FIRST_SYMBOL + table[point];
      starts[n] = at;
      at += point > 0xffff ? 2 : 1;
    }
    starts[n] = text.length;
    let string = "";
    for (let i = 0; i < n; i += 8192) string += String.fromCharCode(...symbols.subarray(i, Math.min(i + 8192, n)));
    return { string, starts };
  }

  /** Is a part of a text joined to the one before it? By what happens to matches: who of the two is one. */
  const JOINS = {
    Isolated: () => false,
    Removed: () => false,
    Contiguous: (before, now) => before === now,
    MergedWithPrevious: (before, now) => now && !before,
    MergedWithNext: (before, now) => before && !now,
  };

  /** Cut a text at the matches of a pattern. */
  function split(text, { pattern, behavior, invert }, table) {
    const { string, starts } = symbolsOf(text, table);
    const parts = [];
    let end = 0;
    const add = (to, isMatch) => {
      if (to > end) parts.push({ from: starts[end], to: starts[to], isMatch: isMatch !== invert });
      end = to;
    };
    for (const match of string.matchAll(pattern)) {
      add(match.index, false);
      add(match.index + match[0].length, true);
    }
    add(string.length, false);
    const joins = JOINS[behavior];
    const pieces = [];
    parts.forEach(({ from, to, isMatch }, i) => {
      if (behavior === "Removed" && isMatch) return;
      if (i > 0 && joins(parts[i - 1].isMatch, isMatch)) pieces.at(-1).to = to;
      else pieces.push({ from, to });
    });
    return pieces.map(({ from, to }) => text.slice(from, to));
  }

  /** Carry out one step on a text, which may begin the document. */
  function perform(step, text, isFirst, { table, isActive }) {
    switch (step.kind) {
      case "unicode":
        return [normalForm(text, step.form, isActive)];
      case "replace":
        return [text.replaceAll(step.from, step.to)];
      case "prepend": {
        const stays = (step.first && !isFirst) || (step.unless && text.startsWith(step.unless));
        return [stays ? text : step.text + text];
      }
      default:
        return split(text, step, table);
    }
  }

  function performAll(steps, text, isFirst, tables) {
    let texts = [text];
    for (const step of steps) texts = texts.flatMap((part, i) => perform(step, part, isFirst && i === 0, tables));
    return texts;
  }

  /** Added tokens, looked for from left to right, the longest first. */
  class AddedTokens {
    constructor(tokens, spaces, words) {
      this.isSpace = spaces && memberTest(spaces);
      this.isWord = words && memberTest(words);
      this.byText = new Map();
      for (const token of tokens) if (!this.byText.has(token.text)) this.byText.set(token.text, token);
      const texts = [...this.byText.keys()].sort((a, b) => b.length - a.length);
      const escaped = texts.map((text) => text.replace(/[\\^$.*+?()[\]{}|\/-]/g, "\\$&"));
      this.pattern = texts.length ? new RegExp(escaped.join("|"), "g") : null;
    }

    /** The parts of a text: {text, start}, or {id} for an added token. */
    split(text) {
      const parts = [];
      let end = 0;
      for (const match of this.pattern ? text.matchAll(this.pattern) : []) {
        const token = this.byText.get(match[0]);
        let [from, to] = [match.index, match.index + match[0].length];
        if (token.single_word && (this.isWordBefore(text, from) || this.isWordAt(text, to))) continue;
        if (token.lstrip) {
          while (from > 0 && this.isSpace(text.charCodeAt(from - 1))) from--;
          from = Math.max(from, end);
        }
        if (token.rstrip) while (to < text.length && this.isSpace(text.charCodeAt(to))) to++;
        if (end < from) parts.push({ text: text.slice(end, from), start: end });
        parts.push({ id: token.id });
        end = to;
      }
      if (end < text.length) parts.push({ text: text.slice(end), start: end });
      return parts;
    }

    isWordBefore(text, at) {
      const last = at > 1 && text.codePointAt(at - 2) > 0xffff ? at - 2 : at - 1;
      return at > 0 && this.isWord(text.codePointAt(last));
    }

    isWordAt(text, at) {
      return at < text.length && this.isWord(text.codePointAt(at));
    }
  }

  // --- The tokenizer -------------------------------------------------------------------------------------------------

  /** GPT-2's printable alphabet: how tokenizer.json spells each byte in byte-level bases. */
  function printableBytes() {
    let n = 0;
    const isPrintable = (byte) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : 256 + n++));
  }

  class Tokenizer {
    constructor(head, sections) {
      this.nBaseTokens = head.n_base_tokens;
      this.nAdded = head.n_added;
      this.isByteLevel = head.family === "byte-level-bpe";
      this.ignoresMerges = head.ignores_merges;
      const lengths = numbersOf(sections.lengths, this.nBaseTokens + this.nAdded);
      this.vocabulary = new Vocabulary(lengths, sections.text);
      const results = numbersOf(sections.results, head.n_merges);
      let result = 0;
      results.forEach((step, rank) => (results[rank] = result += step & 1 ? -(step + 1) / 2 : step / 2));
      this.merges = new Merges(this.vocabulary, results, numbersOf(sections.cuts, head.n_merges));
      // How many merges there are at each size.
      const ofRow = numbersOf(sections.merges_of_row, this.nAdded);
      this.nMerges = new Int32Array(this.nAdded + 1);
      this.nMerges[0] = head.n_merges - ofRow.reduce((sum, n) => sum + n, 0);
      ofRow.forEach((n, row) => (this.nMerges[row + 1] = this.nMerges[row] + n));
      const oneByte = (byte) => this.vocabulary.find([byte], 0, 1);
      this.byteIds = head.byte_ids ?? Array.from({ length: 256 }, (_, byte) => oneByte(byte));
      this.byteOf = new Map(head.byte_ids ? head.byte_ids.map((id, byte) => [id, byte]) : []);
      this.printable = printableBytes();
      const compiled = (step) => (step.kind === "split" ? { ...step, pattern: new RegExp(step.pattern, "g") } : step);
      this.normalizer = head.normalizer;
      this.preTokenizer = head.pre_tokenizer.map(compiled);
      // Of size 0, where the base's split pattern was widened for the others.
      this.preTokenizerOfBase = head.pre_tokenizer_of_base?.map(compiled) ?? this.preTokenizer;
      this.tables = { table: classTable(head.classes), isActive: head.active && memberTest(head.active) };
      this.added = new Map(head.added.map((token) => [token.id, token]));
      const tokensWhere = (normalized) =>
        new AddedTokens(head.added.filter((t) => t.normalized === normalized), head.spaces, head.words);
      this.addedInText = tokensWhere(false);
      this.addedInNormalized = tokensWhere(true);
      this.cache = new Map();
      this.cachedSize = 0;
    }

    /** The words of a text, inside which merges happen, and the added tokens between them: strings and ids. */
    words(text, size) {
      const steps = size > 0 ? this.preTokenizer : this.preTokenizerOfBase;
      const words = [];
      // A lone half of a surrogate pair is no character; TextEncoder, too, puts U+FFFD in its place.
      for (const part of this.addedInText.split(text.toWellFormed())) {
        if (part.id !== undefined) {
          words.push(part.id);
          continue;
        }
        const [normalized] = performAll(this.normalizer, part.text, part.start === 0, this.tables);
        for (const inner of this.addedInNormalized.split(normalized)) {
          const isFirst = part.start === 0 && inner.start === 0;
          if (inner.id !== undefined) words.push(inner.id);
          else for (const word of performAll(steps, inner.text, isFirst, this.tables)) words.push(word);
        }
      }
      return words;
    }

    /** The ids of a text with the first `size` added tokens. */
    encode(text, size) {
      if (!(size >= 0 && size <= this.nAdded)) throw new RangeError(`size ${size}: not in 0..${this.nAdded}`);
      if (this.cachedSize !== size || this.cache.size > MOST_CACHED) this.cache.clear();
      this.cachedSize = size;
      const ids = [];
      for (const word of this.words(text, size)) {
        if (typeof word === "number") {
          ids.push(word);
          continue;
        }
        let found = this.cache.get(word);
        if (found === undefined) this.cache.set(word, (found = this.encodeWord(encoder.encode(word), size)));
        for (const id of found) ids.push(id);
      }
      return ids;
    }

    encodeWord(bytes, size) {
      const known = (from, to) => {
        const id = this.vocabulary.find(bytes, from, to);
        return id < this.nBaseTokens + size ? id : -1;
      };
      if (this.ignoresMerges && known(0, bytes.length) >= 0) return [known(0, bytes.length)];
      const ids = [];
      for (let at = 0, end; at < bytes.length; at = end) {
        end = at + 1;
        // In byte-level bases each byte is a symbol; in others each character, spelled in bytes where it is no piece.
        if (!this.isByteLevel) while ((bytes[end] & 0xc0) === 0x80) end++;
        const id = this.isByteLevel ? this.byteIds[bytes[at]] : known(at, end);
        if (id >= 0) ids.push(id);
        else for (let i = at; i < end; i++) ids.push(this.byteIds[bytes[i]]);
      }
      return mergeAll(ids, this.merges, this.nMerges[size]);
    }

    /** What an id stands for: its piece as tokenizer.json spells it, its bytes of text, 0 or the rank it was added at. */
    token(id) {
      const rank = Math.max(0, id - this.nBaseTokens + 1);
      const added = this.added.get(id);
      if (added) return { piece: added.content, bytes: encoder.encode(added.content), rank, isSpecial: added.special };
      const bytes = this.vocabulary.bytesOf(id);
      if (this.isByteLevel) {
        return { piece: Array.from(bytes, (byte) => this.printable[byte]).join(""), bytes, rank, isSpecial: false };
      }
      const piece = decoder.decode(bytes);
      const byte = this.byteOf.get(id);
      const text = byte === undefined ? encoder.encode(piece.replaceAll("▁", " ")) : Uint8Array.of(byte);
      return { piece, bytes: text, rank, isSpecial: false };
    }
  }

  return {
    /** Load what playground.py packed. */
    async load(gzipBytes) {
      const data = await inflate(gzipBytes);
      let at = data.indexOf(10);
      const head = JSON.parse(decoder.decode(data.subarray(0, at++)));
      const sections = {};
      for (const [name, length] of Object.entries(head.sections)) sections[name] = data.subarray(at, (at += length));
      return new Tokenizer(head, sections);
    },
  };
})();
