// The operators' page, in rows: tables whose rows stay the same elements while what they show changes, so that a screen
// reader's place, a selection and the scroll position stay too. Invariant: whatever comes from outside becomes a text
// node; no markup is ever made of it.

const byId = (id) => document.getElementById(id);

function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** Writes only what is new: an assignment redraws, and is read out again, even where it changes nothing. */
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function writeClass(node, className) {
  if (node.className !== className) node.className = className;
}

/** A cell of one line of text and a smaller one below it. */
class Cell {
  constructor(label, className = "") {
    this.main = element("span");
    this.note = element("small");
    this.note.hidden = true;
    this.node = element("td", className, this.main, this.note);
    this.node.setAttribute("role", "cell");
    if (label) this.node.dataset.label = label;
  }

  show(text, { note = "", tone = "", noteTone = "", title = "" } = {}) {
    write(this.main, text);
    writeClass(this.main, tone);
    write(this.note, note);
    writeClass(this.note, noteTone);
    this.note.hidden = note === "";
    if (this.main.title !== title) this.main.title = title;
  }
}

const SVG = "http://www.w3.org/2000/svg";
const PEAKS = 50;
const FLOOR_DB = -60;

/** How a call sounds: the last five seconds, and the level now. */
class SoundCell {
  constructor(label) {
    this.path = document.createElementNS(SVG, "path");
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${PEAKS * 2} 24`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    svg.append(this.path);
    this.bar = element("span");
    this.text = element("span");
    this.meter = element("span", "level", this.text, element("span", "bar", this.bar));
    this.meter.setAttribute("role", "meter");
    this.meter.setAttribute("aria-label", "level");
    this.meter.setAttribute("aria-valuemin", FLOOR_DB);
    this.meter.setAttribute("aria-valuemax", 0);
    this.node = element("td", "wide", element("div", "sound", svg, this.meter));
    this.node.setAttribute("role", "cell");
    this.node.dataset.label = label;
    this.drawn = 0;
  }

  show(level, peaks) {
    const at = Date.now();
    // Whoever asked for less motion gets a picture every few seconds.
    if (at - this.drawn < (STILL.matches ? 5000 : 0)) return;
    this.drawn = at;
    const share = level === null ? 0 : Math.max(0, 1 - level / FLOOR_DB);
    this.bar.style.setProperty("--level", share.toFixed(3));
    write(this.text, decibels(level));
    this.meter.setAttribute("aria-valuenow", level === null ? FLOOR_DB : Math.max(FLOOR_DB, level));
    this.meter.setAttribute("aria-valuetext", decibels(level));
    this.path.setAttribute("d", wave(peaks));
  }
}

const STILL = matchMedia("(prefers-reduced-motion: reduce)");

/** A stroke for each tenth of a second, the newest at the right. */
function wave(peaks) {
  const first = PEAKS - peaks.length;
  return peaks
    .map((peak, i) => {
      const half = Math.max(0.4, 11.5 * (1 - Math.max(peak, FLOOR_DB) / FLOOR_DB));
      return `M${(first + i) * 2 + 1} ${(12 - half).toFixed(1)}v${(half * 2).toFixed(1)}`;
    })
    .join("");
}

/** A table whose rows are known by a key. `cells` makes the cells of a row, `fill` writes an item into them. */
class Rows {
  constructor(id, cells, fill) {
    this.id = id;
    this.table = byId(id);
    this.body = this.table.tBodies[0];
    this.none = byId(`${id}-none`);
    this.cells = cells;
    this.fill = fill;
    this.known = new Map();
  }

  show(items, key) {
    const names = new Set(items.map(key));
    for (const [name, row] of this.known) {
      if (names.has(name)) continue;
      row.node.remove();
      this.known.delete(name);
    }
    let place = this.body.firstElementChild;
    for (const item of items) {
      const name = key(item);
      const row = this.known.get(name) ?? this.add(name);
      this.fill(row.cells, item);
      if (row.node === place) place = place.nextElementSibling;
      else this.body.insertBefore(row.node, place);
    }
    this.table.hidden = items.length === 0;
    this.none.hidden = items.length > 0;
  }

  add(name) {
    const cells = this.cells();
    const node = element("tr", "", ...cells.map((cell) => cell.node));
    node.setAttribute("role", "row");
    const row = { node, cells };
    this.known.set(name, row);
    return row;
  }
}
