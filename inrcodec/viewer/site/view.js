// What part of a grid a canvas shows, and at what size: moved by pointer, wheel and keys.
//
// `scale` is device pixels per sample, `left` and `top` the sample coordinates of the canvas's corner. What is asked of
// `draw(view)` is to show the current part; it is called at most once per frame.

const LARGEST = 32;
const WHEEL_STEP = 0.0016;
const BUTTON_STEP = 1.25;
// Pictures that would fill less than half the canvas are shown larger, but not by more than this.
const FIRST_LARGEST = 8;

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

  // Show a grid of [rows, columns]; `flat`: columns alone are zoomed (sounds).
  show(shape, flat) {
    Object.assign(this, { shape, flat });
    this.resize();
    this.fit();
  }

  get ratio() {
    return this.canvas.width / Math.max(1, this.stage.clientWidth);
  }

  resize() {
    const ratio = globalThis.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.stage.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.stage.clientHeight * ratio));
    if (this.shape) this.changed();
  }

  get fitting() {
    const [rows, columns] = this.shape;
    const across = this.canvas.width / columns;
    return this.flat ? across : Math.min(across, this.canvas.height / rows);
  }

  fit() {
    const small = !this.flat && this.fitting > 2;
    this.scale = this.flat ? this.fitting : Math.min(this.fitting, small ? FIRST_LARGEST : 1);
    this.left = (this.shape[1] - this.canvas.width / this.scale) / 2;
    this.top = (this.shape[0] - this.canvas.height / this.scale) / 2;
    this.changed();
  }

  zoom(factor, at = null) {
    if (!this.shape) return;
    const box = this.canvas.getBoundingClientRect();
    const x = at ? (at.clientX - box.left) * this.ratio : this.canvas.width / 2;
    const y = at ? (at.clientY - box.top) * this.ratio : this.canvas.height / 2;
    const least = Math.min(this.fitting, 1) / (this.flat ? 1 : 4);
    const next = Math.max(least, Math.min(LARGEST, this.scale * factor));
    this.left += x / this.scale - x / next;
    this.top += y / this.scale - y / next;
    this.scale = next;
    this.changed();
  }

  move(dx, dy) {
    this.left -= dx / this.scale;
    if (!this.flat) this.top -= dy / this.scale;
    this.changed();
  }

  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before || !this.shape) return;
    const others = [...this.pointers.values()].filter((p) => p.pointerId !== event.pointerId);
    if (others.length) {
      const gap = (p) => Math.hypot(p.clientX - others[0].clientX, p.clientY - others[0].clientY);
      this.zoom(gap(event) / Math.max(1, gap(before)), others[0]);
    } else {
      this.move((event.clientX - before.clientX) * this.ratio, (event.clientY - before.clientY) * this.ratio);
    }
    this.pointers.set(event.pointerId, event);
  }

  key(event) {
    const step = 60 * this.ratio;
    const keys = {
      "+": () => this.zoom(BUTTON_STEP), "=": () => this.zoom(BUTTON_STEP), "-": () => this.zoom(1 / BUTTON_STEP),
      0: () => this.fit(), 1: () => this.zoom(1 / this.scale), ArrowLeft: () => this.move(step, 0),
      ArrowRight: () => this.move(-step, 0), ArrowUp: () => this.move(0, step), ArrowDown: () => this.move(0, -step),
    };
    if (!this.shape || event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  }

  // Inside the canvas: never farther than that something of the grid is left in the middle.
  changed() {
    const [rows, columns] = this.shape;
    const [wide, high] = [this.canvas.width / this.scale, this.canvas.height / this.scale];
    this.left = Math.max(-wide / 2, Math.min(columns - wide / 2, this.left));
    this.top = this.flat ? 0 : Math.max(-high / 2, Math.min(rows - high / 2, this.top));
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      if (this.shape) this.draw(this);
    });
  }

  // The part of a grid of `size` that is seen, [top, bottom, left, right]; null for nothing.
  window(size) {
    const [rows, columns] = this.shape;
    const cut = (from, length, n, m) => [
      Math.max(0, Math.floor((from * m) / n)), Math.min(m, Math.ceil(((from + length) * m) / n))];
    const [top, bottom] = cut(this.top, this.canvas.height / this.scale, rows, size[0]);
    const [left, right] = cut(this.left, this.canvas.width / this.scale, columns, size[1]);
    return bottom > top && right > left ? [top, bottom, left, right] : null;
  }

  // The grid whose points are as large as the screen's.
  get size() {
    return this.shape.map((n) => Math.max(1, Math.round(n * this.scale)));
  }
}
