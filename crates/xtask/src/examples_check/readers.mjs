// Programs that read the headers of many profiles again and again, and use them at once. Ends with
// stdin. Prints the number of reads, the longest one, and every failure: a profile without headers,
// or a token that the provider refuses. Usage: node readers.mjs PROFILES URL
import { Authd } from "./clients/node/authd.mjs";

const READERS = 8;

const [profiles, url] = process.argv.slice(2);
const authd = new Authd();
let isOpen = true;
process.stdin.on("end", () => (isOpen = false)).resume();

const result = { reads: 0, longest_ms: 0, failures: [] };
const read = async (profile) => {
  const start = performance.now();
  const { headers } = await authd.headers({ profile });
  result.longest_ms = Math.max(result.longest_ms, Math.round(performance.now() - start));
  const response = await fetch(url, { headers });
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
};
const reader = async (first) => {
  for (let number = first; isOpen; number++) {
    const profile = `p${number % profiles}`;
    await read(profile).catch((error) => result.failures.push(`${profile}: ${error.message}`));
    result.reads++;
  }
};
await Promise.all(Array.from({ length: READERS }, (_, index) => reader(Math.floor((index * profiles) / READERS))));
console.log(JSON.stringify(result));
