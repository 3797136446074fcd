// What the pages ask of the server: the same interface as programs use, under /api/v1.

const BASE = "/api/v1";
const MOST_TRIES_WHEN_BUSY = 5;

const meta = document.querySelector("meta[name=csrf-token]");

// Why something was not done: `kind` is the server's name of the error, "Unreachable" where none answered.
export class Refusal extends Error {
  constructor(kind, sentence, { status = 0, wait = 0 } = {}) {
    super(sentence);
    this.kind = kind;
    this.status = status;
    this.wait = wait;
  }
}

const seconds = (n) => new Promise((done) => setTimeout(done, 1000 * n));

async function refusalOf(response) {
  const told = await response.json().catch(() => ({}));
  const wait = Number(response.headers.get("Retry-After") ?? 0);
  const sentence = told.detail ?? `the server answered ${response.status}`;
  return new Refusal(told.error ?? "InternalError", sentence, { status: response.status, wait });
}

async function once(path, { method, body, headers, signal }) {
  const changes = method !== "GET";
  const json = body !== undefined && !(body instanceof FormData);
  try {
    return await fetch(path.startsWith("/") ? path : `${BASE}/${path}`, {
      method,
      signal,
      credentials: "same-origin",
      body: json ? JSON.stringify(body) : body,
      headers: {
        ...headers,
        ...(json ? { "Content-Type": "application/json" } : {}),
        ...(changes ? { "X-CSRF-Token": meta.content } : {}),
      },
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    dispatchEvent(new Event("unreachable"));
    throw new Refusal("Unreachable", "the server does not answer");
  }
}

// After a restart the server knows neither the cookie nor the token: take new ones.
async function renewSession() {
  const response = await once("session", { method: "GET" });
  if (response.ok) meta.content = (await response.json()).csrf_token;
}

// Ask, and give the answer; throws a `Refusal`. A busy server is asked again when it says so.
export async function ask(path, { method = "GET", body, headers = {}, signal } = {}) {
  let renewed = false;
  for (let tries = 1; ; tries += 1) {
    const response = await once(path, { method, body, headers, signal });
    if (response.ok) return response;
    const refusal = await refusalOf(response);
    if (refusal.status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
    if (refusal.kind === "SessionError" && !renewed) {
      renewed = true;
      await renewSession();
    } else if (refusal.kind === "BusyError" && tries < MOST_TRIES_WHEN_BUSY) {
      await seconds(refusal.wait || 1);
    } else {
      throw refusal;
    }
  }
}

export const get = async (path, options) => (await ask(path, options)).json();
export const post = async (path, body, options) => (await ask(path, { method: "POST", body, ...options })).json();

const multipart = (files, fields) => {
  const form = new FormData();
  for (const [name, text] of Object.entries(fields)) if (text !== null && text !== undefined) form.append(name, text);
  for (const file of files) form.append("file", file);
  return form;
};

export const sendImage = (file, { spacing = null, side = null } = {}) =>
  post("images", multipart([file], { spacing, side }));

export const setImage = (id, settings) => post(`images/${id}/settings`, settings);
export const synthesize = async (request, options) => (await post("synthesize", request, options)).results;

// Numbers as the server has them: little-endian, row after row.
export const floats = async (url, options) => new Float32Array(await (await ask(url, options)).arrayBuffer());
export const shorts = async (url, options) => new Uint16Array(await (await ask(url, options)).arrayBuffer());

// Synthesize several files; `onEvent(name, data)` is told of each as it is done.
export async function synthesizeFiles(files, onEvent) {
  const response = await ask("synthesize", {
    method: "POST",
    body: multipart(files, { hold: "true" }),
    headers: { Accept: "text/event-stream" },
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
      const events = (text + value.replaceAll("\r\n", "\n")).split("\n\n");
      text = events.pop();
      for (const event of events) tell(event, onEvent);
    }
  } catch {
    dispatchEvent(new Event("unreachable"));
    throw new Refusal("Unreachable", "the server stopped answering");
  }
}

function tell(event, onEvent) {
  const lines = event.split("\n").map((line) => /^(\w*): ?(.*)$/s.exec(line)).filter(Boolean);
  const name = lines.find(([, field]) => field === "event")?.[2] ?? "message";
  const data = lines.filter(([, field]) => field === "data").map(([, , text]) => text);
  if (data.length) onEvent(name, JSON.parse(data.join("\n")));
}
