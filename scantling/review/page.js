"use strict";
// The images come as data; everything is drawn as elements, never as markup, so that no name can do harm.
const PER_PAGE = 24;
const MOST_ZOOM = 12;
const data = JSON.parse(document.getElementById("data").textContent);
const part = id => document.getElementById(id);
const state = { reason: -1, cls: -1, page: 0, at: -1, zoom: 1, on: -1 };
let chosen = []; // places of the images that pass the filter
let frames = [];

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

const percent = score => Math.round(100 * score) + "\u00a0%";

function passes(image) {
  if (state.reason < 0 && state.cls < 0) return true;
  return image.findings.some(([box, reason, , said]) =>
    (state.reason < 0 || reason === state.reason) &&
    (state.cls < 0 || image.boxes[box][1] === state.cls || said === state.cls));
}

// ---- one image with its boxes; sizes in percent, so that it can be zoomed by its width alone

function sheetOf(image, sheet, named) {
  const [width, height] = image.size;
  sheet.replaceChildren();
  if (image.picture) {
    const picture = make("img");
    picture.alt = image.file;
    picture.src = image.picture;
    sheet.append(picture);
  } else {
    sheet.append(make("div", "lost", "the image file could not be read"));
  }
  const worst = new Map();
  image.findings.forEach(([box, reason]) => { if (!worst.has(box)) worst.set(box, reason); });
  image.boxes.map((box, place) => ({ box, place })).reverse().forEach(({ box, place }) => {
    const [source, label, score, x1, y1, x2, y2] = box;
    const reason = worst.get(place);
    const kind = reason === undefined ? (source === "label" ? "label" : "other")
      : `found r${reason}${reason > 2 ? " unsure" : ""}`;
    const drawn = make("div", `box ${kind}`);
    drawn.dataset.place = place;
    Object.assign(drawn.style, {
      left: 100 * x1 / width + "%", top: 100 * y1 / height + "%",
      width: 100 * Math.max(x2 - x1, 0) / width + "%", height: 100 * Math.max(y2 - y1, 0) / height + "%",
    });
    if (named) {
      // the name stands above its box, below it for the model: boxes of several often lie on each other
      const tight = source !== "model" ? y1 / height < 0.05 : y2 / height > 0.95;
      const tag = make("span", (source !== "model" ? "above" : "below") + (tight ? " in" : "") + (x1 / width > 0.75 ? " right" : ""),
        data.classes[label] + (score === null ? "" : " " + percent(score)));
      drawn.append(tag);
    }
    sheet.append(drawn);
  });
}

function fit(sheet, image, width, height) {
  const scale = Math.min(width / image.size[0], height / image.size[1]);
  sheet.style.width = Math.max(image.size[0] * scale, 1) + "px";
  sheet.style.height = Math.max(image.size[1] * scale, 1) + "px";
}

// ---- the grid

function card(place) {
  const image = data.images[place];
  const item = make("li");
  const button = make("button", "card");
  button.type = "button";
  const frame = make("div", "frame");
  const sheet = make("div", "sheet");
  sheetOf(image, sheet, false);
  frame.append(sheet);
  const caption = make("p", "caption");
  caption.append(make("b", "", "#" + (place + 1)), make("span", "", image.file), make("output", "", image.score.toFixed(2)));
  const counts = new Map();
  image.findings.forEach(([, reason]) => counts.set(reason, (counts.get(reason) || 0) + 1));
  const why = make("p", "why");
  [...counts].sort((a, b) => a[0] - b[0]).forEach(([reason, count]) => {
    const word = make("span");
    word.append(make("i", "r" + reason), (count > 1 ? count + " × " : "") + data.reasons[reason]);
    why.append(word);
  });
  button.append(frame, caption, why);
  button.addEventListener("click", () => open(place));
  item.append(button);
  frames.push(() => fit(sheet, image, frame.clientWidth, frame.clientHeight));
  return item;
}

function show() {
  chosen = [...data.images.keys()].filter(place => passes(data.images[place]));
  const pages = Math.max(1, Math.ceil(chosen.length / PER_PAGE));
  state.page = Math.min(Math.max(state.page, 0), pages - 1);
  frames = [];
  part("grid").replaceChildren(...chosen.slice(state.page * PER_PAGE, (state.page + 1) * PER_PAGE).map(card));
  frames.forEach(fill => fill());
  part("none").hidden = chosen.length > 0;
  part("page").textContent = state.page + 1 + " of " + pages;
  part("back").disabled = state.page === 0;
  part("on").disabled = state.page === pages - 1;
  part("chips").querySelectorAll("button").forEach(chip => {
    const reason = Number(chip.dataset.reason);
    chip.setAttribute("aria-pressed", String(reason === state.reason));
    const count = data.images.filter(image => reason < 0 || image.findings.some(f => f[1] === reason)).length;
    chip.querySelector("b").textContent = count;
    chip.hidden = count === 0 && reason >= 0 && reason !== state.reason;
  });
}

function turn(by) {
  const before = state.page;
  state.page += by;
  show();
  if (state.page !== before) window.scrollTo({ top: 0 });
}

// ---- one image, large

function open(place) {
  state.at = place;
  state.zoom = 1;
  state.on = -1;
  const image = data.images[place];
  const viewer = part("viewer");
  if (!viewer.open) viewer.showModal();
  part("name").textContent = `#${place + 1} · ${image.file} · score ${image.score.toFixed(2)}`;
  part("name").title = image.file;
  sheetOf(image, part("sheet"), true);
  const items = image.findings.map(([box, reason, score, said, saidScore]) => {
    const [source, label, own] = image.boxes[box];
    const name = data.classes[label];
    const button = make("button");
    button.type = "button";
    button.dataset.place = box;
    button.append(make("i", "r" + reason), data.reasons[reason] + " · " + score.toFixed(2));
    let text = source === "label" ? `labeled ${name}` : `the ${source} says ${name}, ${percent(own)}`;
    if (said >= 0) text += `; the model says ${data.classes[said]}, ${percent(saidScore)}`;
    button.append(make("small", "", text));
    button.addEventListener("click", () => look(state.on === box ? -1 : box));
    const item = make("li");
    item.append(button);
    return item;
  });
  const note = make("li");
  note.append(make("p", "", (image.labeled ? "This image has labels." : "Nobody has labeled this image.") +
    (image.more ? ` ${image.more} more boxes are not drawn.` : "")));
  part("list").replaceChildren(...items, note);
  const here = chosen.indexOf(place);
  part("before").disabled = here <= 0;
  part("after").disabled = here < 0 || here === chosen.length - 1;
  size();
  part("stage").focus();
}

function size() {
  const stage = part("stage");
  const image = data.images[state.at];
  fit(part("sheet"), image, stage.clientWidth * state.zoom, stage.clientHeight * state.zoom);
}

// zoom so that a box fills a third of the stage, and move it to the middle; -1: the whole image again
function look(place) {
  const stage = part("stage"), sheet = part("sheet"), image = data.images[state.at];
  state.on = place;
  document.querySelectorAll("#list button, #sheet .box").forEach(e => e.classList.toggle("on", Number(e.dataset.place) === place));
  state.zoom = 1;
  size();
  if (place < 0) return;
  const [, , , x1, y1, x2, y2] = image.boxes[place];
  const width = (x2 - x1) / image.size[0] * sheet.clientWidth, height = (y2 - y1) / image.size[1] * sheet.clientHeight;
  state.zoom = Math.min(MOST_ZOOM, Math.max(1, Math.min(stage.clientWidth / Math.max(width, 1), stage.clientHeight / Math.max(height, 1)) / 2.2));
  size();
  stage.scrollTo((x1 + x2) / 2 / image.size[0] * sheet.clientWidth - stage.clientWidth / 2,
    (y1 + y2) / 2 / image.size[1] * sheet.clientHeight - stage.clientHeight / 2);
}

// keeps the point under (x, y) of the stage, by default its middle, where it is
function zoom(by, x, y) {
  const stage = part("stage"), sheet = part("sheet");
  const px = x === undefined ? stage.clientWidth / 2 : x, py = y === undefined ? stage.clientHeight / 2 : y;
  const u = (stage.scrollLeft + px - sheet.offsetLeft + stage.offsetLeft) / sheet.clientWidth;
  const v = (stage.scrollTop + py - sheet.offsetTop + stage.offsetTop) / sheet.clientHeight;
  state.zoom = by === 0 ? 1 : Math.min(MOST_ZOOM, Math.max(1, state.zoom * by));
  size();
  stage.scrollTo(u * sheet.clientWidth - px, v * sheet.clientHeight - py);
}

function step(by) {
  const next = chosen[chosen.indexOf(state.at) + by];
  if (next !== undefined) open(next);
}

// ---- what a person does

part("chips").addEventListener("click", event => {
  const chip = event.target.closest("button");
  if (!chip) return;
  state.reason = Number(chip.dataset.reason);
  state.page = 0;
  show();
});
part("class").addEventListener("change", event => {
  state.cls = Number(event.target.value);
  state.page = 0;
  show();
});
part("back").addEventListener("click", () => turn(-1));
part("on").addEventListener("click", () => turn(1));
part("before").addEventListener("click", () => step(-1));
part("after").addEventListener("click", () => step(1));
part("smaller").addEventListener("click", () => zoom(1 / 1.6));
part("larger").addEventListener("click", () => zoom(1.6));
part("close").addEventListener("click", () => part("viewer").close());
part("viewer").addEventListener("close", () => {
  const here = chosen.indexOf(state.at);
  if (here < 0) return;
  state.page = Math.floor(here / PER_PAGE);
  show();
  part("grid").children[here % PER_PAGE].querySelector("button").focus();
});
part("sheet").addEventListener("click", event => {
  const stage = part("stage").getBoundingClientRect();
  if (state.zoom > 1) look(-1);
  else zoom(2.5, event.clientX - stage.left, event.clientY - stage.top);
});
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  const large = part("viewer").open;
  const acts = {
    ArrowRight: () => (large ? step(1) : turn(1)),
    ArrowLeft: () => (large ? step(-1) : turn(-1)),
  };
  if (large) Object.assign(acts, { "+": () => zoom(1.6), "=": () => zoom(1.6), "-": () => zoom(1 / 1.6), 0: () => look(-1) });
  if (!acts[event.key]) return;
  event.preventDefault();
  acts[event.key]();
});
window.addEventListener("resize", () => {
  frames.forEach(fill => fill());
  if (part("viewer").open) size();
});

const used = new Set(data.images.flatMap(image => image.findings.flatMap(([box, , , said]) => [image.boxes[box][1], said])));
data.classes.forEach((name, label) => {
  if (!used.has(label)) return;
  const option = make("option", "", name);
  option.value = label;
  part("class").append(option);
});
show();
