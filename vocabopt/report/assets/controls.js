// The bar: slider, number field, the way back to the choice; and the switch between light and dark.

const TOLD_AFTER_MS = 600;

function startControls(size) {
  const slider = document.getElementById("size-slider");
  const field = document.getElementById("size-field");
  const back = document.getElementById("size-back");
  const told = document.getElementById("size-told");
  let isStarted = false;
  let timer = 0;

  slider.addEventListener("input", () => size.set(slider.value));
  field.addEventListener("input", () => {
    if (field.value !== "") size.set(field.value);
  });
  // What was typed may be outside the curve, or nothing: the field then shows what holds.
  field.addEventListener("change", () => {
    field.value = String(size.value);
  });
  back.addEventListener("click", () => {
    size.set(size.curve.nChoice);
    slider.focus();
  });

  size.follow((value) => {
    slider.value = String(value);
    slider.setAttribute("aria-valuetext", `${count(value)} added tokens`);
    slider.style.setProperty("--share", String(size.curve.n ? value / size.curve.n : 0));
    if (Number(field.value) !== value || document.activeElement !== field) field.value = String(value);
    back.disabled = value === size.curve.nChoice;
    // Told once the slider rests, not at every step.
    clearTimeout(timer);
    if (isStarted) {
      timer = setTimeout(() => {
        const now = size.curve.at(value);
        told.textContent = `${count(value)} added tokens: ${percent(now.saved)} of tokens saved on `
          + `${size.curve.header.main_words}, embedding ratio ${fixed(now.ratioEmbedding)}.`;
      }, TOLD_AFTER_MS);
    }
    isStarted = true;
  });
  document.getElementById("bar").hidden = false;
}

function startTheme() {
  const button = document.getElementById("theme");
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const show = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("vocabopt-theme", root.dataset.theme);
    } catch {
      // Not stored: it holds until the page is left.
    }
    show();
  });
  system.addEventListener("change", show);
  show();
  button.hidden = false;
}

/** On paper everything is open; afterwards it is as it was. */
function startPrinting() {
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
  });
}
