// The sample sentences and the playground: text cut by the base and by the tokenizer of the slider's size.

const N_PLAYGROUND_CHARS = 20000;
const TYPING_PAUSE_MS = 120;

/** The base's tokens of texts seen before: they do not change with the size. */
class BaseCuts {
  constructor(tokenizer) {
    this.tokenizer = tokenizer;
    this.cuts = new Map();
  }

  of(text) {
    if (!this.cuts.has(text)) this.cuts.set(text, this.tokenizer.encode(text, 0));
    return this.cuts.get(text);
  }
}

async function startSamples(tokenizer, size) {
  const box = document.getElementById("samples");
  if (!box) return;
  const { samples } = (await Pack.open("samples")).header;
  const buttons = document.getElementById("sample-sets");
  const place = document.getElementById("sample-texts");
  const base = new BaseCuts(tokenizer);
  let chosen = samples[0];

  const show = () => {
    place.replaceChildren(...chosen.texts.map((text) => {
      return beside(tokenizer, base.of(text), tokenizer.encode(text, size.value), size.value);
    }));
  };
  for (const sample of samples) {
    const button = document.createElement("button");
    button.type = "button";
    const name = document.createElement("bdi");
    name.textContent = size.curve.header.sets[sample.set].name;
    button.append(name);
    button.setAttribute("aria-pressed", String(sample === chosen));
    button.addEventListener("click", () => {
      chosen = sample;
      for (const other of buttons.children) other.setAttribute("aria-pressed", String(other === button));
      show();
    });
    buttons.append(button);
  }
  box.hidden = false;
  size.follow(show);
}

function startPlayground(tokenizer, size) {
  const tools = document.getElementById("playground-tools");
  if (!tools) return;
  const field = document.getElementById("playground-text");
  const ids = document.getElementById("playground-ids");
  const note = document.getElementById("playground-note");
  const result = document.getElementById("playground-result");
  let base = { text: null, ids: [] };
  let timer = 0;

  /** A long paste keeps its beginning, before the browser lays out the rest of it. */
  const trim = () => {
    const { value } = field;
    // Not cut inside a surrogate pair.
    const kept = value.slice(0, N_PLAYGROUND_CHARS).replace(/[\ud800-\udbff]$/u, "");
    const nLeftOut = value.length > N_PLAYGROUND_CHARS ? value.length - kept.length : 0;
    if (nLeftOut) field.value = kept;
    note.textContent = nLeftOut
      ? `Kept are the first ${count(kept.length)} characters; ${count(nLeftOut)} more were left out.` : "";
  };
  const show = () => {
    const text = field.value;
    if (text === "") {
      result.replaceChildren();
      return;
    }
    if (base.text !== text) base = { text, ids: tokenizer.encode(text, 0) };
    const added = tokenizer.encode(text, size.value);
    result.replaceChildren(beside(tokenizer, base.ids, added, size.value, { withIds: ids.checked }));
  };
  const showSoon = () => {
    clearTimeout(timer);
    timer = setTimeout(show, TYPING_PAUSE_MS);
  };
  field.addEventListener("input", () => {
    trim();
    showSoon();
  });
  ids.addEventListener("change", show);
  tools.hidden = false;
  size.follow(showSoon);
}
