// What happens when the page has been painted: small things first, each in a pause of its own.

async function start() {
  startTheme();
  startPrinting();
  await idle();
  // A page that would be too large comes without.
  if (hasPack("curve")) await startAtSize();
  document.documentElement.dataset.ready = "";
}

async function startAtSize() {
  const curve = await Curve.load();
  const size = new Size(curve);
  startNumbers(size);
  startControls(size);
  startCharts(size);
  if (hasPack("tokens")) {
    await idle();
    startTokens(await Tokens.load(curve.header.n_tokens_base), size);
  }
  if (hasPack("playground")) {
    await idle();
    const tokenizer = await VocaboptTokenizer.load(packedBytes("playground"));
    await idle();
    if (hasPack("samples")) await startSamples(tokenizer, size);
    startPlayground(tokenizer, size);
  }
}

start().catch((error) => {
  document.getElementById("script-problem").hidden = false;
  throw error;
});
