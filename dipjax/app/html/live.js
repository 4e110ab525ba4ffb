"use strict";
// What the program sends while the picture forms, and what the buttons tell it; `page.js` comes before this.
const number = Number(find("live").dataset.number), told = find("told");
const buttons = { stop: find("stop"), keep: find("keep") };
const source = new EventSource("events");

source.addEventListener("message", (event) => {
  const now = JSON.parse(event.data);
  if (now.number !== number) { window.location.reload(); return; } // another picture, perhaps of another size
  if (now.picture) after.src = now.picture;
  if (now.picture) after.alt = find("right").textContent = now.label;
  find("status").textContent = now.status;
  find("steps").max = now.total || 1;
  find("steps").value = now.steps;
  for (const [name, button] of Object.entries(buttons)) if (button) button.disabled = !now[name];
  if (!now.over) return;
  source.close();
  if (now.report) window.location.replace("report"); // the whole page of the result, which needs the program no longer
});

source.addEventListener("error", () => {
  if (source.readyState === EventSource.CLOSED || !navigator.onLine) return;
  find("status").textContent = "the program does not answer: it has ended, or its machine is not reached";
});

for (const [name, button] of Object.entries(buttons)) {
  if (!button) continue;
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      told.textContent = await (await fetch(name, { method: "POST" })).text();
    } catch {
      told.textContent = "the program does not answer";
    }
    button.disabled = name === "stop";
  });
}
