// Numbers as people read them, and elements as scripts make them.

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

export const count = (n) => whole.format(n);

// brief is a number in three digits or so.
export function brief(n) {
  if (n === null || !Number.isFinite(n)) return '–';
  const size = Math.abs(n);
  if (size >= 1e6) return `${(n / 1e6).toFixed(size >= 1e8 ? 0 : 1)}M`;
  if (size >= 1e4) return `${(n / 1e3).toFixed(size >= 1e5 ? 0 : 1)}k`;
  if (size >= 100) return count(n);
  if (size >= 10) return n.toFixed(1);
  return n === 0 ? '0' : n.toFixed(2);
}

export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  for (; n >= 1024 && at < units.length - 1; at++) n /= 1024;
  return `${at === 0 || n >= 100 ? n.toFixed(0) : n.toFixed(1)} ${units[at]}`;
}

export function duration(seconds) {
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const m = Math.floor(seconds / 60);
  return m < 60 ? `${m} min ${Math.floor(seconds % 60)} s` : `${Math.floor(m / 60)} h ${m % 60} min`;
}

export const percent = (part) => (part === null || !Number.isFinite(part) ? '–' : `${(100 * part).toFixed(part === 0 || part >= 0.9995 ? 0 : 1)} %`);

// make is an element with properties and children.
export function make(name, properties = {}, ...children) {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(properties)) {
    if (k.includes('-') || k === 'role' || k === 'scope') e.setAttribute(k, v);
    else e[k] = v;
  }
  e.append(...children);
  return e;
}

// put changes an element's text if it is another one, so that nothing is told twice.
export function put(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

export const shortID = (id) => id.replace(/^req_/, '').slice(0, 8);

// fillTable lays rows out, the first cell of each being its heading.
export function fillTable(table, heads, rows) {
  table.tHead.replaceChildren(make('tr', {}, ...heads.map((h) => make('th', { scope: 'col' }, h))));
  table.tBodies[0].replaceChildren(...rows.map((cells) => make('tr', {}, ...cells.map((c, i) => (i === 0 ? make('th', { scope: 'row' }, c) : make('td', {}, c))))));
}
