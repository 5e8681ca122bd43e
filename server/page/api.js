// What the page asks of the server, and the key that it may need for that.

const keyName = 'nosa-key';

export const key = {
  get: () => sessionStorage.getItem(keyName) ?? '',
  set: (value) => sessionStorage.setItem(keyName, value),
  forget: () => sessionStorage.removeItem(keyName),
};

// Refused is an answer that is not a success, in the words of the server.
export class Refused extends Error {
  constructor(status, message, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

async function refused(response) {
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch { /* it was no JSON: the status says enough */ }
  return new Refused(response.status, error.message ?? `status ${response.status}`, error.code);
}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  const response = await fetch(path, { ...options, headers, cache: 'no-store', credentials: 'omit' });
  if (!response.ok) throw await refused(response);
  return response;
}

function post(path, body, signal) {
  return ask(path, { method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' }, signal });
}

export const state = async () => (await ask('/nosa/state')).json();

export const cancel = async (id) => (await post(`/nosa/requests/${encodeURIComponent(id)}/cancel`, {})).json();

// cache brings where the blocks of a request are, or with no id those that are kept. What
// the server cuts off of a large map is asked for layer after layer.
export async function cache(id, choice, layers) {
  let map = null;
  for (let from = 0; from < layers;) {
    const query = new URLSearchParams({ layers: `${from}-${layers}` });
    if (id) {
      query.set('request', id);
      query.set('choice', choice);
    }
    const part = await (await ask(`/nosa/cache?${query}`)).json();
    const cells = Uint8Array.from(atob(part.cells), (c) => c.charCodeAt(0));
    const columns = part.blocks[1] - part.blocks[0];
    if (!map) map = { ...part, columns, layers, cells: new Uint8Array(2 * layers * part.heads * columns) };
    if (columns !== map.columns) break; // it has grown meanwhile: the rest comes with the next map
    map.cells.set(cells, 2 * from * map.heads * columns);
    if (part.layers[1] <= from) break;
    from = part.layers[1];
  }
  return map;
}

// chat sends a conversation and calls each with every event of the answer.
export async function chat(body, signal, each) {
  const response = await post('/v1/chat/completions', { ...body, stream: true, stream_options: { include_usage: true } }, signal);
  each({ id: response.headers.get('X-Request-Id') });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith('data: ') || line === 'data: [DONE]') continue;
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new Refused(200, event.error.message, event.error.code);
      each(event);
    }
  }
}
