"use strict";
// (Forms are asked by getAttribute: a button named "action" hides form.action.)
// Parts marked data-live are fetched again and replaced only when they changed; what was typed in them survives.
const seen = new WeakMap();
function replace(part, html) {
  const boxes = () => Array.from(part.querySelectorAll("form input:not([type=hidden]), form select"));
  const name = (box) => box.form.getAttribute("action") + " " + box.name;
  const typed = new Map(boxes().map((box) => [name(box), box.value]));
  const active = part.contains(document.activeElement) && document.activeElement.form ? name(document.activeElement) : "";
  part.innerHTML = html;
  for (const box of boxes()) {
    if (typed.has(name(box))) box.value = typed.get(name(box));
    if (name(box) === active) box.focus();
  }
  for (const list of part.querySelectorAll(".messages")) list.scrollTop = list.scrollHeight;
}
async function refresh() {
  for (const part of document.querySelectorAll("[data-live]")) {
    try {
      const answer = await fetch(part.dataset.live, { headers: { Accept: "text/html" } });
      const html = await answer.text();
      if (answer.ok && seen.get(part) !== html && !part.querySelector("details[open]")) {
        replace(part, html);
        seen.set(part, html);
        tick();
      }
      document.body.classList.remove("offline");
    } catch (error) {
      document.body.classList.add("offline");
    }
  }
}
function tick() {
  for (const part of document.querySelectorAll("[data-until]")) {
    const left = Math.max(0, Math.round(Number(part.dataset.until) - Date.now() / 1000));
    part.textContent = left + " s left";
  }
}
document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("[data-fetch]")) return;
  event.preventDefault();
  const data = new FormData(form);
  if (event.submitter && event.submitter.name) data.set(event.submitter.name, event.submitter.value);
  const note = form.querySelector("[data-note]");
  const answer = await fetch(form.getAttribute("action"), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(Object.fromEntries(data)),
  });
  const value = await answer.json().catch(() => ({}));
  if (note) {
    note.textContent = answer.ok ? value.message || "Done." : value.error || "Refused.";
    note.className = answer.ok ? "note good" : "note bad";
  } else if (!answer.ok) {
    alert(value.error || "Refused.");
  }
  refresh();
});
setInterval(refresh, 1000);
setInterval(tick, 500);
refresh();
tick();
