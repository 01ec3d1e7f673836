/**
 * A client of authd, the local daemon that owns OpenAI logins and hands out ready headers.
 *
 * One file without dependencies, for Node 18 or newer. Copy it into your program, or import it.
 *
 *     import { Authd } from "./authd.mjs";
 *
 *     const authd = new Authd();
 *     const ready = await authd.headers();   // before every request: authd keeps it fresh
 *     await fetch(ready.responsesUrl, { method: "POST", headers: ready.headers, body });
 *
 *     await authd.token();                            // the bare bearer token
 *     await authd.login({ onStarted: (login) => console.log(login.authorizeUrl) });
 *     const relay = authd.relay();                    // without a token: authd adds the headers
 *     await relay.fetch(`${relay.url}/responses`, { method: "POST", body });
 *
 * Errors are of the type `AuthdError`, or `NoDaemon` if the daemon does not run. The client caches
 * nothing: authd answers from memory, and a cached token expires.
 */

import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { Readable } from "node:stream";

/** How long a response may take, in milliseconds: longer than the refresh deadline of authd. */
const TIMEOUT = 90_000;
/** The duration of a long poll for a login, in seconds; authd allows 60. */
const LONG_POLL = 50;
/** The longest path of a socket, in bytes: macOS allows 104 with the NUL at the end. */
const MAX_SOCKET_PATH = 103;

/**
 * Ready-to-use headers, and the URLs that they are valid for.
 * @typedef {object} Headers
 * @property {string} profile
 * @property {"chatgpt" | "api-key"} mode
 * @property {string} baseUrl
 * @property {string} responsesUrl
 * @property {[string, string][]} headers - ordered pairs, in the format of `fetch`
 * @property {number} generation - increases with every change of the credential
 * @property {string} grantId - random id of the grant, made at sign-in; empty with an older authd
 * @property {string | null} expiresAt - RFC 3339; null if it never expires
 */

/**
 * A login, pending or ended.
 * @typedef {object} Login
 * @property {string} id
 * @property {string} profile
 * @property {"browser" | "device"} flow
 * @property {"pending" | "exchanging" | "succeeded" | "failed" | "expired" | "cancelled"} state
 * @property {string} [authorizeUrl] - browser flow: the page to open
 * @property {string} [openUrl] - browser flow: a URL that redirects there once, for a command line
 * @property {string} [verificationUrl] - device flow: the page to open on any device
 * @property {string} [userCode] - device flow: the code to enter on that page
 * @property {string} [expiresAt]
 * @property {Problem | null} error
 * @property {Record<string, unknown> | null} result - the profile of the new login
 */

/**
 * A problem of authd (RFC 9457).
 * @typedef {{ code?: string, title?: string, detail?: string, hint?: string, status?: number }} Problem
 */

/**
 * The profile (the default one if absent), and how many more seconds the credential must be valid.
 * @typedef {{ profile?: string, minTtl?: number }} HeadersOptions
 */

/** An error response of authd, or the reason why there is no response. */
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
    /** What failed, and why. */
    this.detail = reason;
    /** What to do next, if authd knows. */
    this.hint = hint;
    /** The HTTP status; 0 if there is no response. */
    this.status = status ?? 0;
  }
}

/** No daemon listens on the socket. */
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

/** The base of requests to which authd adds the headers. */
export class RelayBase {
  /**
   * @param {string} socketPath
   * @param {string} basePath
   */
  constructor(socketPath, basePath) {
    this.socketPath = socketPath;
    this.basePath = basePath;
    /** The base URL, for an HTTP library that uses the socket. */
    this.url = `http://authd${basePath}`;
    // Libraries take it as a function without its object.
    this.fetch = this.fetch.bind(this);
  }

  /**
   * `fetch` over the socket, for programs and libraries that accept one. It streams the response,
   * but reads the whole request body first, so that authd can send it again after a 401. If the
   * body is too long for that, authd returns the 401 with an `Authd-Renewed` header: send the
   * request again.
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
    const response = await send(this.socketPath, pathname + search, options, body);
    const status = response.statusCode ?? 0;
    const empty = request.method === "HEAD" || [204, 205, 304].includes(status);
    if (empty) response.resume();
    const content = empty ? null : /** @type {ReadableStream<Uint8Array>} */ (Readable.toWeb(response));
    /** @type {[string, string][]} */
    const pairs = [];
    for (let at = 0; at < response.rawHeaders.length; at += 2) {
      pairs.push([response.rawHeaders[at] ?? "", response.rawHeaders[at + 1] ?? ""]);
    }
    return new Response(content, { status, statusText: response.statusMessage, headers: pairs });
  }
}

/** The daemon on a socket. */
export class Authd {
  /** @param {string} [socketPath] */
  constructor(socketPath = defaultSocket()) {
    this.socketPath = checkPath(socketPath);
  }

  /**
   * Headers that are valid for at least `minTtl` more seconds; authd refreshes first if necessary.
   * @param {HeadersOptions} [options]
   * @returns {Promise<Headers>}
   */
  async headers({ profile, minTtl } = {}) {
    const query = minTtl === undefined ? "" : `?min_ttl=${minTtl}`;
    const response = await this.#request("GET", `${profilePath(profile)}/headers${query}`);
    return {
      profile: response.profile,
      mode: response.mode,
      baseUrl: response.base_url,
      responsesUrl: response.responses_url,
      headers: response.headers,
      generation: response.generation,
      grantId: response.grant_id ?? "",
      expiresAt: response.expires_at ?? null,
    };
  }

  /**
   * The bare bearer token, for libraries that create the header.
   * @param {HeadersOptions} [options]
   * @returns {Promise<string>}
   */
  async token(options) {
    const { headers } = await this.headers(options);
    const [, value = ""] = headers.find(([name]) => name.toLowerCase() === "authorization") ?? [];
    if (!value.startsWith("Bearer ")) throw new AuthdError({ detail: "authd's headers hold no bearer token" });
    return value.slice("Bearer ".length);
  }

  /**
   * Starts a login, which the user has to finish in a browser. Calls `onStarted` with the login and
   * its URL, then waits for the end. With `wait: false` it returns the pending login: pass it to
   * `wait` later.
   * @param {object} [options]
   * @param {string} [options.profile]
   * @param {"browser" | "device"} [options.flow]
   * @param {"auto" | "chatgpt" | "api-key"} [options.mode]
   * @param {string} [options.workspace]
   * @param {boolean} [options.replace]
   * @param {boolean} [options.wait]
   * @param {(login: Login) => unknown} [options.onStarted]
   * @returns {Promise<Login>}
   */
  async login({ wait = true, onStarted, ...body } = {}) {
    const login = toLogin(await this.#request("POST", "/v1/logins", body));
    await onStarted?.(login);
    return wait ? this.wait(login) : login;
  }

  /**
   * Waits for the end of a login, and throws if it did not succeed.
   * @param {Login | string} login
   * @returns {Promise<Login>}
   */
  async wait(login) {
    const id = encodeURIComponent(typeof login === "string" ? login : login.id);
    for (;;) {
      const now = toLogin(await this.#request("GET", `/v1/logins/${id}?wait=${LONG_POLL}`));
      if (now.state === "succeeded") return now;
      if (now.state !== "pending" && now.state !== "exchanging") {
        throw new AuthdError(now.error ?? { detail: `the login has ended: ${now.state}` });
      }
    }
  }

  /**
   * The base of requests without a token: authd adds the headers, and retries after a 401.
   * @param {string} [profile]
   * @returns {RelayBase}
   */
  relay(profile) {
    return new RelayBase(this.socketPath, `${profilePath(profile)}/relay`);
  }

  /**
   * Reports that the provider answered 401 to these headers. Call `headers` for new ones
   * afterwards. authd refreshes only if they are still current, so several programs may report
   * them. A bare generation does not identify the login.
   * @param {Headers | number} rejected
   * @param {string} [profile]
   * @returns {Promise<void>}
   */
  async rejected(rejected, profile) {
    const headers = typeof rejected === "number" ? { generation: rejected, grantId: "", profile } : rejected;
    // An older authd sends no grant id, and rejects unknown fields.
    const grant = headers.grantId ? { grant_id: headers.grantId } : {};
    const body = { rejected_generation: headers.generation, ...grant };
    await this.#request("POST", `${profilePath(profile ?? headers.profile)}/refresh`, body);
  }

  /**
   * @param {string} method
   * @param {string} target
   * @param {object} [body]
   * @returns {Promise<any>}
   */
  async #request(method, target, body) {
    const sent = body && JSON.stringify(body);
    const headers = sent ? { "content-type": "application/json" } : {};
    const signal = AbortSignal.timeout(TIMEOUT);
    let status = 0;
    let version;
    let text = "";
    try {
      const response = await send(this.socketPath, target, { method, headers, signal }, sent);
      status = response.statusCode ?? 0;
      version = response.headers["authd-version"];
      for await (const chunk of response.setEncoding("utf8")) text += chunk;
    } catch (cause) {
      if (cause instanceof AuthdError) throw cause;
      if (signal.aborted) throw new AuthdError({ code: "timeout", detail: "authd did not answer" }, { cause });
      throw new AuthdError({ detail: `the connection to authd broke: ${reason(cause)}` }, { cause });
    }
    const response = parseJson(text);
    if (version === undefined || response === null || typeof response !== "object") {
      const detail = `the program on ${this.socketPath} is not authd`;
      throw new AuthdError({ detail, hint: "set AUTHD_SOCKET to the socket of authd", status });
    }
    if (status >= 400) throw new AuthdError({ status, ...response });
    return response;
  }
}

/**
 * The socket of the environment, else the default one.
 * @param {{ env?: NodeJS.ProcessEnv, platform?: string, home?: string, session?: string }} [options]
 * @returns {string}
 */
export function defaultSocket({
  env = process.env,
  platform = process.platform,
  home = os.homedir(),
  session = sessionRuntimeDir("/run/user", process.geteuid?.()),
} = {}) {
  const { AUTHD_SOCKET, XDG_RUNTIME_DIR = "", XDG_CACHE_HOME = "" } = env;
  if (AUTHD_SOCKET) return AUTHD_SOCKET;
  let base = path.join(home, ".cache");
  if (platform === "darwin") base = path.join(home, "Library/Caches");
  else if (path.isAbsolute(XDG_RUNTIME_DIR)) base = XDG_RUNTIME_DIR;
  else if (session) base = session;
  else if (path.isAbsolute(XDG_CACHE_HOME)) base = XDG_CACHE_HOME;
  return path.join(base, "authd/authd.sock");
}

/**
 * logind's runtime directory of this user: cron and `su` do not pass XDG_RUNTIME_DIR on.
 * @param {string} parent
 * @param {number} [uid]
 */
function sessionRuntimeDir(parent, uid) {
  const directory = path.join(parent, String(uid));
  const stat = fs.lstatSync(directory, { throwIfNoEntry: false });
  return stat?.isDirectory() && stat.uid === uid ? directory : undefined;
}

/**
 * @param {string} socketPath
 * @param {NodeJS.ErrnoException} cause
 */
function toConnectError(socketPath, cause) {
  const code = cause.code ?? "";
  if (["EACCES", "EPERM", "EAFNOSUPPORT"].includes(code)) {
    const detail = `this program may not connect to ${socketPath}: ${cause.message}`;
    const hint = "a sandbox or the modes of a directory forbid it, or the socket is another user's";
    return new AuthdError({ code: "forbidden", detail, hint }, { cause });
  }
  if (["EAGAIN", "ETIMEDOUT"].includes(code)) {
    return new AuthdError({ code: "timeout", detail: `authd does not accept connections on ${socketPath}` }, { cause });
  }
  /** @type {Record<string, string>} */
  const reasons = {
    ENOENT: "the socket does not exist",
    ENOTDIR: "the socket does not exist",
    ECONNREFUSED: "a daemon that has ended left the socket behind",
  };
  if (code in reasons) {
    return new NoDaemon(`no daemon listens on ${socketPath}: ${reasons[code]}`, { cause });
  }
  const detail = `cannot connect to ${socketPath}: ${reason(cause)}`;
  const hint = "correct the path of the socket, or the limit of open files of this program";
  return new AuthdError({ code: "internal", detail, hint }, { cause });
}

/** @param {string} socketPath - returned if it is valid on every platform */
function checkPath(socketPath) {
  const length = Buffer.byteLength(socketPath);
  let detail, hint;
  if (!path.isAbsolute(socketPath)) {
    detail = `the path of the socket must be absolute: ${socketPath}`;
    hint = "set AUTHD_SOCKET to an absolute path";
  } else if (length > MAX_SOCKET_PATH) {
    detail = `the path of the socket is ${length} bytes long, and the system allows ${MAX_SOCKET_PATH}: ${socketPath}`;
    hint = "set AUTHD_SOCKET to a shorter path";
  } else {
    return socketPath;
  }
  throw new AuthdError({ code: "bad_request", detail, hint });
}

/**
 * The path of the socket without symbolic links. Throws if another user could have created the
 * socket: the socket and its directory must belong to this user, and other users must not be able
 * to write to the directory, nor to a parent without the sticky bit (/tmp has it). Node has no API
 * for the user of the listener, which authd's other clients check.
 * @param {string} socketPath
 */
function resolveOwn(socketPath) {
  const uid = process.geteuid?.();
  let resolved;
  try {
    resolved = fs.realpathSync(socketPath);
  } catch (cause) {
    throw toConnectError(socketPath, /** @type {NodeJS.ErrnoException} */ (cause));
  }
  for (let at = resolved, depth = 0; ; at = path.dirname(at), depth += 1) {
    const stat = fs.statSync(at);
    let why;
    if (depth < 2 && stat.uid !== uid) why = `belongs to uid ${stat.uid}, not to uid ${uid}`;
    if (depth === 1 && stat.mode & 0o022) why = "is writable by others";
    if (depth > 1 && (stat.mode & 0o1002) === 0o002) why = "is writable by others";
    if (why) {
      const detail = `${socketPath} may be served by another user: ${at} ${why}; nothing was sent`;
      throw new AuthdError({ code: "forbidden", detail, hint: "set AUTHD_SOCKET to the socket of your own daemon" });
    }
    if (at === path.dirname(at)) return checkPath(resolved);
  }
}

/**
 * Sends a request; resolves with the head of the response.
 * @param {string} socketPath
 * @param {string} target
 * @param {http.RequestOptions} options
 * @param {string | Buffer} [body]
 * @returns {Promise<http.IncomingMessage>}
 */
function send(socketPath, target, { headers, ...options }, body) {
  return new Promise((resolve, reject) => {
    // authd accepts no other Host. A pooled connection would keep the process from ending. For some
    // methods Node sends no length of the body, and the server would parse the body as the next
    // request.
    const length = body === undefined ? {} : { "content-length": Buffer.byteLength(body) };
    const fixed = { socketPath: resolveOwn(socketPath), path: target, headers: { ...headers, ...length, host: "authd" }, agent: false };
    const request = http.request({ ...options, ...fixed }, resolve);
    request.on("error", (/** @type {NodeJS.ErrnoException} */ error) => {
      reject(error.syscall === "connect" ? toConnectError(socketPath, error) : error);
    });
    request.end(body);
  });
}

/** @param {string} [profile] */
function profilePath(profile) {
  return `/v1/profiles/${profile === undefined ? "-" : encodeURIComponent(profile)}`;
}

/** @type {(response: any) => Login} */
function toLogin(response) {
  return {
    id: response.id,
    profile: response.profile,
    flow: response.flow,
    state: response.state,
    authorizeUrl: response.authorize_url,
    openUrl: response.open_url,
    verificationUrl: response.verification_url,
    userCode: response.user_code,
    expiresAt: response.expires_at,
    error: response.error ?? null,
    result: response.result ?? null,
  };
}

/** @type {(text: string) => any} */
function parseJson(text) {
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
