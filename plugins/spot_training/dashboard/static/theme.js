// Before the first paint: the theme a person chose in Airflow, and its colours, where the page is framed by it.
"use strict";
(() => {
  const COLOURS = ["bg", "bg-subtle", "bg-muted", "border", "fg", "fg-muted", "brand-solid", "brand-fg"];
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  function chosen() {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null;
    }
  }

  function follow() {
    const theme = chosen();
    root.dataset.theme = theme === "dark" || (theme !== "light" && system.matches) ? "dark" : "light";
    requestAnimationFrame(borrow);
  }

  // Airflow's colours may be an installation's own.
  function borrow() {
    try {
      if (parent === self) return;
      const theirs = getComputedStyle(parent.document.documentElement);
      for (const name of COLOURS) {
        const value = theirs.getPropertyValue(`--chakra-colors-${name}`).trim();
        if (value) root.style.setProperty(`--${name}`, value);
      }
    } catch {
      // Framed by something else: our own colours will do.
    }
  }

  follow();
  system.addEventListener("change", follow);
  addEventListener("storage", (event) => {
    if (event.key === "theme") setTimeout(follow, 50);
  });
})();
