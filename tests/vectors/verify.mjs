// Check the golden vectors with Node's own crypto and nothing of ours: node verify.mjs [FOLDER]
import { createHash, createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import { readFileSync } from "node:fs";

const folder = process.argv[2] ?? import.meta.dirname ?? new URL(".", import.meta.url).pathname;
const hex = (text) => Buffer.from(text, "hex");
const sha = (name, ...parts) => createHash(name).update(Buffer.concat(parts.map((p) => Buffer.from(p)))).digest();
const publicKey = (raw) =>
  createPublicKey({ key: Buffer.concat([hex("302a300506032b6570032100"), raw]), format: "der", type: "spki" });
const privateKey = (seed) =>
  createPrivateKey({ key: Buffer.concat([hex("302e020100300506032b657004220420"), seed]), format: "der", type: "pkcs8" });
const lines = (...all) => all.map((line) => line + "\n").join("");
const place = (id) => [id.slice(0, id.indexOf("-") + 1), Number(id.slice(id.indexOf("-") + 1))];
const before = (a, b) => (a[0] === b[0] ? a[1] - b[1] : a[0] < b[0] ? -1 : 1);
const leaf = (bytes) => sha("sha256", [0], bytes);
const node = (left, right) => sha("sha256", [1], left, right);
function root(leaves) { // RFC 6962, section 2.1
  if (leaves.length < 2) return leaves.length ? leaf(leaves[0]) : sha("sha256");
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  return node(root(leaves.slice(0, k)), root(leaves.slice(k)));
}
function climb(bytes, index, count, path) { // RFC 9162, section 2.1.3.2
  let [at, last, hash, steps] = [index, count - 1, leaf(bytes), path.map(hex)];
  for (; last; at >>= 1, last >>= 1)
    if (at & 1) hash = node(steps.shift(), hash);
    else if (at < last) hash = node(hash, steps.shift());
  return steps.length ? "" : hash.toString("hex");
}
const tree = (leaves, v) => [root(leaves).toString("hex") === v.root, v.paths.length === leaves.length,
  ...v.paths.map((path, index) => climb(leaves[index], index, leaves.length, path) === v.root)];
const signed = (bytes, v, key, signature) => [bytes === v.signing_bytes,
  verify(null, Buffer.from(bytes), publicKey(hex(key)), hex(signature)),
  sign(null, Buffer.from(bytes), privateKey(hex(v.seed))).toString("hex") === signature];

const checks = {
  networks(v) {
    const text = lines("billots network 1", `name ${v.name}`, `issuer ${v.issuer ?? "-"}`,
      ...v.denominations.sort((a, b) => (a.prefix < b.prefix ? -1 : 1)).map((d) => `${d.prefix} ${d.mils} ${d.circulation}`),
      ...Object.keys(v.allocations).sort((a, b) => before(place(a), place(b))).map((id) => `allocate ${id} ${v.allocations[id]}`));
    return [text === v.canonical, sha("sha256", text).toString("hex").slice(0, 32) === v.id];
  },
  owners(v) {
    const raw = createPublicKey(v.pem).export({ format: "der", type: "spki" }).subarray(-32);
    const own = createPublicKey(privateKey(hex(v.seed))).export({ format: "der", type: "spki" }).subarray(-32);
    return [raw.toString("hex") === v.public_key, raw.equals(own), sha("sha512", raw).toString("hex") === v.owner];
  },
  transfers(v) {
    const t = v.transfer, raw = hex(t.public_key);
    const text = lines("billots transfer 1", `network ${t.network}`, `to ${t.to}`, ...t.billots.map(([id, seq]) => `${id} ${seq}`));
    return [...signed(text, v, t.public_key, t.signature), sha("sha256", raw, text).toString("hex") === v.transfer_id,
      sha("sha512", raw).toString("hex") === v.sender,
      t.billots.every(([id], i) => i === 0 || before(place(t.billots[i - 1][0]), place(id)) < 0)];
  },
  statements(v) {
    const s = v.statement;
    return signed(lines("billots statement 1", `network ${s.network}`, `server ${s.server}`, `nonce ${s.nonce}`,
      ...s.billots.map((r) => `${r.id} ${r.seq} ${r.from ?? "-"} ${r.owner ?? "-"} ${r.status}`)), v, s.server, s.signature);
  },
  feeds: (v) => [...tree(v.rows.map((row) => Buffer.from(row)), v), ...signed(lines("billots feed 1", `network ${v.network}`,
    `server ${v.server}`, `rows ${v.rows.length} ${v.root}`), v, v.server, v.signature)],
  merkle: (v) => tree(v.leaves.map(hex), v),
};

for (const [name, check] of Object.entries(checks)) {
  const vectors = JSON.parse(readFileSync(`${folder}/${name}.json`, "utf8"));
  const passes = (v) => { try { return check(v).every(Boolean); } catch { return false; } };
  const wrong = vectors.flatMap((v, index) => (passes(v) ? [] : [index]));
  if (wrong.length || !vectors.length) process.exitCode = 1;
  console.log(`${name}: ${vectors.length - wrong.length} of ${vectors.length} hold` + (wrong.length ? `, not ${wrong}` : ""));
}
