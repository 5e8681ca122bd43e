// The cache map: a row for each layer and KV head, a column for each block of a text,
// coloured by the fastest tier that has the block and by how often it was selected.

import { count, fillTable, put } from './text.js';

// Bits of a cell's first byte.
const inSlot = 1;
const inHost = 2;
const onDisk = 4;
const open = 8;
const shared = 32;
const selected = 64;

const margin = { left: 34, right: 92, top: 40, bottom: 20 };
const tierNames = ['slots', 'host', 'disk', 'being written'];

const tierOf = (where) => (where & inSlot ? 0 : where & inHost ? 1 : where & onDisk ? 2 : where & open ? 3 : -1);

export class CacheMap {
  constructor({ canvas, empty, readout, summary, table }) {
    Object.assign(this, { canvas, empty, readout, summary, table });
    this.mode = 'both';
    this.cursor = null; // {row, column}
    this.layerHits = []; // by layer: shares of slots, host, disk
    canvas.addEventListener('pointermove', (e) => this.point(e));
    canvas.addEventListener('pointerleave', () => this.move(null));
    canvas.addEventListener('blur', () => this.move(null));
    canvas.addEventListener('keydown', (e) => this.key(e));
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
    for (const q of ['(prefers-color-scheme: dark)', '(prefers-contrast: more)']) {
      matchMedia(q).addEventListener('change', () => this.colours());
    }
    this.colours();
  }

  // colours reads the theme and makes a colour for every tier, use, and mode.
  colours() {
    const style = getComputedStyle(document.documentElement);
    const rgb = (name) => {
      const hex = style.getPropertyValue(name).trim();
      return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
    };
    const mix = (a, b, t) => a.map((v, i) => Math.round(v + (b[i] - v) * t));
    const paper = rgb('--map');
    this.ink = rgb('--text');
    const dim = Number(style.getPropertyValue('--dim')); // of what was not selected lately
    const spark = Number(style.getPropertyValue('--spark')); // of the last step
    this.muted = style.getPropertyValue('--muted').trim();
    this.text = style.getPropertyValue('--text').trim();
    this.rule = style.getPropertyValue('--rule').trim();
    this.ground = rgb('--empty');
    const tiers = ['--slot', '--host', '--disk', '--open'].map(rgb);
    this.tierColours = tiers;
    const pack = ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r;
    const steps = 32;
    const heat = (n) => (n === 0 ? 0 : 0.3 + 0.7 * Math.sqrt(n / steps));
    this.lut = { both: [], place: [], use: [] };
    tiers.forEach((tier, t) => {
      for (const mode of Object.keys(this.lut)) this.lut[mode][t] = [];
      for (let n = 0; n <= steps; n++) {
        const glow = mix(mix(paper, tier, dim), tier, heat(n));
        this.lut.both[t].push([pack(glow), pack(mix(glow, this.ink, spark))]);
        const flat = mix(paper, tier, 0.85);
        this.lut.place[t].push([pack(flat), pack(flat)]);
        const use = mix(mix(paper, this.ink, 0.07), this.ink, n === 0 ? 0 : 0.15 + 0.85 * (n / steps));
        this.lut.use[t].push([pack(use), pack(use)]);
      }
    });
    this.groundPacked = pack(this.ground);
    this.draw();
  }

  setMode(mode) {
    this.mode = mode;
    this.draw();
  }

  // show draws a map, of a text that may come to have so many blocks; null: none.
  show(map, most) {
    const grown = !this.map || !map || this.map.request !== map.request || this.map.columns !== map.columns;
    this.map = map && map.columns > 0 ? map : null;
    this.most = Math.max(most ?? 0, map?.columns ?? 0);
    this.empty.hidden = this.map !== null;
    this.draw();
    if (!this.map) {
      put(this.readout, '');
      put(this.summary, 'There are no blocks.');
      return;
    }
    if (grown || this.table.closest('details').open) this.tell();
    if (this.cursor && this.byKey) this.move(this.cursor, true);
  }

  // layers takes in where blocks were found lately, by layer.
  layers(shares) { this.layerHits = shares; }

  cell(row, column) {
    const i = 2 * (row * this.map.columns + column);
    return [this.map.cells[i], this.map.cells[i + 1]];
  }

  // size says where everything is, in CSS pixels.
  size() {
    const wide = this.canvas.parentElement.clientWidth;
    const narrow = wide < 560;
    const left = narrow ? 24 : margin.left;
    const right = narrow ? 8 : margin.right;
    const { layers, heads } = this.map;
    const rows = layers * heads;
    const gap = heads > 1 ? 2 : 1;
    const target = Math.max(300, Math.min(560, window.innerHeight * 0.5));
    const rowHeight = Math.max(1, Math.min(14, Math.floor((target - layers * gap) / rows)));
    const room = Math.max(40, wide - left - right);
    const each = Math.max(1, Math.ceil(this.most / room)); // blocks in a bin
    const bins = Math.ceil(this.most / each);
    const bin = Math.min(16, room / bins);
    return {
      left, right, narrow, rows, gap, rowHeight, each, bins, bin, room,
      layerHeight: heads * rowHeight + gap, wide,
      high: margin.top + layers * (heads * rowHeight + gap) - gap + margin.bottom,
    };
  }

  rowTop(g, row) {
    const { heads } = this.map;
    return margin.top + Math.floor(row / heads) * g.layerHeight + (row % heads) * g.rowHeight;
  }

  draw() {
    const { canvas } = this;
    canvas.hidden = !this.map;
    if (!this.map || document.hidden) return;
    const g = this.size();
    this.geometry = g;
    const scale = window.devicePixelRatio || 1;
    const [w, h] = [Math.round(g.wide * scale), Math.round(g.high * scale)];
    if (canvas.width !== w || canvas.height !== h) {
      canvas.width = w;
      canvas.height = h;
      canvas.style.height = `${g.high}px`;
    }
    const c = canvas.getContext('2d');
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, w, h);
    this.cells(c, g, scale);
    c.setTransform(scale, 0, 0, scale, 0, 0);
    this.axes(c, g);
    this.columnUse(c, g);
    if (!g.narrow) this.layerBars(c, g);
    this.crosshair(c, g);
  }

  // cells fills the map pixel by pixel. Blocks that share a bin show the one that was
  // selected most, or else the fastest place.
  cells(c, g, scale) {
    const { map } = this;
    const lut = this.lut[this.mode];
    const lines = g.bin * scale >= 4 ? Math.max(1, Math.round(scale)) : 0; // between columns
    const rowLine = g.rowHeight >= 4 ? Math.max(1, Math.round(scale)) : 0;
    const left = Math.round(g.left * scale);
    const edges = Array.from({ length: g.bins + 1 }, (_, i) => Math.round(i * g.bin * scale));
    const image = c.createImageData(edges[g.bins], Math.round(g.rowHeight * scale));
    const pixels = new Uint32Array(image.data.buffer);
    for (let row = 0; row < g.rows; row++) {
      const line = pixels.subarray(0, image.width);
      line.fill(0);
      for (let bin = 0; bin < g.bins; bin++) {
        let best = -1;
        let colour = this.groundPacked;
        const end = Math.min((bin + 1) * g.each, map.columns);
        for (let column = bin * g.each; column < end; column++) {
          const [where, wanted] = this.cell(row, column);
          const tier = tierOf(where);
          const weight = tier < 0 ? -1 : 8 * wanted + (where & selected ? 4 : 0) + 3 - tier;
          if (weight > best) {
            best = weight;
            colour = lut[tier][Math.min(wanted, 32)][where & selected ? 1 : 0];
          }
        }
        line.fill(colour, edges[bin], Math.max(edges[bin] + 1, edges[bin + 1] - lines));
      }
      const solid = image.height - rowLine;
      for (let y = 1; y < image.height; y++) {
        if (y < solid) pixels.copyWithin(y * image.width, 0, image.width);
        else pixels.fill(0, y * image.width, (y + 1) * image.width);
      }
      c.putImageData(image, left, Math.round(this.rowTop(g, row) * scale));
    }
  }

  axes(c, g) {
    const { map } = this;
    c.font = '10.5px ui-sans-serif, system-ui, sans-serif';
    c.fillStyle = this.muted;
    c.textBaseline = 'middle';
    c.textAlign = 'right';
    const every = [1, 2, 5, 10, 20, 50].find((n) => n * g.layerHeight >= 13);
    for (let layer = 0; layer < map.layers; layer += every) {
      c.fillText(layer, g.left - 6, margin.top + layer * g.layerHeight + (g.layerHeight - g.gap) / 2);
    }
    c.textAlign = 'left';
    if (!g.narrow) c.fillText('layer', 2, margin.top - 11);
    const bottom = g.high - 8;
    if (!map.request) {
      c.fillText('kept blocks, those first that stay longest', g.left, bottom);
      return;
    }
    const tokens = g.each * map.block_tokens;
    const round = Math.max(1, (this.most * map.block_tokens >= 4096 ? 1024 : 256) / tokens); // so that labels are round
    const step = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024].map((n) => n * round).find((n) => n * g.bin >= 52) ?? 2048;
    c.strokeStyle = this.rule;
    for (let bin = 0; bin < g.bins; bin += step) {
      const x = g.left + bin * g.bin;
      const at = bin * tokens;
      c.textAlign = bin === 0 ? 'left' : 'center';
      if (x < g.left + g.bins * g.bin - 24 || bin === 0) c.fillText(at === 0 ? 'token 0' : at % 1024 === 0 ? `${at / 1024}K` : count(at), x, bottom);
    }
  }

  // columnUse is a bar above each column: how much of it was selected lately.
  columnUse(c, g) {
    const { map } = this;
    const high = 18;
    c.fillStyle = this.rule;
    c.fillRect(g.left, margin.top - 5, g.bins * g.bin, 1);
    c.fillStyle = this.text;
    c.globalAlpha = 0.75;
    for (let bin = 0; bin < g.bins; bin++) {
      let sum = 0;
      let n = 0;
      for (let column = bin * g.each; column < Math.min((bin + 1) * g.each, map.columns); column++) {
        for (let row = 0; row < g.rows; row++) {
          sum += map.cells[2 * (row * map.columns + column) + 1];
          n++;
        }
      }
      const part = n ? sum / n / map.window : 0;
      if (part > 0) c.fillRect(g.left + bin * g.bin, margin.top - 5 - Math.max(1, high * part), Math.max(1, g.bin - 1), Math.max(1, high * part));
    }
    c.globalAlpha = 1;
    c.fillStyle = this.muted;
    c.textAlign = 'left';
    c.textBaseline = 'middle';
    c.fillText(`selected in the last ${map.window} steps`, g.left, 7);
  }

  // layerBars is, beside each layer, where it found its blocks lately.
  layerBars(c, g) {
    const x = g.left + Math.min(g.room, g.bins * g.bin) + 16;
    const w = margin.right - 26;
    c.textAlign = 'left';
    c.textBaseline = 'middle';
    c.fillStyle = this.muted;
    c.fillText('found in', x, margin.top - 11);
    for (let layer = 0; layer < this.map.layers; layer++) {
      const y = margin.top + layer * g.layerHeight;
      const h = Math.max(1, g.layerHeight - g.gap - (g.rowHeight >= 4 ? 1 : 0));
      const shares = this.layerHits[layer];
      c.fillStyle = this.rule;
      c.globalAlpha = 0.5;
      c.fillRect(x, y, w, h);
      c.globalAlpha = 1;
      let at = x;
      shares?.forEach((part, tier) => {
        c.fillStyle = `rgb(${this.tierColours[tier].join(' ')})`;
        c.fillRect(at, y, w * part, h);
        at += w * part;
      });
    }
  }

  crosshair(c, g) {
    if (!this.cursor) return;
    const { row, column } = this.cursor;
    const x = g.left + Math.floor(column / g.each) * g.bin;
    const y = this.rowTop(g, row);
    c.fillStyle = this.text;
    c.globalAlpha = 0.12;
    c.fillRect(x, margin.top, g.bin, g.high - margin.top - margin.bottom);
    c.fillRect(g.left, y, g.bins * g.bin, g.rowHeight);
    c.globalAlpha = 1;
    c.strokeStyle = this.text;
    c.lineWidth = 1.5;
    c.strokeRect(x - 1.5, y - 1.5, g.bin + 2, g.rowHeight + 2);
  }

  point(e) {
    const g = this.geometry;
    if (!this.map || !g) return;
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor((e.clientX - box.left - g.left) / g.bin) * g.each;
    const down = e.clientY - box.top - margin.top;
    const layer = Math.floor(down / g.layerHeight);
    const head = Math.min(this.map.heads - 1, Math.floor((down - layer * g.layerHeight) / g.rowHeight));
    const inside = column >= 0 && column < this.map.columns && layer >= 0 && layer < this.map.layers;
    this.move(inside ? { row: layer * this.map.heads + head, column } : null);
  }

  key(e) {
    if (!this.map) return;
    const { rows, each } = this.geometry;
    const at = this.cursor ?? { row: 0, column: 0 };
    const heads = this.map.heads;
    const to = {
      ArrowLeft: () => ({ ...at, column: at.column - each }),
      ArrowRight: () => ({ ...at, column: at.column + each }),
      ArrowUp: () => ({ ...at, row: at.row - 1 }),
      ArrowDown: () => ({ ...at, row: at.row + 1 }),
      PageUp: () => ({ ...at, row: at.row - heads }),
      PageDown: () => ({ ...at, row: at.row + heads }),
      Home: () => ({ ...at, column: 0 }),
      End: () => ({ ...at, column: this.map.columns - 1 }),
    }[e.key]?.();
    if (!to) return;
    e.preventDefault();
    this.move({ row: Math.max(0, Math.min(rows - 1, to.row)), column: Math.max(0, Math.min(this.map.columns - 1, to.column)) }, true);
  }

  // move puts the cursor somewhere and says what is there.
  move(cursor, byKey = false) {
    if (!cursor && !this.cursor) return;
    this.cursor = cursor && this.map && cursor.column < this.map.columns ? cursor : null;
    this.byKey = byKey;
    // What the pointer passes over is not read out.
    this.readout.setAttribute('aria-live', byKey ? 'polite' : 'off');
    put(this.readout, this.cursor ? this.describe(this.cursor) : '');
    this.draw();
  }

  describe({ row, column }) {
    const { map } = this;
    const [where, wanted] = this.cell(row, column);
    const number = map.numbers[column] ?? column;
    const places = [[inSlot, 'slot'], [inHost, 'host'], [onDisk, 'disk'], [open, 'being written']].filter(([bit]) => where & bit).map(([, name]) => name);
    const from = number * map.block_tokens;
    return `Layer ${Math.floor(row / map.heads)}, head ${row % map.heads}, block ${number} (tokens ${count(from)}–${count(from + map.block_tokens - 1)}): ${places.join(' + ') || 'nowhere'}${where & shared ? ', shared' : ''}; selected in ${wanted} of the last ${map.window} steps${where & selected ? ', now too' : ''}`;
  }

  // tell is the map in words and numbers.
  tell() {
    const { map } = this;
    const all = [0, 0, 0, 0];
    const rows = [];
    for (let layer = 0; layer < map.layers; layer++) {
      const tiers = [0, 0, 0, 0];
      let now = 0;
      for (let row = layer * map.heads; row < (layer + 1) * map.heads; row++) {
        for (let column = 0; column < map.columns; column++) {
          const [where] = this.cell(row, column);
          const tier = tierOf(where);
          if (tier >= 0) tiers[tier]++;
          if (where & selected) now++;
        }
      }
      tiers.forEach((n, i) => { all[i] += n; });
      rows.push([`${layer}`, ...tiers.map(count), count(now)]);
    }
    put(this.summary, `${count(map.columns)} blocks in each of ${map.layers} layers and ${map.heads} KV heads: ${all.map((n, i) => `${count(n)} ${tierNames[i]}`).join(', ')}.`);
    if (this.table.closest('details').open) fillTable(this.table, ['Layer', 'In slots', 'In host memory', 'On disk', 'Being written', 'Selected in the last step'], rows);
  }
}
