// The table of added tokens: searched by text or rank, a page at a time.

const N_ROWS = 50;

class Tokens {
  static async load(firstId) {
    const pack = await Pack.open("tokens");
    await idle();
    return new Tokens(pack, firstId);
  }

  constructor(pack, firstId) {
    const { n } = pack.header;
    this.n = n;
    this.firstId = firstId;
    this.kinds = pack.header.kinds;
    this.lengths = pack.integers(n);
    this.leftOut = pack.integers(n);
    this.kind = pack.integers(n);
    this.count = pack.integers(n);
    this.left = pack.integers(n);
    this.bytes = pack.rest();
    this.offsets = new Uint32Array(n + 1);
    for (let i = 0; i < n; i += 1) this.offsets[i + 1] = this.offsets[i] + this.lengths[i];
    this.texts = null;
  }

  bytesOf(row) {
    return this.bytes.subarray(this.offsets[row], this.offsets[row + 1]);
  }

  /** What each token is found by: its text in lower case. Made once, when first searched. */
  searchable() {
    if (!this.texts) {
      const decoder = new TextDecoder();
      this.texts = Array.from({ length: this.n }, (_, row) => decoder.decode(this.bytesOf(row)).toLowerCase());
    }
    return this.texts;
  }

  /** Rows (rank - 1) below `end` that hold the text, or that stand at the rank. */
  find(query, end) {
    const wanted = query.toLowerCase().replaceAll("\u2423", " ").replaceAll("\u2581", " ");
    const number = /^\s*#?\s*([\d,]+)\s*$/u.exec(query);
    const rank = number ? Number(number[1].replaceAll(",", "")) : 0;
    const rows = [];
    if (rank > 0 && rank <= end) rows.push(rank - 1);
    const texts = wanted === "" ? null : this.searchable();
    for (let row = 0; row < end; row += 1) {
      if (row !== rank - 1 && (texts === null || texts[row].includes(wanted))) rows.push(row);
    }
    return rows;
  }

  /** The bytes of the parts that stood in a token's place; null where they are not known. */
  parts(row) {
    const bytes = this.bytesOf(row);
    if (this.kinds[this.kind[row]] === "char" && bytes.length <= 4) return [...bytes].map((_, i) => bytes.subarray(i, i + 1));
    const left = this.left[row] - 1;
    if (left < 1 || left >= bytes.length || this.leftOut[row]) return null;
    return [bytes.subarray(0, left), bytes.subarray(left)];
  }
}

function tokenRow(tokens, row) {
  const line = document.createElement("tr");
  const cell = (className, content) => {
    const element = document.createElement("td");
    element.className = className;
    element.append(content);
    line.append(element);
    return element;
  };
  const shown = (bytes, nLeftOut = 0) => {
    const element = document.createElement("bdi");
    appendBytes(element, bytes, nLeftOut);
    return element;
  };
  cell("n", count(row + 1));
  cell("piece", shown(tokens.bytesOf(row), tokens.leftOut[row]));
  const replaced = cell("replaced", "");
  const parts = tokens.parts(row);
  if (parts === null) replaced.textContent = DASH;
  else {
    parts.forEach((bytes, i) => {
      if (i) replaced.append(" + ");
      replaced.append(shown(bytes));
    });
  }
  cell("kind", tokens.kinds[tokens.kind[row]] ?? DASH);
  cell("n", count(tokens.count[row]));
  cell("n id", String(tokens.firstId + row));
  return line;
}

function startTokens(tokens, size) {
  const box = document.getElementById("token-search");
  const query = document.getElementById("token-query");
  const within = document.getElementById("token-within");
  const found = document.getElementById("token-found");
  const page = document.getElementById("token-page");
  const body = document.querySelector("#table-added tbody");
  const turns = Object.fromEntries([...box.querySelectorAll("[data-turn]")].map((button) => [button.dataset.turn, button]));
  let rows = [];
  let first = 0;

  const show = () => {
    const last = Math.max(0, Math.floor((rows.length - 1) / N_ROWS)) * N_ROWS;
    first = Math.min(Math.max(first, 0), last);
    body.replaceChildren(...rows.slice(first, first + N_ROWS).map((row) => tokenRow(tokens, row)));
    page.textContent = rows.length
      ? `${count(first + 1)} to ${count(Math.min(first + N_ROWS, rows.length))} of ${count(rows.length)}` : "";
    turns.first.disabled = turns.back.disabled = first === 0;
    turns.on.disabled = turns.last.disabled = first === last;
  };
  const search = () => {
    rows = tokens.find(query.value, within.checked ? size.value : tokens.n);
    found.textContent = query.value === "" ? "" : `${counted(rows.length, "token")} found`;
    first = 0;
    show();
  };
  const turn = (to) => () => {
    first = to();
    show();
  };
  turns.first.addEventListener("click", turn(() => 0));
  turns.back.addEventListener("click", turn(() => first - N_ROWS));
  turns.on.addEventListener("click", turn(() => first + N_ROWS));
  turns.last.addEventListener("click", turn(() => rows.length));
  query.addEventListener("input", search);
  within.addEventListener("change", search);
  size.follow(() => {
    if (within.checked) search();
  });
  search();
  box.hidden = false;
  document.getElementById("first-and-last").classList.add("paper-only");
}
