// Before the first paint: light or dark, where the reader chose one; else the system's own stays.
(() => {
  "use strict";
  try {
    const chosen = localStorage.getItem("vocabopt-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // A browser may keep a file's page from storing anything: the system's choice holds.
  }
})();
