// A store for oidc-provider that forgets nothing. Its own one has room for a thousand entries, and
// many grants need more.

const entries = new Map();

export class Store {
  constructor(model) {
    this.model = model;
  }

  #key(kind, value) {
    return `${this.model} ${kind} ${value}`;
  }

  async upsert(id, payload) {
    entries.set(this.#key("id", id), payload);
    for (const kind of ["uid", "userCode"]) {
      if (payload[kind]) entries.set(this.#key(kind, payload[kind]), payload);
    }
  }

  async find(id) {
    return entries.get(this.#key("id", id));
  }

  async findByUid(uid) {
    return entries.get(this.#key("uid", uid));
  }

  async findByUserCode(userCode) {
    return entries.get(this.#key("userCode", userCode));
  }

  async consume(id) {
    (await this.find(id)).consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    entries.delete(this.#key("id", id));
  }

  async revokeByGrantId(grantId) {
    for (const [key, payload] of entries) {
      if (key.startsWith(`${this.model} `) && payload.grantId === grantId) entries.delete(key);
    }
  }
}
