/**
 * A client of authd, the local daemon that owns OpenAI logins and hands out ready headers.
 *
 * One file, nothing but Node (18 or newer): copy it into your program, or import it from here.
 *
 *     import { Authd } from "./authd.mjs";
 *
 *     const authd = new Authd();
 *     const ready = await authd.headers();            // ask before every request: authd keeps it fresh
 *     await fetch(ready.responsesUrl, { method: "POST", headers: ready.headers, body });
 *
 *     await authd.token();                            // the bare bearer token
 *     await authd.login({ onStarted: (login) => console.log(login.authorizeUrl) });
 *     const relay = authd.relay();                    // no token at all: authd puts the headers in
 *     await relay.fetch(`${relay.url}/responses`, { method: "POST", body });
 *
 * What goes wrong is an `AuthdError`; `NoDaemon` if nobody listens. Nothing is cached here: authd answers from
 * memory, and a kept token is a token that expires.
 */

import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { Readable } from "node:stream";

/** How long an answer may take, in milliseconds: longer than authd gives a refresh at the provider. */
const TIMEOUT = 90_000;
/** How long one look at a login lasts, in seconds; authd allows 60. */
const LONG_POLL = 50;
/** The longest path of a socket, in bytes, on every platform: macOS holds 104 with the closing NUL. */
const MAX_SOCKET_PATH = 103;

/**
 * Ready-to-use headers and where they are good.
 * @typedef {object} Headers
 * @property {string} profile
 * @property {"chatgpt" | "api-key"} mode
 * @property {string} baseUrl
 * @property {string} responsesUrl
 * @property {[string, string][]} headers - ordered pairs, which `fetch` takes as they are
 * @property {number} generation - counts up; hand the headers to `rejected` if the provider answers 401
 * @property {string} grantId - random id of the grant, made at sign-in; empty if authd is older than this field
 * @property {string | null} expiresAt - RFC 3339; null if it never expires
 */

/**
 * A sign-in under way or over.
 * @typedef {object} Login
 * @property {string} id
 * @property {string} profile
 * @property {"browser" | "device"} flow
 * @property {"pending" | "exchanging" | "succeeded" | "failed" | "expired" | "cancelled"} state
 * @property {string} [authorizeUrl] - browser flow: the page to open
 * @property {string} [openUrl] - browser flow: an address of one use that leads there, for a command line
 * @property {string} [verificationUrl] - device flow: the page to open on any device, …
 * @property {string} [userCode] - … and the code to type there
 * @property {string} [expiresAt]
 * @property {Problem | null} error
 * @property {Record<string, unknown> | null} result - the profile that is signed in now
 */

/**
 * RFC 9457, as authd writes it.
 * @typedef {{ code?: string, title?: string, detail?: string, hint?: string, status?: number }} Problem
 */

/**
 * Which credential: of which profile (the default one unless named), and good for how many more seconds.
 * @typedef {{ profile?: string, minTtl?: number }} Wish
 */

/** What authd refused, or why it could not be asked. */
export class AuthdError extends Error {
  /**
   * @param {Problem} problem
   * @param {ErrorOptions} [options]
   */
  constructor({ code, title, detail, hint, status }, options) {
    const reason = detail ?? title ?? "authd gave no reason";
    super(hint ? `${reason} (${hint})` : reason, options);
    this.name = "AuthdError";
    /** One of the codes in docs/api.md, for example `login_required`. */
    this.code = code ?? "unknown";
    /** What happened, in a sentence. */
    this.detail = reason;
    /** What to do about it, if authd knows. */
    this.hint = hint;
    /** The HTTP status; 0 if there was no answer. */
    this.status = status ?? 0;
  }
}

/** Nobody listens on the socket. */
export class NoDaemon extends AuthdError {
  /**
   * @param {string} detail
   * @param {ErrorOptions} [options]
   */
  constructor(detail, options) {
    super({ code: "no_daemon", detail, hint: "run: authctl login, which starts authd" }, options);
    this.name = "NoDaemon";
  }
}

/** Where to send requests that authd puts the headers into. */
export class RelayBase {
  /**
   * @param {string} socketPath
   * @param {string} basePath
   */
  constructor(socketPath, basePath) {
    this.socketPath = socketPath;
    this.basePath = basePath;
    /** The base URL for an HTTP library that has been told to use the socket. */
    this.url = `http://authd${basePath}`;
    // Handed to libraries as a bare function.
    this.fetch = this.fetch.bind(this);
  }

  /**
   * `fetch` over the socket, for programs and libraries that take one. The answer streams; the request's body
   * is read whole first, so that authd can send it again after a 401. One that is too long for that is answered
   * with a 401 that has an `Authd-Renewed` header: send it again yourself.
   * @param {string | URL | Request} input
   * @param {RequestInit} [init]
   * @returns {Promise<Response>}
   */
  async fetch(input, init) {
    const request = new Request(input, init);
    const { pathname, search } = new URL(request.url);
    const body = request.body ? Buffer.from(await request.arrayBuffer()) : undefined;
    const headers = Object.fromEntries(request.headers);
    const options = { method: request.method, headers, signal: request.signal };
    const answer = await send(this.socketPath, pathname + search, options, body);
    const status = answer.statusCode ?? 0;
    const empty = request.method === "HEAD" || [204, 205, 304].includes(status);
    if (empty) answer.resume();
    const content = empty ? null : /** @type {ReadableStream<Uint8Array>} */ (Readable.toWeb(answer));
    /** @type {[string, string][]} */
    const pairs = [];
    for (let at = 0; at < answer.rawHeaders.length; at += 2) {
      pairs.push([answer.rawHeaders[at] ?? "", answer.rawHeaders[at + 1] ?? ""]);
    }
    return new Response(content, { status, statusText: answer.statusMessage, headers: pairs });
  }
}

/** The daemon on a socket. */
export class Authd {
  /** @param {string} [socketPath] */
  constructor(socketPath = defaultSocket()) {
    this.socketPath = checked(socketPath);
  }

  /**
   * Headers that are good for at least `minTtl` more seconds; authd refreshes first if need be.
   * @param {Wish} [wish]
   * @returns {Promise<Headers>}
   */
  async headers({ profile, minTtl } = {}) {
    const query = minTtl === undefined ? "" : `?min_ttl=${minTtl}`;
    const answer = await this.#ask("GET", `${of(profile)}/headers${query}`);
    return {
      profile: answer.profile,
      mode: answer.mode,
      baseUrl: answer.base_url,
      responsesUrl: answer.responses_url,
      headers: answer.headers,
      generation: answer.generation,
      grantId: answer.grant_id ?? "",
      expiresAt: answer.expires_at ?? null,
    };
  }

  /**
   * The bare bearer token, for libraries that build the header themselves.
   * @param {Wish} [wish]
   * @returns {Promise<string>}
   */
  async token(wish) {
    const { headers } = await this.headers(wish);
    const [, value = ""] = headers.find(([name]) => name.toLowerCase() === "authorization") ?? [];
    if (!value.startsWith("Bearer ")) throw new AuthdError({ detail: "authd's headers hold no bearer token" });
    return value.slice("Bearer ".length);
  }

  /**
   * Starts a sign-in; only a person can finish it. `onStarted` gets the login with the address to open, before
   * the waiting begins. With `wait: false` the login is returned as it started: hand it to `wait` later.
   * @param {object} [wish]
   * @param {string} [wish.profile]
   * @param {"browser" | "device"} [wish.flow]
   * @param {"auto" | "chatgpt" | "api-key"} [wish.mode]
   * @param {string} [wish.workspace]
   * @param {boolean} [wish.replace]
   * @param {boolean} [wish.wait]
   * @param {(login: Login) => unknown} [wish.onStarted]
   * @returns {Promise<Login>}
   */
  async login({ wait = true, onStarted, ...body } = {}) {
    const login = asLogin(await this.#ask("POST", "/v1/logins", body));
    await onStarted?.(login);
    return wait ? this.wait(login) : login;
  }

  /**
   * Waits until a login is over, and throws unless somebody is signed in.
   * @param {Login | string} login
   * @returns {Promise<Login>}
   */
  async wait(login) {
    const id = encodeURIComponent(typeof login === "string" ? login : login.id);
    for (;;) {
      const now = asLogin(await this.#ask("GET", `/v1/logins/${id}?wait=${LONG_POLL}`));
      if (now.state === "succeeded") return now;
      if (now.state !== "pending" && now.state !== "exchanging") {
        throw new AuthdError(now.error ?? { detail: `the login is over: ${now.state}` });
      }
    }
  }

  /**
   * Where to send requests without any token: authd puts the headers in, and retries after a 401.
   * @param {string} [profile]
   * @returns {RelayBase}
   */
  relay(profile) {
    return new RelayBase(this.socketPath, `${of(profile)}/relay`);
  }

  /**
   * Says that the provider answered 401 to these headers; ask for new ones afterwards. authd refreshes only if they
   * are still the current ones, so every program may say it. A bare generation does not tell one sign-in from the next.
   * @param {Headers | number} refused
   * @param {string} [profile]
   * @returns {Promise<void>}
   */
  async rejected(refused, profile) {
    const headers = typeof refused === "number" ? { generation: refused, grantId: "", profile } : refused;
    // An older authd tells no grant, and refuses a field that it does not know.
    const grant = headers.grantId ? { grant_id: headers.grantId } : {};
    const body = { rejected_generation: headers.generation, ...grant };
    await this.#ask("POST", `${of(profile ?? headers.profile)}/refresh`, body);
  }

  /**
   * @param {string} method
   * @param {string} target
   * @param {object} [body]
   * @returns {Promise<any>}
   */
  async #ask(method, target, body) {
    const sent = body && JSON.stringify(body);
    const headers = sent ? { "content-type": "application/json" } : {};
    const signal = AbortSignal.timeout(TIMEOUT);
    let status = 0;
    let version;
    let said = "";
    try {
      const answer = await send(this.socketPath, target, { method, headers, signal }, sent);
      status = answer.statusCode ?? 0;
      version = answer.headers["authd-version"];
      for await (const chunk of answer.setEncoding("utf8")) said += chunk;
    } catch (cause) {
      if (cause instanceof AuthdError) throw cause;
      if (signal.aborted) throw new AuthdError({ code: "timeout", detail: "authd did not answer" }, { cause });
      throw new AuthdError({ detail: `authd broke off: ${reason(cause)}` }, { cause });
    }
    const answer = parsed(said);
    if (version === undefined || answer === null || typeof answer !== "object") {
      const detail = `whoever answers on ${this.socketPath} is not authd`;
      throw new AuthdError({ detail, hint: "name authd's own socket with AUTHD_SOCKET", status });
    }
    if (status >= 400) throw new AuthdError({ status, ...answer });
    return answer;
  }
}

/**
 * Where authd listens unless it was told otherwise.
 * @param {{ env?: NodeJS.ProcessEnv, platform?: string, home?: string }} [place]
 * @returns {string}
 */
export function defaultSocket({ env = process.env, platform = process.platform, home = os.homedir() } = {}) {
  const { AUTHD_SOCKET, XDG_RUNTIME_DIR = "", XDG_CACHE_HOME = "" } = env;
  if (AUTHD_SOCKET) return AUTHD_SOCKET;
  let base = path.join(home, ".cache");
  if (platform === "darwin") base = path.join(home, "Library/Caches");
  else if (path.isAbsolute(XDG_RUNTIME_DIR)) base = XDG_RUNTIME_DIR;
  else if (path.isAbsolute(XDG_CACHE_HOME)) base = XDG_CACHE_HOME;
  return path.join(base, "authd/authd.sock");
}

/** @param {string} socketPath - returned if a system takes it */
function checked(socketPath) {
  const length = Buffer.byteLength(socketPath);
  let detail, hint;
  if (!path.isAbsolute(socketPath)) {
    detail = `the socket's path must be absolute: ${socketPath}`;
    hint = "name it from the root with AUTHD_SOCKET";
  } else if (length > MAX_SOCKET_PATH) {
    detail = `the socket's path is ${length} bytes long, and the system allows ${MAX_SOCKET_PATH}: ${socketPath}`;
    hint = "choose a shorter one with AUTHD_SOCKET";
  } else {
    return socketPath;
  }
  throw new AuthdError({ code: "bad_request", detail, hint });
}

/**
 * The socket's path without symbolic links, if no other user can have put a socket of theirs there: the socket and
 * its directory are this user's, and nobody else may write to that, nor to one further up unless it is sticky, as
 * /tmp is. Node cannot ask the kernel for the listener's user, as authd's other clients do.
 * @param {string} socketPath
 */
function own(socketPath) {
  const uid = process.geteuid?.();
  let place;
  try {
    place = fs.realpathSync(socketPath);
  } catch (cause) {
    throw new NoDaemon(`nobody listens on ${socketPath}: ${reason(cause)}`, { cause });
  }
  for (let at = place, depth = 0; ; at = path.dirname(at), depth += 1) {
    const found = fs.statSync(at);
    let why;
    if (depth < 2 && found.uid !== uid) why = `belongs to uid ${found.uid}, not to uid ${uid}`;
    if (depth === 1 && found.mode & 0o022) why = "is writable by others";
    if (depth > 1 && (found.mode & 0o1002) === 0o002) why = "is writable by others";
    if (why) {
      const detail = `${socketPath} may be served by another user: ${at} ${why}; nothing was sent`;
      throw new AuthdError({ code: "forbidden", detail, hint: "name your own daemon's socket with AUTHD_SOCKET" });
    }
    if (at === path.dirname(at)) return checked(place);
  }
}

/**
 * One request; resolves when the answer's head is there.
 * @param {string} socketPath
 * @param {string} target
 * @param {http.RequestOptions} options
 * @param {string | Buffer} [body]
 * @returns {Promise<http.IncomingMessage>}
 */
function send(socketPath, target, { headers, ...options }, body) {
  return new Promise((resolve, reject) => {
    // authd answers to no other name, and a connection of its own per request keeps the process free to end.
    // Of some methods' bodies Node says nothing by itself, and whoever reads them takes them for the next request.
    const length = body === undefined ? {} : { "content-length": Buffer.byteLength(body) };
    const fixed = { socketPath: own(socketPath), path: target, headers: { ...headers, ...length, host: "authd" }, agent: false };
    const request = http.request({ ...options, ...fixed }, resolve);
    request.on("error", (/** @type {NodeJS.ErrnoException} */ error) => {
      const connecting = error.syscall === "connect";
      const detail = `nobody listens on ${socketPath}: ${error.message}`;
      reject(connecting ? new NoDaemon(detail, { cause: error }) : error);
    });
    request.end(body);
  });
}

/** @param {string} [profile] */
function of(profile) {
  return `/v1/profiles/${profile === undefined ? "-" : encodeURIComponent(profile)}`;
}

/** @type {(answer: any) => Login} */
function asLogin(answer) {
  return {
    id: answer.id,
    profile: answer.profile,
    flow: answer.flow,
    state: answer.state,
    authorizeUrl: answer.authorize_url,
    openUrl: answer.open_url,
    verificationUrl: answer.verification_url,
    userCode: answer.user_code,
    expiresAt: answer.expires_at,
    error: answer.error ?? null,
    result: answer.result ?? null,
  };
}

/** @type {(text: string) => any} */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** @param {unknown} error */
function reason(error) {
  return error instanceof Error ? error.message : String(error);
}
