// The open requests: a row each, which stays the same one while it is open, so that
// whoever has focus in it keeps that.

import { count, duration, make, put, shortID } from './text.js';

export class Requests {
  constructor({ table, none, counter, title, cancel, show }) {
    Object.assign(this, { table, none, counter, title, cancel, show });
    this.rows = new Map();
  }

  update(s, shown) {
    const body = this.table.tBodies[0];
    const old = new Set(this.rows.keys());
    let before = null;
    for (const q of s.requests) {
      const name = `${q.id}/${q.choice}`;
      old.delete(name);
      if (!this.rows.has(name)) this.rows.set(name, this.row(q));
      const row = this.rows.get(name);
      this.fill(row, q, shown === name);
      const place = before ? before.nextSibling : body.firstChild;
      if (place !== row.tr) body.insertBefore(row.tr, place);
      before = row.tr;
    }
    for (const name of old) {
      const { tr } = this.rows.get(name);
      const had = tr.contains(document.activeElement);
      tr.remove();
      this.rows.delete(name);
      if (had) this.title.focus();
    }
    this.table.hidden = s.requests.length === 0;
    this.none.hidden = s.requests.length > 0;
    const parts = [`${count(s.running)} running`, `${count(s.waiting)} waiting`];
    if (s.paused) parts.push(`${count(s.paused)} paused`);
    if (s.more_requests) parts.push(`${count(s.more_requests)} not listed`);
    put(this.counter, parts.join(' · '));
  }

  row(q) {
    const cells = { id: make('code'), key: make('span', { className: 'key' }), phase: make('span', { className: 'phase' }), words: make('span', { className: 'words' }), age: make('td', { className: 'number age' }) };
    cells.cached = make('i', { className: 'cached' });
    cells.prompt = make('i', { className: 'prompt' });
    cells.answer = make('i', { className: 'answer' });
    const bar = make('div', { className: 'progress', 'aria-hidden': 'true' }, cells.cached, cells.prompt, cells.answer);
    cells.show = make('button', { type: 'button', className: 'quiet', onclick: () => this.show(q.id, q.choice) }, 'Map');
    cells.cancel = make('button', { type: 'button', className: 'cancel', onclick: () => this.end(cells, q.id) }, 'Cancel');
    cells.show.setAttribute('aria-label', `Show the blocks of request ${shortID(q.id)} in the map`);
    cells.cancel.setAttribute('aria-label', `Cancel request ${shortID(q.id)}`);
    cells.tr = make('tr', {}, make('th', { scope: 'row' }, cells.id, ' ', cells.key), make('td', {}, cells.phase), make('td', { className: 'how-far' }, bar, cells.words), cells.age, make('td', { className: 'actions' }, cells.show, ' ', cells.cancel));
    return cells;
  }

  fill(row, q, shown) {
    put(row.id, shortID(q.id) + (q.choice ? ` #${q.choice + 1}` : ''));
    row.id.title = q.id;
    put(row.key, q.key ?? '');
    put(row.phase, { prefill: 'reading', decode: 'writing' }[q.phase] ?? q.phase);
    row.phase.className = `phase ${q.phase}`;
    const part = (n) => `${(100 * n) / q.max_total_tokens}%`;
    row.cached.style.width = part(q.cached_tokens);
    row.prompt.style.width = part(Math.max(0, Math.min(q.held_tokens, q.prompt_tokens) - q.cached_tokens));
    row.answer.style.width = part(Math.max(0, q.held_tokens - q.prompt_tokens));
    const read = Math.min(q.held_tokens, q.prompt_tokens);
    put(row.words, q.phase === 'decode' || q.generated_tokens
      ? `${count(q.generated_tokens)} of ${count(q.max_total_tokens - q.prompt_tokens)} tokens written, ${count(q.prompt_tokens)} read`
      : `${count(read)} of ${count(q.prompt_tokens)} tokens read${q.cached_tokens ? `, ${count(q.cached_tokens)} cached` : ''}`);
    put(row.age, duration(q.seconds));
    row.show.setAttribute('aria-pressed', shown);
  }

  async end(row, id) {
    if (row.cancel.getAttribute('aria-disabled') === 'true') return;
    row.cancel.setAttribute('aria-disabled', 'true'); // disabled would take the focus away
    try {
      await this.cancel(id);
    } finally {
      row.cancel.setAttribute('aria-disabled', 'false');
    }
  }
}
