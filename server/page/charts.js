// Small charts of the last minutes: what the differences of successive states are.

import { brief, bytes, fillTable, make, percent, put } from './text.js';

const span = 180; // seconds that are kept
const least = 60; // seconds that are shown at least
const svgName = 'http://www.w3.org/2000/svg';
const [width, height] = [200, 52];

function svg(name, attributes) {
  const e = document.createElementNS(svgName, name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  return e;
}

// mean of what a histogram has summed up between two states; null if that is nothing.
function mean(before, after) {
  const n = after.counts.reduce((a, b) => a + b, 0) - before.counts.reduce((a, b) => a + b, 0);
  return n > 0 ? (after.sum - before.sum) / n : null;
}

// quantile of what a histogram has counted between two states; null if that is nothing.
function quantile(bounds, before, after, part) {
  const counts = after.counts.map((n, i) => n - before.counts[i]);
  const all = counts.reduce((a, b) => a + b, 0);
  if (all <= 0) return null;
  let left = part * all;
  for (let i = 0; i < counts.length; i++) {
    if (left <= counts[i]) {
      const low = i === 0 ? 0 : bounds[i - 1];
      const high = bounds[Math.min(i, bounds.length - 1)];
      return counts[i] === 0 ? high : low + ((high - low) * left) / counts[i];
    }
    left -= counts[i];
  }
  return bounds[bounds.length - 1];
}

// Each chart has lines, or layers that add up to a whole.
const charts = [
  { name: 'Prompts read', unit: 'tok/s', lines: [['rate', (p) => p.read]], show: brief },
  { name: 'Answers written', unit: 'tok/s', lines: [['rate', (p) => p.drawn]], show: brief },
  { name: 'First token', unit: 's', lines: [['mean', (p) => p.first]], show: brief, sparse: true },
  { name: 'Between tokens', unit: 'ms', lines: [['mean', (p) => p.gap], ['95 %', (p) => p.gapHigh]], show: brief, sparse: true },
  { name: 'Found in slots', unit: '', whole: true, lines: [['slots', (p) => p.hits], ['host', (p) => p.host], ['disk', (p) => p.disk]], show: percent },
  { name: 'Moved', unit: '/s', lines: [['to slots', (p) => p.up], ['from disk', (p) => p.fromDisk]], show: (n) => (n === null ? '–' : bytes(n)) },
];

export class Charts {
  constructor(box, table) {
    this.table = table;
    this.states = [];
    this.points = [];
    this.drawn = charts.map((c) => this.frame(box, c));
  }

  frame(box, c) {
    const picture = svg('svg', { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img' });
    picture.append(svg('line', { x1: 0, x2: width, y1: height - 0.5, y2: height - 0.5, class: 'base' }));
    const paths = c.lines.map((_, i) => {
      const path = svg('path', { class: c.whole ? `layer tier-${i}` : `line line-${i}` });
      picture.append(path);
      return path;
    });
    const fill = c.whole ? null : svg('path', { class: 'fill' });
    if (fill) picture.prepend(fill);
    const now = make('b');
    const top = make('span', { className: 'top', 'aria-hidden': 'true' });
    const plot = make('div', { className: 'plot' });
    plot.append(picture, top);
    box.append(make('figure', {}, make('figcaption', {}, make('span', { className: 'name' }, c.name), make('span', { className: 'now' }, now, c.unit ? ` ${c.unit}` : '')), plot));
    return { c, picture, paths, fill, now, top };
  }

  // add takes a state in and draws.
  add(s) {
    if (this.states.length && s.seconds < this.states.at(-1).seconds) { // another server
      this.states = [];
      this.points = [];
    }
    const back = (seconds) => this.states.findLast((o) => o.seconds <= s.seconds - seconds) ?? this.states[0];
    const last = this.states.at(-1);
    if (last && s.seconds - last.seconds > 0.2) this.points.push(point(s, last, back(5), back(60)));
    if (!last || s.seconds - last.seconds > 0.2) this.states.push(s);
    this.states = this.states.filter((o) => o.seconds > s.seconds - span);
    this.points = this.points.filter((p) => p.at > s.seconds - span);
    if (!document.hidden) this.draw(s.seconds);
  }

  draw(end) {
    const shown = Math.max(least, Math.min(span, end - (this.points[0]?.at ?? end)));
    const x = (p) => width * (1 - (end - p.at) / shown);
    for (const d of this.drawn) {
      const value = (p, i) => d.c.lines[i][1](p);
      let top = 1;
      if (!d.c.whole) {
        top = Math.max(...this.points.flatMap((p) => d.c.lines.map((_, i) => value(p, i) ?? 0)), 1e-3) * 1.08;
      }
      const y = (v) => (height - 1.5) * (1 - v / top) + 1;
      d.paths.forEach((path, i) => path.setAttribute('d', d.c.whole ? this.layer(d, i, x, y) : this.line(d, i, x, y)));
      if (d.fill) d.fill.setAttribute('d', this.area(d, x, y));
      const last = this.points.at(-1);
      const now = last ? value(last, 0) : null;
      put(d.now, d.c.show(now));
      put(d.top, d.c.whole || this.points.length === 0 ? '' : d.c.show(top / 1.08));
      const all = this.points.map((p) => value(p, 0)).filter((v) => v !== null);
      const range = all.length ? `, lowest ${d.c.show(Math.min(...all))}, highest ${d.c.show(Math.max(...all))}` : '';
      d.picture.setAttribute('aria-label', `${d.c.name}: now ${d.c.show(now)} ${d.c.unit}${range}`);
    }
    if (this.table.closest('details').open) this.tabulate(end);
  }

  line(d, i, x, y) {
    let path = '';
    let pen = false;
    for (const p of this.points) {
      const v = d.c.lines[i][1](p);
      if (v === null) {
        pen = false;
        continue;
      }
      path += `${pen ? 'L' : 'M'}${x(p).toFixed(1)} ${y(v).toFixed(1)}`;
      if (!pen) path += 'h0.6'; // so that a single point is seen
      pen = true;
    }
    return path;
  }

  area(d, x, y) {
    if (d.c.sparse || this.points.length < 2) return '';
    const value = d.c.lines[0][1];
    const line = this.points.map((p) => `L${x(p).toFixed(1)} ${y(value(p) ?? 0).toFixed(1)}`).join('');
    return `M${x(this.points[0]).toFixed(1)} ${height}${line}V${height}Z`;
  }

  // layer is a part of a whole, above those before it.
  layer(d, i, x, y) {
    const sum = (p, n) => d.c.lines.slice(0, n).reduce((a, l) => a + (l[1](p) ?? 0), 0);
    let path = '';
    for (let at = 0; at < this.points.length;) {
      if (d.c.lines[0][1](this.points[at]) === null) {
        at++;
        continue;
      }
      let to = at;
      while (to < this.points.length && d.c.lines[0][1](this.points[to]) !== null) to++;
      const run = this.points.slice(at, to);
      const upper = run.map((p) => `${x(p).toFixed(1)} ${y(sum(p, i + 1)).toFixed(1)}`);
      const lower = run.map((p) => `${x(p).toFixed(1)} ${y(sum(p, i)).toFixed(1)}`).reverse();
      path += `M${upper.join('L')}L${lower.join('L')}Z`;
      at = to;
    }
    return path;
  }

  tabulate(end) {
    const rows = [];
    for (let ago = 0; ago < span; ago += 10) {
      const some = this.points.filter((p) => p.at > end - ago - 10 && p.at <= end - ago);
      if (!some.length) continue;
      rows.push([`${ago}–${ago + 10} s ago`, ...charts.map((c) => {
        const values = some.map(c.lines[0][1]).filter((v) => v !== null);
        return c.show(values.length ? values.reduce((a, b) => a + b, 0) / values.length : null);
      })]);
    }
    fillTable(this.table, ['When', ...charts.map((c) => (c.unit ? `${c.name}, ${c.unit}` : c.name))], rows);
  }
}

// point is what has happened between two states; times look further back: five seconds,
// and a minute for first tokens, of which there are few.
function point(s, last, recent, minute) {
  const seconds = s.seconds - last.seconds;
  const rate = (of) => Math.max(0, of(s) - of(last)) / seconds;
  const selected = s.total.selected_blocks - last.total.selected_blocks;
  const share = (of) => (selected > 0 ? (of(s.total) - of(last.total)) / selected : null);
  const drawn = rate((o) => o.generated_tokens);
  return {
    at: s.seconds,
    drawn,
    read: Math.max(0, rate((o) => o.step_tokens) - drawn),
    first: mean(minute.first_token, s.first_token),
    gap: ms(mean(recent.next_token, s.next_token)),
    gapHigh: ms(quantile(s.bounds, recent.next_token, s.next_token, 0.95)),
    hits: share((t) => t.hits),
    host: share((t) => t.host_hits),
    disk: share((t) => t.disk_hits),
    up: rate((o) => o.total.bytes_up),
    down: rate((o) => o.total.bytes_down),
    toDisk: rate((o) => o.total.bytes_to_disk),
    fromDisk: rate((o) => o.total.bytes_from_disk),
    wait: rate((o) => o.total.wait_seconds),
  };
}

const ms = (seconds) => (seconds === null ? null : 1000 * seconds);
