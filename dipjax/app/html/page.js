"use strict";
// The divide between two pictures, by the slider or by the pointer, the zoom, and which picture is on the right.
const find = (name) => document.getElementById(name);
const viewer = find("viewer"), stage = find("stage"), before = find("before"), after = find("after");
const divide = find("divide"), handle = find("handle"), shown = find("zoom");
const result = after.src, natural = Number(stage.dataset.width), ratio = Number(stage.dataset.height) / natural;
let zoom = 1, moving = null;

const fitting = () => Math.max(40, Math.min(viewer.offsetWidth, 0.6 * window.innerHeight / ratio));

function draw() {
  viewer.style.height = `${fitting() * ratio}px`; // at any zoom, so that the buttons below it stay where they are
  stage.style.width = `${fitting() * zoom}px`;
  stage.style.height = `${fitting() * zoom * ratio}px`;
  stage.style.setProperty("--divide", `${divide.value}%`);
  stage.classList.toggle("whole", zoom <= 1);
  stage.classList.toggle("sharp", fitting() * zoom > 1.5 * before.naturalWidth);
  shown.value = `${Math.round(100 * fitting() * zoom / natural)} %`;
}

function zoomTo(wish) {
  const old = stage.clientWidth, middle = [viewer.scrollLeft + viewer.clientWidth / 2, viewer.scrollTop + viewer.clientHeight / 2];
  const exact = natural / fitting();
  zoom = Math.min(Math.max(wish, Math.min(1, exact)), Math.max(8, 8 * exact));
  draw();
  const grown = stage.clientWidth / old;
  viewer.scrollLeft = middle[0] * grown - viewer.clientWidth / 2;
  viewer.scrollTop = middle[1] * grown - viewer.clientHeight / 2;
}

function divideAt(event) {
  const place = stage.getBoundingClientRect();
  divide.value = 100 * (event.clientX - place.left) / place.width;
  draw();
}

stage.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  if (zoom <= 1 || event.target === handle) moving = divideAt;
  else if (event.pointerType === "mouse") moving = (drag) => viewer.scrollBy(-drag.movementX, -drag.movementY);
  else return; // a finger scrolls by itself
  stage.setPointerCapture(event.pointerId);
  if (moving === divideAt) divideAt(event);
  event.preventDefault();
});
stage.addEventListener("pointermove", (event) => moving && moving(event));
for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, () => { moving = null; });

viewer.addEventListener("keydown", (event) => {
  const factor = { "+": 1.5, "=": 1.5, "-": 1 / 1.5 }[event.key];
  if (factor && !event.ctrlKey && !event.metaKey) { zoomTo(zoom * factor); event.preventDefault(); }
});
divide.addEventListener("input", draw);
find("larger").addEventListener("click", () => zoomTo(zoom * 1.5));
find("smaller").addEventListener("click", () => zoomTo(zoom / 1.5));
find("fit").addEventListener("click", () => zoomTo(1));
find("exact").addEventListener("click", () => zoomTo(natural / fitting()));
window.addEventListener("resize", draw);

for (const button of document.querySelectorAll(".pick")) {
  button.addEventListener("click", () => {
    for (const other of document.querySelectorAll(".pick")) other.setAttribute("aria-pressed", String(other === button));
    after.src = button.dataset.picture === "after" ? result : button.firstElementChild.src;
    after.alt = find("right").textContent = button.dataset.name;
  });
}
draw();
