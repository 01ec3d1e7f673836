// A browser for a provider's own pages: follows redirects with cookies, and submits the first form
// of each page until there is none. Usage: node browser.mjs URL USER
//
// With - as the URL it reads URLs from stdin, opens each in a session of its own, and prints a line
// after each.
import { createInterface } from "node:readline";

const [start, user] = process.argv.slice(2);

const open = async (cookies, url, body) => {
  const cookie = [...cookies].map((pair) => pair.join("=")).join("; ");
  const response = await fetch(url, {
    redirect: "manual",
    headers: cookie ? { cookie } : {},
    ...(body && { method: "POST", body }),
  });
  for (const line of response.headers.getSetCookie()) {
    const [name, value] = line.split(";", 1)[0].split(/=(.*)/);
    cookies.set(name, value);
  }
  return response;
};

const attribute = (tag, name) => {
  const value = new RegExp(`\\b${name}="([^"]*)"`).exec(tag)?.[1];
  return value?.replaceAll("&amp;", "&");
};

const visit = async (first) => {
  const cookies = new Map();
  let url = first;
  let response = await open(cookies, url);
  for (;;) {
    const location = response.headers.get("location");
    if (location) {
      url = new URL(location, url).href;
      response = await open(cookies, url);
      continue;
    }
    const page = await response.text();
    const form = /<form[^]*?(<\/form>|$)/.exec(page)?.[0];
    if (!form) {
      if (response.ok) return;
      throw new Error(`${url}: ${response.status}\n${page}`);
    }
    const fields = new URLSearchParams();
    for (const [tag] of form.matchAll(/<input[^>]*>/g)) {
      const name = attribute(tag, "name");
      if (name) fields.set(name, attribute(tag, "value") ?? user);
    }
    url = new URL(attribute(form, "action"), url).href;
    response = await open(cookies, url, fields);
  }
};

if (start !== "-") {
  await visit(start);
} else {
  for await (const url of createInterface({ input: process.stdin })) {
    await visit(url);
    console.log("signed in");
  }
}
