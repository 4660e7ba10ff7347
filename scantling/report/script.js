"use strict";
/* Everything on the page works without this: tables then keep their order, images open as files. */

// Tables that sort: a head cell of the last row sorts by its column, once more the other way round.
for (const table of document.querySelectorAll("table.sorts")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const given = [...body.rows];
  if (given.length < 2) continue;
  const read = (row, at) => {
    const cell = row.cells[at];
    if (!cell) return null;
    const text = cell.dataset.value ?? (cell.tagName === "TH" ? cell.textContent.trim() : "");
    if (text === "") return null;
    return Number.isNaN(Number(text)) ? text : Number(text);
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  heads.forEach((head, at) => {
    if (head.classList.contains("plain")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const names = at === 0;
      const now = head.getAttribute("aria-sort");
      const up = now ? now === "descending" : names;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = given.map((row) => [read(row, at), row]);
      rows.sort(([a], [b]) => (a === null ? (b === null ? 0 : 1) : b === null ? -1 : (up ? 1 : -1) * compare(a, b)));
      body.append(...rows.map(([, row]) => row));
    });
  });
}

// Sheets of images: other orders.
for (const sheet of document.querySelectorAll(".sheet")) {
  const orders = {
    [`most ${sheet.dataset.by} first`]: (a, b) => a.dataset.place - b.dataset.place,
    "least first": (a, b) => b.dataset.place - a.dataset.place,
    "by image": (a, b) => a.dataset.image - b.dataset.image,
  };
  const choice = document.createElement("select");
  choice.setAttribute("aria-label", "order of the images");
  for (const name of Object.keys(orders)) choice.append(new Option(name));
  choice.addEventListener("change", () => sheet.append(...[...sheet.children].sort(orders[choice.value])));
  sheet.previousElementSibling.append(" ", choice);
}

// An image enlarged: wheel or buttons zoom, dragging moves, arrow keys go on.
const links = [...document.querySelectorAll("a.zooms")];
if (links.length) {
  const dialog = document.createElement("dialog");
  const stage = document.createElement("div");
  const caption = document.createElement("p");
  const bar = document.createElement("div");
  stage.className = "stage";
  bar.className = "bar";
  dialog.append(stage, bar);
  document.querySelector("main").append(dialog);
  let svg, whole, view, link;
  const show = () => svg.setAttribute("viewBox", [view.x, view.y, view.w, view.h].join(" "));
  const inside = () => {
    view.x = Math.min(Math.max(view.x, 0), whole.w - view.w);
    view.y = Math.min(Math.max(view.y, 0), whole.h - view.h);
  };
  const zoom = (factor, x = view.x + view.w / 2, y = view.y + view.h / 2) => {
    const w = Math.min(Math.max(view.w / factor, whole.w / 12), whole.w);
    const scale = w / view.w;
    view = { x: x - (x - view.x) * scale, y: y - (y - view.y) * scale, w, h: view.h * scale };
    inside();
    show();
  };
  const at = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  const open = (next) => {
    link = next;
    svg = link.querySelector("svg").cloneNode(true);
    const box = svg.viewBox.baseVal;
    whole = { x: 0, y: 0, w: box.width, h: box.height };
    view = { ...whole };
    stage.replaceChildren(svg);
    caption.textContent = link.parentElement.querySelector("figcaption").innerText.replace(/\n+/g, " · ");
    if (!dialog.open) dialog.showModal();
  };
  const step = (by) => {
    const own = [...link.closest(".sheet").querySelectorAll("a.zooms")];
    open(own[(own.indexOf(link) + by + own.length) % own.length]);
  };
  const button = (text, label, action) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.setAttribute("aria-label", label);
    made.addEventListener("click", action);
    bar.append(made);
  };
  button("‹", "image before", () => step(-1));
  button("›", "next image", () => step(1));
  button("−", "smaller", () => zoom(1 / 1.6));
  button("+", "larger", () => zoom(1.6));
  button("×", "close", () => dialog.close());
  bar.prepend(caption);
  for (const one of links) {
    one.addEventListener("click", (event) => {
      event.preventDefault();
      open(one);
    });
  }
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const point = at(event);
    zoom(event.deltaY < 0 ? 1.25 : 0.8, point.x, point.y);
  }, { passive: false });
  let held = null;
  stage.addEventListener("pointerdown", (event) => {
    held = at(event);
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!held) return;
    const point = at(event);
    view.x -= point.x - held.x;
    view.y -= point.y - held.y;
    inside();
    show();
    held = at(event);
  });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => (held = null));
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") step(1);
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "+") zoom(1.6);
    if (event.key === "-") zoom(1 / 1.6);
  });
}

// A link to folded parameters unfolds them.
const unfold = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") {
    target.open = true;
    target.scrollIntoView();
  }
};
addEventListener("hashchange", unfold);
unfold();
