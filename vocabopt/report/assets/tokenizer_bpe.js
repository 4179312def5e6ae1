// BPE: ids by bytes, merges by pairs of ids, and merging by rank and from left to right, as the `tokenizers` library does
// it. Loaded before tokenizer.js.
const VocaboptBpe = (() => {
  "use strict";

  /** The numbers of a section: LEB128. */
  function numbersOf(bytes, n) {
    const numbers = new Int32Array(n);
    for (let at = 0, i = 0; i < n; i++) {
      let shift = 0;
      do {
        numbers[i] |= (bytes[at] & 0x7f) << shift;
        shift += 7;
      } while (bytes[at++] & 0x80);
    }
    return numbers;
  }

  function powerOfTwoAbove(n) {
    return 2 ** Math.ceil(Math.log2(n + 1));
  }

  /** Ids by the bytes of their pieces: a hash table with open addressing. */
  class Vocabulary {
    constructor(lengths, text) {
      this.text = text;
      this.starts = new Int32Array(lengths.length + 1);
      lengths.forEach((length, id) => (this.starts[id + 1] = this.starts[id] + length));
      this.slots = new Int32Array(powerOfTwoAbove(2 * lengths.length)).fill(-1);
      for (let id = 0; id < lengths.length; id++) {
        if (lengths[id]) this.slots[this.slotOf(text, this.starts[id], this.starts[id + 1])] = id;
      }
    }

    slotOf(bytes, from, to) {
      let hash = 0x811c9dc5;
      for (let i = from; i < to; i++) hash = Math.imul(hash ^ bytes[i], 0x01000193);
      const mask = this.slots.length - 1;
      let slot = (hash ^ (hash >>> 15)) & mask;
      while (this.slots[slot] >= 0 && !this.spells(this.slots[slot], bytes, from, to)) slot = (slot + 1) & mask;
      return slot;
    }

    spells(id, bytes, from, to) {
      const start = this.starts[id];
      if (this.starts[id + 1] - start !== to - from) return false;
      for (let i = 0; i < to - from; i++) if (this.text[start + i] !== bytes[from + i]) return false;
      return true;
    }

    /** The id of the piece with these bytes, or -1. */
    find(bytes, from, to) {
      return this.slots[this.slotOf(bytes, from, to)];
    }

    bytesOf(id) {
      return this.text.slice(this.starts[id], this.starts[id + 1]);
    }
  }

  /** Ranks of pairs of ids: a hash table too. */
  class Merges {
    constructor(vocabulary, results, cuts) {
      const n = results.length;
      this.results = results;
      this.lefts = new Int32Array(n);
      this.rights = new Int32Array(n);
      this.slots = new Int32Array(powerOfTwoAbove(2 * n)).fill(-1);
      const { text, starts } = vocabulary;
      for (let rank = 0; rank < n; rank++) {
        const [start, end] = [starts[results[rank]], starts[results[rank] + 1]];
        const left = vocabulary.find(text, start, start + cuts[rank]);
        const right = vocabulary.find(text, start + cuts[rank], end);
        this.slots[this.slotOf(left, right)] = rank;
        this.lefts[rank] = left;
        this.rights[rank] = right;
      }
    }

    slotOf(left, right) {
      const mask = this.slots.length - 1;
      const hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
      let slot = (hash ^ (hash >>> 15)) & mask;
      for (let rank; (rank = this.slots[slot]) >= 0; slot = (slot + 1) & mask) {
        if (this.lefts[rank] === left && this.rights[rank] === right) break;
      }
      return slot;
    }

    rankOf(left, right) {
      return this.slots[this.slotOf(left, right)];
    }
  }

  /** The smallest number first. */
  class Heap {
    constructor() {
      this.items = [];
    }

    push(item) {
      const { items } = this;
      let at = items.length;
      for (let up; at > 0 && items[(up = (at - 1) >> 1)] > item; at = up) items[at] = items[up];
      items[at] = item;
    }

    pop() {
      const { items } = this;
      const first = items[0];
      const last = items.pop();
      if (items.length === 0) return first;
      let at = 0;
      for (let down; (down = 2 * at + 1) < items.length; at = down) {
        if (down + 1 < items.length && items[down + 1] < items[down]) down++;
        if (items[down] >= last) break;
        items[at] = items[down];
      }
      items[at] = last;
      return first;
    }
  }

  /** Apply the merges of the first `nMerges` ranks to ids: by rank, and within one rank from left to right. */
  function mergeAll(ids, merges, nMerges) {
    const n = ids.length;
    const next = new Int32Array(n);
    const previous = new Int32Array(n);
    for (let at = 0; at < n; at++) [next[at], previous[at]] = [at + 1, at - 1];
    const heap = new Heap();
    // Rank and place as one number, which orders them; both are exact below 2 ** 53.
    const offer = (at) => {
      const rank = merges.rankOf(ids[at], ids[next[at]]);
      if (rank >= 0 && rank < nMerges) heap.push(rank * 2 ** 32 + at);
    };
    for (let at = 0; at + 1 < n; at++) offer(at);
    while (heap.items.length) {
      const item = heap.pop();
      const rank = Math.floor(item / 2 ** 32);
      const at = item % 2 ** 32;
      const right = next[at];
      if (ids[at] < 0 || right >= n) continue; // its left part is gone, or its right
      const now = merges.rankOf(ids[at], ids[right]);
      if (now < 0 || merges.results[now] !== merges.results[rank]) continue;
      ids[at] = merges.results[rank];
      ids[right] = -1;
      next[at] = next[right];
      if (next[at] < n) {
        previous[next[at]] = at;
        offer(at);
      }
      if (previous[at] >= 0) offer(previous[at]);
    }
    return ids.filter((id) => id >= 0);
  }

  return { numbersOf, Vocabulary, Merges, mergeAll };
})();
