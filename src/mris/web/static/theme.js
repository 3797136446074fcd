// The light or the dark look: the system's until the switch is used, then the one chosen, kept in this browser.
// A plain script in the head, so that the page is never drawn in the wrong one first.

(() => {
  const root = document.documentElement;
  root.classList.add("scripted"); // what needs scripts shows, what replaces them goes
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const kept = () => {
    try {
      return localStorage.getItem("mris-theme");
    } catch {
      return null; // a browser that keeps nothing
    }
  };
  const shown = () => root.dataset.theme ?? (dark.matches ? "dark" : "light");
  const tell = () => {
    const button = document.getElementById("theme");
    if (button) button.setAttribute("aria-pressed", String(shown() === "dark"));
  };

  const before = kept();
  if (before === "light" || before === "dark") root.dataset.theme = before;
  dark.addEventListener("change", tell);
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = shown() === "dark" ? "light" : "dark";
      try {
        localStorage.setItem("mris-theme", root.dataset.theme);
      } catch {
        // It then lasts as long as the page.
      }
      tell();
      dispatchEvent(new Event("themechange"));
    });
    tell();
  });
})();
