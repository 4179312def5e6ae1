// The numbers in the text: elements with data-live="NAME" or "NAME:SET" follow the size.

function liveWords(curve, size) {
  const now = curve.at(size);
  const words = {
    size: count(now.size),
    recommended: size === curve.nChoice ? ", as recommended" : "",
    saved: percent(now.saved),
    rows: count(now.rows),
    ratio_embedding: fixed(now.ratioEmbedding),
    params: shortCount(now.params),
    params_added: shortCount(now.paramsAdded),
    training: times(now.training),
    serving: times(now.serving),
    context: times(now.context),
    tokens_per_word: fixed(now.tokensPerWord),
    bytes_per_token: fixed(now.bytesPerToken),
    used: percent(now.used),
  };
  curve.tokens.forEach((tokens, set) => {
    const ratio = curve.ratio(set, size);
    words[`tokens:${set}`] = count(tokens[size]);
    words[`ratio:${set}`] = fixed(ratio, 4);
    words[`saved:${set}`] = percent(ratio === null ? null : 1 - ratio);
  });
  return words;
}

function startNumbers(size) {
  const places = [...document.querySelectorAll("[data-live]")];
  size.follow((value) => {
    const words = liveWords(size.curve, value);
    for (const place of places) {
      const word = words[place.dataset.live];
      if (place.textContent !== word) place.textContent = word;
    }
  });
}
