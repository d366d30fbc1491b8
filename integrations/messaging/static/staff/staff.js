// Makes the forms quicker. Everything works without it.
(function () {
  "use strict";
  const all = (selector, root) => Array.from((root || document).querySelectorAll(selector));

  // One click sends once. The key in the form makes sure of that anyway; this only shows it.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("form[data-once]")) return;
    if (form.dataset.sent || (form.dataset.confirm && !window.confirm(form.dataset.confirm))) {
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

  // The time is a question only for later.
  const later = document.querySelector(".later");
  if (later) {
    const show = () => {
      const picked = document.querySelector("input[name=when]:checked");
      later.hidden = !(picked && picked.value === "later");
    };
    all("input[name=when]").forEach((radio) => radio.addEventListener("change", show));
    show();
  }

  // A template fills in the text.
  const choice = document.getElementById("id_template");
  const source = document.getElementById("templates");
  if (choice && source) {
    const templates = JSON.parse(source.textContent);
    const needs = document.getElementById("template-needs");
    let before = choice.value;
    choice.addEventListener("change", () => {
      const picked = templates[choice.value];
      if (!picked) {
        needs.textContent = "";
        before = choice.value;
        return;
      }
      const text = document.getElementById("id_text");
      const editor = document.querySelector("trix-editor");
      const written = text ? text.value : editor.editor.getDocument().toString();
      const old = templates[before];
      const untouched = !written.trim() || (text && old && written === old.text);
      if (!untouched && !window.confirm("Replace the text by the template's?")) {
        choice.value = before;
        return;
      }
      before = choice.value;
      if (text) text.value = picked.text;
      else {
        editor.editor.loadHTML(picked.html);
        if (picked.subject) document.getElementById("id_subject").value = picked.subject;
      }
      needs.textContent = picked.needs.length ? "To be filled in: " + picked.needs.map((name) => "{{ " + name + " }}").join(", ") : "";
      choice.form.dispatchEvent(new Event("filled", { bubbles: true }));
    });
  }

  // Files belong below the text, as attachments, not into it.
  document.addEventListener("trix-file-accept", (event) => event.preventDefault());

  // How far it is, said when it changes; and what was open stays open.
  const open = new Set();
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target.id === "recipients") {
      open.clear();
      all("details[open]", event.detail.target).forEach((each) => open.add(each.id));
    }
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id === "recipients") {
      open.forEach((id) => { const each = document.getElementById(id); if (each) each.open = true; });
    }
    const said = document.getElementById("said");
    const live = document.getElementById("live");
    if (said && live && live.textContent !== said.textContent) live.textContent = said.textContent;
  });
})();
