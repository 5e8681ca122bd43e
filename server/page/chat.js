// The chat: a client of the server's public API as any other.

import * as api from './api.js';
import { bytes, count, make, percent, put } from './text.js';

const mostFile = 8 << 20; // bytes of a text that is added

export class Chat {
  constructor(parts, { began, say }) {
    Object.assign(this, parts);
    this.began = began;
    this.say = say;
    this.messages = [];
    this.text = '';
    this.form.addEventListener('submit', (e) => {
      e.preventDefault();
      this.send();
    });
    this.message.addEventListener('keydown', (e) => {
      if (e.key !== 'Enter' || e.shiftKey || e.isComposing) return;
      e.preventDefault();
      this.form.requestSubmit();
    });
    this.stop.addEventListener('click', () => this.abort?.abort());
    this.fresh.addEventListener('click', () => this.clear());
    this.file.addEventListener('change', () => this.read());
    this.drop.addEventListener('click', () => this.attach(null));
  }

  async read() {
    const [f] = this.file.files;
    if (!f) return;
    if (f.size > mostFile) {
      this.attach(null);
      this.say(`${f.name} is longer than ${bytes(mostFile)}.`);
      return;
    }
    this.attach({ name: f.name, size: f.size, text: await f.text() });
  }

  attach(added) {
    this.added = added;
    this.chip.hidden = !added;
    if (added) put(this.fileName, `${added.name}, ${bytes(added.size)}`);
    else this.file.value = '';
  }

  clear() {
    this.abort?.abort();
    this.messages = [];
    this.log.replaceChildren();
    this.attach(null);
    this.message.focus();
  }

  // bubble is a message in the log.
  bubble(role, name) {
    const body = make('p', { className: 'body' });
    const box = make('article', { className: role }, make('h3', {}, name), body);
    this.log.append(box);
    this.follow(true);
    return { box, body };
  }

  // follow keeps the end in sight, for those who were there.
  follow(always) {
    const near = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 60;
    if (always || near) this.log.scrollTop = this.log.scrollHeight;
  }

  async send() {
    const text = this.message.value.trim();
    if (!text || this.abort) return;
    const mine = this.bubble('user', 'You');
    if (this.added) mine.box.append(make('p', { className: 'facts' }, `with ${this.added.name}, ${bytes(this.added.size)}`));
    put(mine.body, text);
    this.messages.push({ role: 'user', content: this.added ? `${this.added.text}\n\n${text}` : text });
    this.message.value = '';
    this.attach(null);
    await this.answer();
  }

  async answer() {
    const { box, body } = this.bubble('assistant', this.model());
    const facts = make('p', { className: 'facts' }, 'reading');
    box.append(facts);
    this.log.setAttribute('aria-busy', 'true');
    this.abort = new AbortController();
    this.submit.hidden = true;
    this.stop.hidden = false;
    const start = performance.now();
    let first = 0;
    let text = '';
    let usage = null;
    let finish = '';
    const write = document.createTextNode('');
    body.append(write);
    try {
      await api.chat({
        model: this.model(), messages: this.messages, max_tokens: Number(this.maxTokens.value) || 256, temperature: Number(this.temperature.value),
      }, this.abort.signal, (event) => {
        if (event.id && !event.choices) this.began(event.id);
        if (event.usage) usage = event.usage;
        const choice = event.choices?.[0];
        if (choice?.finish_reason) finish = choice.finish_reason;
        const piece = choice?.delta?.content;
        if (!piece) return;
        if (!first) put(facts, 'writing');
        first ||= performance.now();
        text += piece;
        write.appendData(piece);
        this.follow();
      });
      put(facts, summary(usage, first - start, finish));
    } catch (error) {
      const stopped = this.abort.signal.aborted || error.code === 'cancelled';
      facts.classList.toggle('wrong', !stopped);
      put(facts, stopped ? 'cancelled' : error.message);
    } finally {
      if (text) this.messages.push({ role: 'assistant', content: text });
      else this.messages.pop(); // so that it may be asked again
      this.abort = null;
      this.submit.hidden = false;
      this.stop.hidden = true;
      this.log.setAttribute('aria-busy', 'false');
      this.follow();
    }
  }
}

// summary is what an answer took, in a line.
function summary(usage, wait, finish) {
  if (!usage) return finish;
  const n = usage.nosa;
  const parts = [`${count(usage.prompt_tokens)} + ${count(usage.completion_tokens)} tokens`];
  if (usage.prompt_tokens_details.cached_tokens) parts.push(`${count(usage.prompt_tokens_details.cached_tokens)} cached`);
  if (wait > 0) parts.push(`first after ${(wait / 1000).toFixed(2)} s`);
  if (n.decode_seconds > 0) parts.push(`${((usage.completion_tokens - 1) / n.decode_seconds).toFixed(0)} tok/s`);
  if (n.selected_blocks) parts.push(`${percent(n.hit_rate)} in slots`);
  if (finish === 'length') parts.push('cut at the limit');
  return parts.join(' · ');
}
