// On each chart: the size's line, a dot on every curve, and the numbers below; the pointer reads other sizes, a click
// or a drag takes one. Where the axes lie and what they span is in the SVG's data- attributes, see draw.py.

const SVG = "http://www.w3.org/2000/svg";
const PULL_FROM_PX = 4;

class Chart {
  constructor(element, size) {
    this.size = size;
    this.svg = element.querySelector("svg");
    this.readout = element.querySelector(".readout");
    const numbers = (name) => (this.svg.dataset[name] ?? "").split(" ").filter(Boolean).map(Number);
    [this.left, this.top, this.width, this.height] = numbers("plot");
    this.x = numbers("x");
    this.scales = { left: numbers("y"), right: numbers("right") };
    this.lines = (this.svg.dataset.lines ?? "").split(" ").filter(Boolean).map((line) => {
      const [what, colour] = line.split(":");
      return { what, colour, dot: null };
    });
    this.pointed = null;
    this.draw();
    this.listen();
    size.follow(() => this.show());
  }

  draw() {
    const add = (name, className, attributes) => {
      const element = document.createElementNS(SVG, name);
      element.setAttribute("class", className);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      this.svg.append(element);
      return element;
    };
    const bottom = this.top + this.height;
    const upright = { x1: 0, x2: 0, y1: this.top, y2: bottom };
    this.pointer = add("line", "live pointer", upright);
    this.line = add("line", "live line", upright);
    for (const line of this.lines) line.dot = add("circle", `live f-${line.colour}`, { r: 3.2 });
    this.pointer.style.display = "none";
  }

  value(what, size) {
    const { curve } = this.size;
    if (what === "embedding") return curve.rows(size) / curve.rows(0);
    if (what === "used") return curve.usedShare(size);
    return curve.ratio(Number(what.slice(3)), size);
  }

  name(what) {
    if (what === "embedding") return "embedding";
    if (what === "used") return "in use";
    return this.size.curve.header.sets[Number(what.slice(3))].name;
  }

  show() {
    const size = this.pointed ?? this.size.value;
    const at = (value) => this.left + this.width * (value - this.x[0]) / (this.x[1] - this.x[0]);
    const move = (line, value) => {
      line.setAttribute("x1", at(value));
      line.setAttribute("x2", at(value));
    };
    move(this.line, this.size.value);
    this.pointer.style.display = this.pointed === null ? "none" : "";
    if (this.pointed !== null) move(this.pointer, this.pointed);
    for (const { what, dot } of this.lines) {
      const value = this.value(what, size);
      const [low, high] = what === "embedding" ? this.scales.right : this.scales.left;
      dot.style.display = value === null ? "none" : "";
      if (value === null) continue;
      dot.setAttribute("cx", at(size));
      dot.setAttribute("cy", this.top + this.height * (high - value) / (high - low));
    }
    this.tell(size);
  }

  tell(size) {
    const part = (className, ...content) => {
      const element = document.createElement("span");
      element.className = className;
      element.append(...content);
      return element;
    };
    const parts = [part("where", `at ${count(size)}`)];
    for (const { what, colour } of this.lines) {
      const value = this.value(what, size);
      // Isolated: a name may be written from right to left.
      const name = document.createElement("bdi");
      name.textContent = this.name(what);
      parts.push(part(`ink-${colour}`, name, ` ${what === "used" ? percent(value) : fixed(value, 4)}`));
    }
    this.readout.replaceChildren(...parts);
    this.readout.hidden = this.lines.length === 0;
  }

  sizeAt(event) {
    const frame = this.svg.getBoundingClientRect();
    const scale = this.svg.viewBox.baseVal.width / frame.width;
    const share = ((event.clientX - frame.left) * scale - this.left) / this.width;
    const size = Math.round(this.x[0] + share * (this.x[1] - this.x[0]));
    return share < -0.02 || share > 1.02 ? null : Math.min(Math.max(size, 0), this.size.curve.n);
  }

  listen() {
    let pulledFrom = null;
    const point = (size) => {
      this.pointed = size;
      this.show();
    };
    this.svg.addEventListener("pointerdown", (event) => {
      if (event.button === 0 && this.sizeAt(event) !== null) pulledFrom = event.clientX;
    });
    this.svg.addEventListener("pointermove", (event) => {
      if (pulledFrom !== null && Math.abs(event.clientX - pulledFrom) > PULL_FROM_PX) {
        this.svg.setPointerCapture(event.pointerId);
        this.pointed = null;
        const size = this.sizeAt(event);
        if (size !== null) this.size.set(size);
      } else if (event.pointerType !== "touch") point(this.sizeAt(event));
    });
    this.svg.addEventListener("pointerup", (event) => {
      const size = this.sizeAt(event);
      if (pulledFrom !== null && size !== null) this.size.set(size);
      pulledFrom = null;
    });
    this.svg.addEventListener("pointercancel", () => {
      pulledFrom = null;
    });
    this.svg.addEventListener("pointerleave", () => point(null));
  }
}

function startCharts(size) {
  for (const element of document.querySelectorAll(".chart")) {
    if (element.querySelector("svg")?.dataset.plot && size.curve.n) new Chart(element, size);
  }
}
