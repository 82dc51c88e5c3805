// Pan and zoom: which part of a grid the canvas shows, and at what scale, moved by pointer, wheel and keys.
//
// `scale` is in device pixels per sample; `left` and `top` are the sample coordinates of the canvas's corner.
// `draw(view)` is called when these change, at most once per frame.

const MAX_SCALE = 32;
const WHEEL_STEP = 0.0016;
const BUTTON_STEP = 1.25;
// Images that would fill less than half the canvas are at first enlarged, up to this scale.
const MAX_FIRST_SCALE = 8;

export class View {
  constructor(stage, canvas, draw) {
    Object.assign(this, { stage, canvas, draw, shape: null, flat: false, pointers: new Map() });
    new ResizeObserver(() => this.resize()).observe(stage);
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, event);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * WHEEL_STEP * (event.deltaMode ? 30 : 1)), event);
    }, { passive: false });
    stage.addEventListener("keydown", (event) => this.key(event));
  }

  // Show a grid of [rows, columns]. With `flat` (audio), only the columns are zoomed.
  show(shape, flat) {
    Object.assign(this, { shape, flat });
    this.resize();
    this.fit();
  }

  // Device pixels per CSS pixel.
  get ratio() {
    return this.canvas.width / Math.max(1, this.stage.clientWidth);
  }

  resize() {
    const ratio = globalThis.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.stage.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.stage.clientHeight * ratio));
    if (this.shape) this.changed();
  }

  // The scale at which the whole grid fits the canvas.
  get fittingScale() {
    const [rows, columns] = this.shape;
    const across = this.canvas.width / columns;
    return this.flat ? across : Math.min(across, this.canvas.height / rows);
  }

  // Show the whole grid.
  fit() {
    const isSmall = !this.flat && this.fittingScale > 2;
    this.scale = this.flat ? this.fittingScale : Math.min(this.fittingScale, isSmall ? MAX_FIRST_SCALE : 1);
    this.left = (this.shape[1] - this.canvas.width / this.scale) / 2;
    this.top = (this.shape[0] - this.canvas.height / this.scale) / 2;
    this.changed();
  }

  // Zoom about a pointer event, or about the middle of the canvas.
  zoom(factor, at = null) {
    if (!this.shape) return;
    const box = this.canvas.getBoundingClientRect();
    const x = at ? (at.clientX - box.left) * this.ratio : this.canvas.width / 2;
    const y = at ? (at.clientY - box.top) * this.ratio : this.canvas.height / 2;
    const minScale = Math.min(this.fittingScale, 1) / (this.flat ? 1 : 4);
    const next = Math.max(minScale, Math.min(MAX_SCALE, this.scale * factor));
    this.left += x / this.scale - x / next;
    this.top += y / this.scale - y / next;
    this.scale = next;
    this.changed();
  }

  // Pan by device pixels.
  pan(dx, dy) {
    this.left -= dx / this.scale;
    if (!this.flat) this.top -= dy / this.scale;
    this.changed();
  }

  // Pan with one pointer, zoom with two.
  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before || !this.shape) return;
    const others = [...this.pointers.values()].filter((p) => p.pointerId !== event.pointerId);
    if (others.length) {
      const gap = (p) => Math.hypot(p.clientX - others[0].clientX, p.clientY - others[0].clientY);
      this.zoom(gap(event) / Math.max(1, gap(before)), others[0]);
    } else {
      this.pan((event.clientX - before.clientX) * this.ratio, (event.clientY - before.clientY) * this.ratio);
    }
    this.pointers.set(event.pointerId, event);
  }

  key(event) {
    const step = 60 * this.ratio;
    const keys = {
      "+": () => this.zoom(BUTTON_STEP), "=": () => this.zoom(BUTTON_STEP), "-": () => this.zoom(1 / BUTTON_STEP),
      0: () => this.fit(), 1: () => this.zoom(1 / this.scale), ArrowLeft: () => this.pan(step, 0),
      ArrowRight: () => this.pan(-step, 0), ArrowUp: () => this.pan(0, step), ArrowDown: () => this.pan(0, -step),
    };
    if (!this.shape || event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  }

  // Keep a part of the grid in the middle of the canvas, and draw in the next frame.
  changed() {
    const [rows, columns] = this.shape;
    const [width, height] = [this.canvas.width / this.scale, this.canvas.height / this.scale];
    this.left = Math.max(-width / 2, Math.min(columns - width / 2, this.left));
    this.top = this.flat ? 0 : Math.max(-height / 2, Math.min(rows - height / 2, this.top));
    if (this.drawPending) return;
    this.drawPending = true;
    requestAnimationFrame(() => {
      this.drawPending = false;
      if (this.shape) this.draw(this);
    });
  }

  // Return the visible part of a grid of `size`, [top, bottom, left, right], or null if nothing is visible.
  window(size) {
    const [rows, columns] = this.shape;
    const visible = (from, length, n, m) => [
      Math.max(0, Math.floor((from * m) / n)), Math.min(m, Math.ceil(((from + length) * m) / n))];
    const [top, bottom] = visible(this.top, this.canvas.height / this.scale, rows, size[0]);
    const [left, right] = visible(this.left, this.canvas.width / this.scale, columns, size[1]);
    return bottom > top && right > left ? [top, bottom, left, right] : null;
  }

  // The size of the grid that has one point per device pixel.
  get size() {
    return this.shape.map((n) => Math.max(1, Math.round(n * this.scale)));
  }
}
