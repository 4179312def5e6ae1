// From values to words, as text.py does it: numbers never round into "0" or "100 %", unknown is a dash.

const DASH = "\u2013";
const MINUS = "\u2212";

function isUnknown(value) {
  return value === null || value === undefined || Number.isNaN(value);
}

function withCommas(digits) {
  const [whole, fraction] = digits.split(".");
  const apart = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return fraction === undefined ? apart : `${apart}.${fraction}`;
}

function count(value) {
  return isUnknown(value) ? DASH : withCommas(Math.trunc(value).toFixed(0));
}

function fixed(value, digits = 3) {
  if (isUnknown(value)) return DASH;
  if (value === 0 || value === 1) return value.toFixed(digits);
  for (let n = digits; n < 10; n += 1) {
    const shown = value.toFixed(n);
    if (Number(shown) !== 0 && Number(shown) !== 1) return withCommas(shown).replace("-", MINUS);
  }
  if (Math.abs(value) < 0.5) return value.toExponential(1);
  return value < 1 ? "< 1" : "> 1";
}

function percent(share, digits = 1) {
  if (isUnknown(share)) return DASH;
  if (share === 0 || share === 1) return share ? "100 %" : "0 %";
  for (let n = digits; n < 8; n += 1) {
    const shown = (100 * share).toFixed(n);
    if (Number(shown) !== 0 && Number(shown) !== 100) return `${withCommas(shown)} %`.replace("-", MINUS);
  }
  return share > 0.5 ? "> 99.9 %" : "< 0.1 %";
}

function shortCount(value) {
  if (isUnknown(value)) return DASH;
  for (const [factor, unit] of [[1e12, "T"], [1e9, "B"], [1e6, "M"]]) {
    if (Math.abs(value) >= factor) return `${withCommas((value / factor).toFixed(1))} ${unit}`;
  }
  return count(value);
}

function times(value) {
  return isUnknown(value) ? DASH : `${fixed(value, 2)} \u00d7`;
}

/** "1 token", "2 tokens". */
function counted(n, word) {
  return `${count(n)} ${word}${n === 1 ? "" : "s"}`;
}
