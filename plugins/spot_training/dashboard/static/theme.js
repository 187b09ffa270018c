// Runs before the first paint: uses the theme chosen in Airflow, and Airflow's colours inside its frame.
"use strict";
(() => {
  const COLOURS = ["bg", "bg-subtle", "bg-muted", "border", "fg", "fg-muted", "brand-solid", "brand-fg"];
  const root = document.documentElement;
  root.classList.add("scripted");
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

  // An installation of Airflow may have its own colours.
  function borrow() {
    try {
      if (parent === self) return;
      const theirs = getComputedStyle(parent.document.documentElement);
      for (const name of COLOURS) {
        const value = theirs.getPropertyValue(`--chakra-colors-${name}`).trim();
        if (value) root.style.setProperty(`--${name}`, value);
      }
    } catch {
      // Framed by something else: keep our colours.
    }
  }

  follow();
  system.addEventListener("change", follow);
  addEventListener("storage", (event) => {
    if (event.key === "theme") setTimeout(follow, 50);
  });
})();
