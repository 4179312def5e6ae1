// Text as its tokens: spans of alternating tint, added tokens in colour, with what cannot be seen made visible.

const N_TOKENS_SHOWN = 1500;
const N_TOKEN_CHARS = 60;
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\p{Zs}\u115f\u1160\u3164\uffa0\u034f\u17b4\u17b5\ufe00-\ufe0f\u{e0100}-\u{e01ef}]/u;
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The text of whole characters, or null. */
function decoded(bytes) {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return null;
  }
}

function hexadecimal(bytes) {
  return [...bytes].map((byte) => byte.toString(16).toUpperCase().padStart(2, "0")).join(" ");
}

function marked(text) {
  const element = document.createElement("span");
  element.className = "ctl";
  element.textContent = text;
  return element;
}

/** Append foreign text to an element, as text.py's `visible`: nothing in it can act, hide or turn its neighbours. */
function appendVisible(element, text, limit = N_TOKEN_CHARS) {
  const chars = [...text];
  let run = "";
  const flush = () => {
    if (run) element.append(run);
    run = "";
  };
  for (const char of chars.slice(0, limit)) {
    if (char === " ") run += "\u2423";
    else if (HIDDEN.test(char)) {
      flush();
      element.append(marked(`U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`));
    } else run += char;
  }
  flush();
  if (chars.length > limit) element.append(marked(`\u2026 ${count(chars.length - limit)} more characters`));
}

/** Append a token's bytes: as text, or in hexadecimal where they are no whole characters. */
function appendBytes(element, bytes, nLeftOut = 0) {
  const text = decoded(bytes);
  if (text !== null && !nLeftOut) {
    appendVisible(element, text);
    return;
  }
  if (nLeftOut) {
    // Cut inside a character perhaps: what is whole is shown.
    appendVisible(element, new TextDecoder().decode(bytes).replace(/\ufffd+$/u, ""), N_TOKEN_CHARS);
    return;
  }
  const more = bytes.length > N_TOKEN_CHARS ? ` \u2026 ${count(bytes.length - N_TOKEN_CHARS)} more bytes` : "";
  element.append(marked(hexadecimal(bytes.subarray(0, N_TOKEN_CHARS)) + more));
}

function tokenElement(tokenizer, id, index, withId) {
  const token = tokenizer.token(id);
  const element = document.createElement("bdi");
  element.className = `t${index % 2 ? " odd" : ""}${token.rank ? " new" : ""}`;
  if (token.isSpecial) {
    element.classList.add("special");
    appendVisible(element, token.piece);
  } else appendBytes(element, token.bytes);
  if (!element.hasChildNodes()) element.append("\u2205");
  if (withId) {
    const number = document.createElement("small");
    number.textContent = String(id);
    element.append(number);
  }
  return { element, endsLine: token.bytes.includes(10) };
}

/** A paragraph of tokens. */
function tokensElement(tokenizer, ids, { withIds = false } = {}) {
  const paragraph = document.createElement("p");
  paragraph.className = withIds ? "cut ids" : "cut";
  ids.slice(0, N_TOKENS_SHOWN).forEach((id, index) => {
    const { element, endsLine } = tokenElement(tokenizer, id, index, withIds);
    paragraph.append(element);
    if (endsLine) paragraph.append(document.createElement("br"));
  });
  if (ids.length > N_TOKENS_SHOWN) paragraph.append(marked(`\u2026 ${count(ids.length - N_TOKENS_SHOWN)} more tokens`));
  return paragraph;
}

/** Base beside new: two columns, each with its count. */
function beside(tokenizer, idsBase, idsNew, size, options) {
  const pair = document.createElement("div");
  pair.className = "beside";
  const sides = [["base", idsBase, "the base"], ["added", idsNew, `with ${count(size)} added`]];
  for (const [name, ids, words] of sides) {
    const side = document.createElement("div");
    side.dataset.side = name;
    const caption = document.createElement("p");
    caption.className = "caption";
    const number = document.createElement("b");
    number.textContent = counted(ids.length, "token");
    caption.append(number, ` ${words}`);
    if (name === "added" && idsBase.length) caption.append(` (${percent(ids.length / idsBase.length)})`);
    side.append(caption, tokensElement(tokenizer, ids, options));
    pair.append(side);
  }
  return pair;
}
