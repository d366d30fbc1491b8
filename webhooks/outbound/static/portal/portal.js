// Makes the portal quicker. Everything works without it.
(function () {
  "use strict";
  const all = (selector, root) => Array.from((root || document).querySelectorAll(selector));

  // One click does it once.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("form[data-once]")) return;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "1";
    window.setTimeout(() => all("button", form).forEach((button) => { button.disabled = true; }), 0);
  });
  window.addEventListener("pageshow", () => {
    all("form[data-once]").forEach((form) => {
      delete form.dataset.sent;
      all("button", form).forEach((button) => { button.disabled = false; });
    });
  });

  // What went wrong is read first.
  const first = document.querySelector("[data-focus]");
  if (first) first.focus();

  // Copying, where the browser lets us.
  if (navigator.clipboard) {
    all("[data-copy]").forEach((button) => {
      button.hidden = false;
      button.addEventListener("click", () => {
        const source = document.getElementById(button.dataset.copy);
        const text = "value" in source ? source.value : source.textContent;
        navigator.clipboard.writeText(text).then(() => { button.textContent = "Copied"; }, () => { if (source.select) source.select(); });
      });
    });
  }

  // A part that is refreshed keeps what was opened in it, and what is being read or pressed is left alone.
  let open = null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    const target = event.detail.target;
    if (target.contains(document.activeElement) && document.activeElement.matches("button, input, pre, a, summary")) {
      event.detail.shouldSwap = false;
      return;
    }
    const tries = all("details[id]", target);
    open = tries.length ? new Map(tries.map((each) => [each.id, each.open])) : null;
  });
  document.addEventListener("htmx:afterSwap", () => {
    if (open) open.forEach((was, id) => { const each = document.getElementById(id); if (each) each.open = was; });
    open = null;
  });
})();
