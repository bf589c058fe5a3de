// Formulas that are wider than a phone can be scrolled: let the keyboard do it, too.
document.addEventListener("DOMContentLoaded", () => {
  window.MathJax?.startup?.promise?.then(() => {
    for (const formula of document.querySelectorAll("mjx-container[display]")) formula.tabIndex = 0;
  });
});
