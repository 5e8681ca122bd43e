// The page of nosa serve: asks the server how it stands, once a second, and shows it.

import * as api from './api.js';
import { CacheMap } from './map.js';
import { Charts } from './charts.js';
import { Chat } from './chat.js';
import { Requests } from './requests.js';
import { bytes, count, make, percent, put, shortID } from './text.js';

const $ = (id) => document.getElementById(id);
const stateEvery = 1000; // milliseconds
const mapEvery = 500;

let last = null; // state
let chosen = ''; // what the map is to show: '' the newest request, 'kept', or id/choice
let model = '';

const say = (text) => { $('status').textContent = text; };

const charts = new Charts($('charts'), $('charts-table'));
const map = new CacheMap({ canvas: $('map'), empty: $('map-empty'), readout: $('map-readout'), summary: $('map-summary'), table: $('map-table') });
const requests = new Requests({
  table: $('requests'), none: $('requests-none'), counter: $('requests-count'), title: $('requests-title'),
  cancel: async (id) => {
    try {
      await api.cancel(id);
      say(`Request ${shortID(id)} was cancelled.`);
    } catch (error) {
      say(`Request ${shortID(id)}: ${error.message}`);
    }
    await pollState();
  },
  show: (id, choice) => choose(`${id}/${choice}`),
});
new Chat({
  form: $('chat-form'), log: $('chat-log'), message: $('message'), submit: $('send'), stop: $('stop'), fresh: $('chat-new'), file: $('file'),
  chip: $('file-chip'), fileName: $('file-name'), drop: $('file-drop'), maxTokens: $('max-tokens'), temperature: $('temperature'), model: () => model,
}, { began: (id) => { if (id) choose(''); }, say });

// Tiers, from the fastest down, with the ways between them.
const tiers = [['slots', 'Device', 'slots', 0], ['host', 'Host', 'pages', 1], ['disk', 'Disk', 'records', 2]].map(([name, title, places, i]) => {
  const used = make('i');
  const t = { name, places, used, size: make('span', { className: 'size' }), figures: make('span', { className: 'figures' }), up: make('span'), down: make('span') };
  const bar = make('div', { className: 'bar', 'aria-hidden': 'true' }, used);
  t.item = make('li', { className: `tier tier-${i}` }, make('span', { className: 'title' }, title), t.size, bar, t.figures);
  $('tiers').append(t.item);
  if (i < 2) {
    $('tiers').append(make('li', { className: 'way' }, make('span', { className: 'up' }, make('span', { 'aria-hidden': 'true' }, '◂ '), make('span', { className: 'unseen' }, 'up '), t.up), make('span', { className: 'down' }, make('span', { className: 'unseen' }, 'down '), t.down, make('span', { 'aria-hidden': 'true' }, ' ▸'))));
  }
  return t;
});

function showTiers(s) {
  const p = charts.points.at(-1);
  for (const t of tiers) {
    const { blocks, places } = s[t.name];
    t.item.classList.toggle('none', places === 0);
    put(t.size, places ? bytes(blocks * s.block_bytes) : '');
    put(t.figures, places ? `${count(blocks)} of ${count(places)} ${t.places}` : 'not used');
    t.used.style.width = places ? `${(100 * blocks) / places}%` : '0';
  }
  const rate = (n) => `${bytes(n ?? 0)}/s`;
  put(tiers[0].up, rate(p?.up));
  put(tiers[0].down, rate(p?.down));
  put(tiers[1].up, rate(p?.fromDisk));
  put(tiers[1].down, rate(p?.toDisk));
}

// layerShares is where each layer found its blocks since some seconds ago.
function layerShares(s) {
  const from = charts.states.findLast((o) => o.seconds <= s.seconds - 5) ?? charts.states[0];
  return s.layers.map((now, i) => {
    const d = now.map((n, k) => n - (from.layers[i]?.[k] ?? 0));
    return d[0] > 0 ? [d[1] / d[0], d[2] / d[0], d[3] / d[0]] : null;
  });
}

function choose(what) {
  chosen = what;
  nextMap = 0;
  $('map-of').value = what;
  if (last) requests.update(last, current());
  pollMap();
}

// current is what the map shows: id/choice, or '' for kept blocks.
function current() {
  if (chosen && chosen !== 'kept' && last.requests.some((q) => `${q.id}/${q.choice}` === chosen)) return chosen;
  if (chosen === 'kept' && last.sees_all) return '';
  const newest = last.requests.filter((q) => q.seat !== null).reduce((a, q) => (!a || q.seconds < a.seconds ? q : a), null);
  return newest ? `${newest.id}/${newest.choice}` : '';
}

function listChoices(s) {
  const wanted = [['', 'the newest request'], ...s.requests.map((q) => [`${q.id}/${q.choice}`, shortID(q.id) + (q.choice ? ` #${q.choice + 1}` : '')])];
  if (s.sees_all) wanted.push(['kept', 'ended requests, kept']);
  const select = $('map-of');
  const same = select.options.length === wanted.length && wanted.every(([v], i) => select.options[i].value === v);
  if (same) return;
  if (chosen && !wanted.some(([v]) => v === chosen)) chosen = '';
  select.replaceChildren(...wanted.map(([value, text]) => make('option', { value }, text)));
  select.value = chosen;
}

let asking = null;

function pollState() {
  asking ??= (async () => {
    try {
      const s = await api.state();
      take(s);
    } catch (error) {
      failed(error);
    } finally {
      asking = null;
    }
  })();
  return asking;
}

function take(s) {
  if (!last || $('lamp').className.includes('off')) say('Connected.');
  last = s;
  model = s.model;
  put($('model'), s.model);
  put($('settings'), `${s.attention} attention · context ${count(s.context)}`);
  document.title = `${s.model} · nosa`;
  $('lamp').className = s.running ? 'lamp busy' : 'lamp';
  $('forget-key').hidden = !api.key.get();
  charts.add(s);
  const still = s.running && charts.points.at(-1)?.wait; // part of the time
  put($('pulse'), `step ${count(s.steps)} · ${s.ready ? (s.running ? 'at work' : 'idle') : 'shutting down'}${still > 0.005 ? ` · ${percent(Math.min(1, still))} waiting for transfers` : ''}`);
  showTiers(s);
  listChoices(s);
  requests.update(s, current());
}

function failed(error) {
  if (error.status === 401) {
    askKey(api.key.get() ? error.message : '');
    return;
  }
  const text = error.status ? error.message : 'no connection: trying again';
  if ($('pulse').textContent !== text) say(text);
  put($('pulse'), text);
  $('lamp').className = 'lamp off';
}

function askKey(wrong) {
  const dialog = $('key-dialog');
  put($('key-wrong'), wrong);
  api.key.forget();
  if (!dialog.open) dialog.showModal();
}

let mapping = false;
let mapped = '';
let nextMap = 0;

async function pollMap() {
  if (!last || mapping || document.hidden || $('key-dialog').open) return;
  const start = performance.now();
  if (start < nextMap) return;
  mapping = true;
  try {
    const what = current();
    const [id, choice] = what.split('/');
    if (!what && !last.sees_all) {
      map.show(null);
      return;
    }
    // Nothing moves while nobody computes.
    const mark = `${what} ${last.steps} ${last.cached_blocks}`;
    if (!last.running && mark === mapped) return;
    const got = await api.cache(id, choice, last.layers.length);
    mapped = mark;
    map.layers(layerShares(last));
    const q = last.requests.find((r) => `${r.id}/${r.choice}` === what);
    map.show(got, q && got?.block_tokens ? Math.ceil(q.max_total_tokens / got.block_tokens) : 0);
    put($('map-empty'), q && !got?.columns ? 'It waits for a seat and has no blocks yet.' : 'No blocks yet: ask something, and watch where they go.');
  } catch (error) {
    failed(error);
  } finally {
    mapping = false;
    nextMap = performance.now() + 4 * (performance.now() - start); // a large one comes less often
  }
}

$('map-of').addEventListener('change', (e) => choose(e.target.value));
for (const radio of document.querySelectorAll('input[name=mode]')) radio.addEventListener('change', () => map.setMode(radio.value));
$('map-table').closest('details').addEventListener('toggle', () => { if (map.map) map.tell(); });
$('charts-table').closest('details').addEventListener('toggle', () => { if (last) charts.draw(last.seconds); });
$('key-form').addEventListener('submit', (e) => {
  e.preventDefault();
  api.key.set($('key').value.trim());
  $('key').value = '';
  $('key-dialog').close();
  pollState();
});
$('forget-key').addEventListener('click', () => {
  api.key.forget();
  location.reload();
});
document.addEventListener('visibilitychange', () => {
  if (document.hidden) return;
  pollState();
  map.draw();
});

pollState();
setInterval(() => { if (!$('key-dialog').open) pollState(); }, stateEvery);
setInterval(pollMap, mapEvery);
